"""A recipe's mixture, sequenced, packed and written: what the step `shards/<recipe>` does when it runs.

Decisions on samples are `mixture.py`, bytes `writer.py`, inputs and parameters `steps.py`. Loads no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from medmax_pipeline.arrow import left_to_table, read_samples
from medmax_pipeline.config import Recipe
from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import Json, sha256_bytes, write_json, write_table
from medmax_pipeline.models.codebook import codebook_digest
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.records import Sample
from medmax_pipeline.shards.layout import VOCABULARY, vocabulary_record
from medmax_pipeline.shards.mixture import Mixed, Pictures, mix, read_pictures
from medmax_pipeline.shards.steps import TOKENIZERS
from medmax_pipeline.shards.subset import limit_edges
from medmax_pipeline.shards.writer import Entry, Written, write_shards
from medmax_pipeline.steps import Artifact, Outcome, Run
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.pack import Item, pack, shuffled
from medmax_pipeline.tokens.sequence import Sequencer
from medmax_pipeline.tokens.store import CodeStore, code_folder
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import vocabulary_of

PACKS_AT_ONCE = 256
"""Packs whose codes are looked up together: about a million ids of the published geometry."""


def make_shards(ctx: Run, recipe: Recipe, sources: Sequence[str]) -> Outcome:
    """Write tars, index, vocabulary, drops and quarantine of one recipe."""
    text_folder, image_folder = (ctx.inputs[key].folder for key in TOKENIZERS)
    vocabulary = vocabulary_of(text_folder, image_folder)
    sequencer = Sequencer(vocabulary, TextTokenizer(text_folder, vocabulary))
    digest = tokenizer_digest(image_folder, preprocessing=PREPROCESSING)
    store = CodeStore(code_folder(ctx.store, digest), vocabulary.codes_per_image)
    pictures = read_pictures(ctx.inputs["image_codes"].folder)
    left_out = [source for source in sources if ctx.inputs[f"{source}/curated"].locked]
    given = [source for source in sources if source not in left_out]
    edges = limit_edges(recipe.mixture, {source: ctx.inputs[f"{source}/curated"].folder for source in given})
    mixed = mix(_samples(ctx.inputs, given), recipe, pictures, sequencer, edges)
    ctx.log(f"{len(mixed.items):,} sequences to pack, {len(mixed.drops):,} dropped")
    packs = _plan(mixed, recipe)
    written = write_shards(ctx.out, _filled(packs, mixed, pictures, sequencer, store))
    write_json(ctx.out / VOCABULARY, vocabulary_record(vocabulary, digest, codebook_digest(image_folder)))
    write_table(ctx.out / "drops.parquet", left_to_table(mixed.drops))
    write_table(ctx.out / "quarantine.parquet", left_to_table(mixed.quarantine))
    licences = {member.licence for member in mixed.members.values()}
    for key in TOKENIZERS:
        licences.update(ctx.inputs[key].manifest.licences)
    return Outcome(
        counts=mixed.counts(),
        licences=tuple(sorted(licences)),
        credentialed=any(member.credentialed for member in mixed.members.values()),
        summary=_summary(mixed, written, recipe, vocabulary.image_length) | {"left_out": list(left_out)},
    )


def _samples(inputs: Mapping[str, Artifact], sources: Sequence[str]) -> Iterator[Sample]:
    for source in sources:
        yield from read_samples(inputs[f"{source}/curated"].folder / "samples.parquet")


def _plan(mixed: Mixed, recipe: Recipe) -> list[list[Item]]:
    """Open packs, then credentialed ones, each in the recipe's seeded order."""
    order = shuffled(mixed.items, recipe.packing.seed)
    return [
        one
        for credentialed in (False, True)
        for one in pack([item for item in order if item.credentialed == credentialed], recipe.packing)
    ]


def _filled(
    packs: list[list[Item]], mixed: Mixed, pictures: Pictures, sequencer: Sequencer, store: CodeStore
) -> Iterator[list[Entry]]:
    """Packs with their sequences, some packs' codes in memory at a time.

    Raises:
        StoreError: the code store does not hold what `image_codes` published.
    """
    remaining = iter(packs)
    while chunk := list(islice(remaining, PACKS_AT_ONCE)):
        members = [mixed.members[item.sample_id] for one in chunk for item in one]
        ids = sorted({image_id for member in members for image_id in member.images})
        codes = dict(zip(ids, store.get_many(ids), strict=True))
        for image_id, found in codes.items():
            if sha256_bytes(found.astype("<u2").tobytes()) != pictures.digests[image_id]:
                raise StoreError(f"{image_id}: the store's codes are not those published. Run `medmax verify`.")
        for one in chunk:
            entries = []
            for item in one:
                member = mixed.members[item.sample_id]
                sequence = sequencer.fill(member.outline, [codes[image_id] for image_id in member.images])
                entries.append(
                    Entry(member.sample_id, member.source, member.kind, member.licence, member.credentialed, sequence)
                )
            yield entries


def _summary(mixed: Mixed, written: Written, recipe: Recipe, image_length: int) -> dict[str, Json]:
    kept = [mixed.members[item.sample_id] for item in mixed.items]
    image_tokens = image_length * sum(len(member.images) for member in kept)
    capacity = written.packs * recipe.packing.token_budget
    by_source: dict[str, Json] = dict(sorted(Counter(member.source for member in kept).items()))
    by_kind: dict[str, Json] = dict(sorted(Counter(member.kind for member in kept).items()))
    return {
        "sequences": written.sequences,
        "tokens": written.tokens,
        "packs": written.packs,
        "shards": written.shards,
        "image_tokens": image_tokens,
        "text_tokens": written.tokens - image_tokens,
        "utilisation": round(written.tokens / capacity, 4) if capacity else 0.0,
        "by_source": by_source,
        "by_kind": by_kind,
    }
