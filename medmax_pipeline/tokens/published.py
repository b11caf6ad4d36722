"""Whether the published training set's own token ids are those that this project makes of the same rows.

What the step `published_tokens` does: the rows of `medmax_data` are streamed again beside its samples, and of each kept
row the text ids, the image ids and their order are held against `sequence.py` and the codes that we encoded. It tells
and decides nothing: samples are made of texts and pictures, never of published ids, and disagreement fails no build.

The publisher's form of a chat of several turns has a separator where ours has an end (design section 6): ids that
differ in that alone are told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.errors import StoreError, TokenError
from medmax_pipeline.files import Json
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.opened import SourceFiles
from medmax_pipeline.ingest.places import SEEK, Files
from medmax_pipeline.ingest.tables import of_schema, open_table
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.records import Counts, Sample
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.sources.record import Row
from medmax_pipeline.steps import Outcome, Run
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.sequence import Codes, Sequencer
from medmax_pipeline.tokens.store import CodeStore, code_folder
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import Vocabulary, image_geometry, read_vocabulary

PUBLISHED: Final = "medmax_data"
ROWS_A_BATCH: Final = 256
TABLE: Final = "rows.parquet"
SCHEMA: Final = pa.schema(
    [
        ("sample_id", pa.string()),
        ("row", pa.int64()),
        ("verdict", pa.string()),
        ("detail", pa.string()),
        ("codes_differing", pa.int32()),
        ("codes", pa.int32()),
    ]
)
"""One line a kept row: `row` counts from 0 in its file; codes compared, and how many of them are not ours."""

AGREE: Final = "agree"
NO_TOKENS: Final = "no_tokens"
MALFORMED: Final = "tokens_malformed"
SHAPE_DIFFERS: Final = "shape_differs"
TEXT_DIFFERS: Final = "text_differs"
TURN_MARKS_DIFFER: Final = "turn_marks_differ"
CODES_DIFFER: Final = "codes_differ"
NOT_ENCODED: Final = "picture_not_encoded"
Ids = npt.NDArray[np.int64]


class Verdict(NamedTuple):
    """What became of one row's comparison."""

    verdict: str
    detail: str = ""
    codes_differing: int = 0
    codes: int = 0


class Checker:
    """Holds published ids against ours, for one pair of tokenizers."""

    def __init__(self, vocabulary: Vocabulary, sequencer: Sequencer, store: CodeStore) -> None:
        """Args: `sequencer` and `store` are of the same tokenizers as the vocabulary."""
        self._voc = vocabulary
        self._sequencer = sequencer
        self._store = store

    def check(self, pairs: Sequence[tuple[Sample, Any]]) -> list[Verdict]:
        """One verdict for each sample and its row's `tokens`, in order."""
        wanted = sorted({image for sample, _ in pairs for image in sample.images})
        absent = set(self._store.missing(wanted))
        known = [image for image in wanted if image not in absent]
        codes = dict(zip(known, self._store.get_many(known), strict=True)) if known else {}
        outlines = self._outlines([sample for sample, _ in pairs])
        return [self._one(sample, tokens, ours, codes) for (sample, tokens), ours in zip(pairs, outlines, strict=True)]

    def _outlines(self, samples: Sequence[Sample]) -> list[Ids | str]:
        """Our ids of each sample, an image as one; or why its text is refused."""
        try:
            return [made.ids.astype(np.int64) for made in self._sequencer.outlines(sample.turns for sample in samples)]
        except TokenError as error:
            if len(samples) == 1:
                return [str(error)]
        return [outline for sample in samples for outline in self._outlines([sample])]

    def _one(self, sample: Sample, tokens: Any, ours: Ids | str, codes: Mapping[str, Codes]) -> Verdict:
        if tokens is None or tokens == []:
            return Verdict(NO_TOKENS)
        theirs = _ids(tokens, self._voc.size)
        if theirs is None:
            return Verdict(MALFORMED, f"expected a list of ids below {self._voc.size}")
        shown = _images(theirs, self._voc)
        if isinstance(shown, str):
            return Verdict(SHAPE_DIFFERS, shown)
        outline, published = shown
        if len(published) != len(sample.images):
            return Verdict(SHAPE_DIFFERS, f"{len(published)} images, expected {len(sample.images)}")
        if isinstance(ours, str):
            return Verdict(TEXT_DIFFERS, f"we refuse this text: {ours}")
        if not np.array_equal(outline, ours):
            return self._texts(outline, ours)
        if not all(image in codes for image in sample.images):
            return Verdict(NOT_ENCODED)
        own = np.concatenate([codes[image] for image in sample.images]) if published else np.zeros(0, np.int64)
        differing = int((np.concatenate([*published, np.zeros(0, np.int64)]) != own).sum())
        detail = f"{differing:,} of {len(own):,} codes are not ours" if differing else ""
        return Verdict(CODES_DIFFER if differing else AGREE, detail, differing, len(own))

    def _texts(self, theirs: Ids, ours: Ids) -> Verdict:
        """What kind of difference two outlines have: the marks between turns alone, or the words."""
        marked = ours.copy()
        marked[:-1][marked[:-1] == self._voc.eos] = self._voc.sep
        if np.array_equal(theirs, marked):
            return Verdict(TURN_MARKS_DIFFER, "a separator after each reply, where ours has an end")
        both = min(len(theirs), len(ours))
        unequal = np.flatnonzero(theirs[:both] != ours[:both])
        place = int(unequal[0]) if len(unequal) else both
        return Verdict(
            TEXT_DIFFERS, f"from id {place} on, an image counted as one; {len(theirs)} ids, ours {len(ours)}"
        )


def _ids(tokens: Any, size: int) -> Ids | None:
    """A published list as ids, or None where it is not one."""
    try:
        ids = np.asarray(tokens)
    except ValueError:  # lists of unequal lengths
        return None
    if not isinstance(tokens, list) or ids.ndim != 1 or ids.dtype.kind not in "iu":
        return None
    return ids.astype(np.int64) if 0 <= int(ids.min()) <= int(ids.max()) < size else None


def _images(ids: Ids, voc: Vocabulary) -> tuple[Ids, list[Ids]] | str:
    """Ids with a placeholder for each image, and the codes of each; or what is wrong with an image."""
    parts, codes, start = [], [], 0
    for begin in np.flatnonzero(ids == voc.boi).tolist():
        end = begin + voc.image_length
        inside = ids[begin + 1 : end - 1]
        if begin < start or end > len(ids) or ids[end - 1] != voc.eoi or not voc.is_code(inside).all():
            ends = np.flatnonzero(ids[begin:] == voc.eoi)
            found = f"{int(ends[0]) - 1} ids" if len(ends) else "no end"
            return f"image at {begin}: {found} where {voc.codes_per_image} codes are expected"
        parts += [ids[start:begin], np.array([voc.image_placeholder])]
        codes.append(inside - voc.first_code)
        start = end
    rest = ids[start:]
    if (rest == voc.eoi).any() or voc.is_code(np.concatenate([*parts, rest])).any():
        return "codes or the end of an image outside of an image"
    return np.concatenate([*parts, rest]), codes


def pair_up(samples: Iterable[Sample], rows: Iterable[Row]) -> Iterator[tuple[Sample, Any]]:
    """Each sample with its row's `tokens`; both in the order of the files.

    Raises:
        StoreError: a sample's row is not there.
    """
    given = iter(rows)
    for sample in samples:
        wanted = (sample.origin.file, sample.origin.row)
        row = next((row for row in given if (row.file, row.number) == wanted), None)
        if row is None:
            raise StoreError(
                f"{PUBLISHED}: {wanted[0]} has no row {wanted[1]} where sample {sample.sample_id} expects it; the file "
                "changed since samples were made. Let it settle and build again."
            )
        yield sample, row.values.get("tokens")


def check_published(ctx: Run) -> Outcome:
    """Write `rows.parquet` and count the verdicts: kept is what agrees, dropped by reason what does not."""
    image, text = ctx.inputs["image_tokenizer"].folder, ctx.inputs["text_tokenizer"].folder
    geometry = image_geometry(image)
    vocabulary = read_vocabulary(text, geometry.codes_per_image, geometry.codebook_size)
    store = CodeStore(
        code_folder(ctx.store, tokenizer_digest(image, preprocessing=PREPROCESSING)), geometry.codes_per_image
    )
    checker = Checker(vocabulary, Sequencer(vocabulary, TextTokenizer(text, vocabulary)), store)
    source = SOURCES[PUBLISHED]
    raw, samples = ctx.inputs[f"{PUBLISHED}/raw"].folder, ctx.inputs[f"{PUBLISHED}/samples"].folder
    counted: Counter[str] = Counter()
    compared = differing = 0
    credentialed = False
    with (
        Files(ctx.landing / source.folder, raw / SEEK) as files,
        open_table(ctx.out / TABLE, of_schema(SCHEMA)) as table,
    ):
        rows = source.rows(SourceFiles(Index(raw), files))
        given = pair_up(read_samples(samples / "samples.parquet"), rows)
        while pairs := list(islice(given, ROWS_A_BATCH)):
            for (sample, _), verdict in zip(pairs, checker.check(pairs), strict=True):
                counted[verdict.verdict] += 1
                compared, differing = compared + verdict.codes, differing + verdict.codes_differing
                credentialed |= sample.credentialed
                table.add({"sample_id": sample.sample_id, "row": sample.origin.row, **verdict._asdict()})
            ctx.log(f"{PUBLISHED}: {sum(counted.values()):,} rows held against our ids, {counted[AGREE]:,} agree")
    agreeing = counted.pop(AGREE, 0)
    summary: dict[str, Json] = {
        "agree": agreeing,
        **dict(sorted(counted.items())),
        "codes_compared": compared,
        "codes_differing": differing,
    }
    return Outcome(
        counts=Counts(taken=agreeing + counted.total(), kept=agreeing, dropped=dict(sorted(counted.items()))),
        licences=(source.licence.name,),
        credentialed=credentialed,
        summary=summary,
    )
