"""The `shards/<recipe>` asset over a real ledger: mixture, gates, counts, bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.config import Adapter, Mixture, Packing, Recipe, Schedule
from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.files import read_json, sha256_bytes
from medmax_pipeline.records import Turn
from medmax_pipeline.shards.checks import check_shards
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.shards.steps import shards_step
from medmax_pipeline.steps import Artifact, Step
from medmax_pipeline.tokens.sequence import Sequencer
from medmax_pipeline.tokens.steps import image_codes_step
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import Vocabulary, vocabulary_of
from tests.tokens.line import Line
from tests.tokens.small import picture, sample, write_tokenizer, write_vqgan

SOURCES = ["vqa", "pmc", "cxr"]
OPEN, SECRET = [picture(number) for number in range(6)], [picture(9)]
BAD = b"no picture at all"
MIXTURE = Mixture(required=("vqa", "pmc"), optional=("cxr",), repeat={"vqa": 2}, admit_credentialed=True)
RECIPE = Recipe(
    name="tiny",
    mixture=MIXTURE,
    packing=Packing(token_budget=200, max_sequences=4, max_sequence=90),
    adapter=Adapter(kind="full"),
    schedule=Schedule(epochs=1, peak_lr=1e-3),
)


def ids(*files: bytes) -> tuple[str, ...]:
    return tuple(sha256_bytes(data) for data in files)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_vqgan(folder / "vqgan")
    write_tokenizer(folder / "text")
    return folder


def make_line(weights: Path, locked: tuple[str, ...] = ()) -> Line:
    """Open questions (one too long, one with a bad picture), open captions and drawings, credentialed reports."""
    vqa = [sample(number, images=ids(OPEN[number % 3])) for number in range(8)]
    vqa += [
        sample(20, question="long " * 40),
        sample(21, images=ids(BAD)),
        sample(22, split="eval", images=ids(OPEN[5])),
    ]
    pmc = [
        replace(
            sample(number, source="pmc", images=ids(OPEN[number]), kind="generation"),
            turns=(Turn("user", f"draw {number}"), Turn("assistant", "<image>")),
        )
        for number in range(5)
    ]
    cxr = [sample(number, source="cxr", images=ids(*SECRET), credentialed=True) for number in range(3)]
    files = {"vqa": [*OPEN, BAD], "pmc": OPEN, "cxr": SECRET}
    return Line(weights, {"vqa": vqa, "pmc": pmc, "cxr": cxr}, files, locked)


def steps(recipe: Recipe = RECIPE) -> list[Step]:
    return [image_codes_step(SOURCES, SOURCES), shards_step(recipe, SOURCES)]


@pytest.fixture(scope="module")
def vocabulary(weights: Path) -> Vocabulary:
    return vocabulary_of(weights / "text", weights / "vqgan")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Artifact:
    _, made = make_line(weights).run(tmp_path_factory.mktemp("built"), steps())
    return made["shards/tiny"]


def test_counts_are_of_occurrences_and_balance(shards: Artifact) -> None:
    counts = shards.manifest.counts
    assert (counts.taken, counts.kept) == (2 * 10 + 5 + 3, 2 * 8 + 5 + 3)
    assert dict(counts.dropped) == {"too_long": 2}
    assert dict(counts.quarantined) == {"image_not_an_image": 2}
    assert pq.read_table(shards.folder / "drops.parquet").num_rows == 2
    assert pq.read_table(shards.folder / "quarantine.parquet").num_rows == 2


def test_summary_adds_up(shards: Artifact) -> None:
    summary = shards.manifest.summary
    reader = PackReader(shards.folder)
    assert summary["by_source"] == {"cxr": 3, "pmc": 5, "vqa": 16}
    assert summary["by_kind"] == {"generation": 5, "vqa_open": 19}
    assert (summary["tokens"], summary["packs"]) == (reader.tokens, len(reader))
    assert summary["image_tokens"] == 24 * 18
    assert summary["text_tokens"] == reader.tokens - 24 * 18
    assert summary["utilisation"] == round(reader.tokens / (len(reader) * 200), 4)
    assert summary["left_out"] == []


def test_every_sequence_comes_back_as_its_sample(shards: Artifact, weights: Path, vocabulary: Vocabulary) -> None:
    known = {one.sample_id: one for samples in make_line(weights).samples.values() for one in samples}
    sequencer = Sequencer(vocabulary, TextTokenizer(weights / "text", vocabulary))
    reader = PackReader(shards.folder)
    seen: Counter[str] = Counter()
    codes: dict[str, set[bytes]] = {}
    for number in range(len(reader)):
        pack = reader.pack(number)
        assert len(pack.ids) <= 200
        assert len(pack.sample_ids) <= 4
        for index, sample_id in enumerate(pack.sample_ids):
            found = sequencer.to_turns(pack.ids[pack.cu_seqlens[index] : pack.cu_seqlens[index + 1]])
            assert found.turns == known[sample_id].turns
            for image_id, shown in zip(known[sample_id].images, found.codes, strict=True):
                codes.setdefault(image_id, set()).add(np.asarray(shown).tobytes())
            seen[sample_id] += 1
    assert {known[sample_id].source: count for sample_id, count in seen.items()} == {"vqa": 2, "pmc": 1, "cxr": 1}
    assert all(len(held) == 1 for held in codes.values())


def test_checks_find_nothing_in_what_was_published(shards: Artifact, vocabulary: Vocabulary) -> None:
    assert check_shards(shards.folder, vocabulary, {"vqa": 16, "pmc": 5, "cxr": 3}) == []


def test_vocabulary_lies_beside_the_tars(shards: Artifact, vocabulary: Vocabulary) -> None:
    record = read_json(shards.folder / "vocabulary.json")
    assert record["text_tokenizer"] == vocabulary.digest
    assert record["ids"]["sep"] == vocabulary.sep
    assert len(record["image_tokenizer"]) == 64
    assert len(record["codebook"]) == 64


def test_licences_are_those_of_what_was_kept(shards: Artifact) -> None:
    assert shards.manifest.licences == ("Apache-2.0", "CC0-1.0", "PhysioNet")
    assert shards.manifest.credentialed


def test_credentialed_samples_are_dropped_where_not_admitted(store: Path, weights: Path) -> None:
    recipe = replace(RECIPE, mixture=replace(MIXTURE, admit_credentialed=False))
    _, made = make_line(weights).run(store, steps(recipe))
    manifest = made["shards/tiny"].manifest
    assert dict(manifest.counts.dropped) == {"credentialed_not_admitted": 3, "too_long": 2}
    assert not manifest.credentialed
    assert manifest.licences == ("Apache-2.0", "CC0-1.0")
    assert not list(made["shards/tiny"].folder.glob("credentialed-*"))


def test_open_sample_that_shows_a_credentialed_picture_is_credentialed(store: Path, weights: Path) -> None:
    line = make_line(weights)
    line.samples = {**line.samples, "pmc": [sample(1, source="pmc", images=ids(*SECRET))]}
    recipe = replace(RECIPE, mixture=replace(MIXTURE, admit_credentialed=False))
    _, made = line.run(store, steps(recipe))
    assert made["shards/tiny"].manifest.counts.dropped["credentialed_not_admitted"] == 4


def test_locked_optional_source_is_left_out_and_named(store: Path, weights: Path) -> None:
    _, made = make_line(weights, locked=("cxr",)).run(store, steps())
    manifest = made["shards/tiny"].manifest
    assert manifest.status == "ok"
    assert manifest.summary["left_out"] == ["cxr"]
    assert manifest.counts.kept == 21


def test_locked_required_source_locks_the_shards(store: Path, weights: Path) -> None:
    _, made = make_line(weights, locked=("pmc",)).run(store, steps())
    assert made["shards/tiny"].locked


def test_two_builds_give_the_same_bytes(shards: Artifact, store: Path, weights: Path) -> None:
    _, made = make_line(weights).run(store, steps())
    assert made["shards/tiny"].manifest.digest == shards.manifest.digest


def test_another_packing_seed_gives_another_order(shards: Artifact, store: Path, weights: Path) -> None:
    recipe = replace(RECIPE, packing=replace(RECIPE.packing, seed=1))
    _, made = make_line(weights).run(store, steps(recipe))
    assert made["shards/tiny"].manifest.digest != shards.manifest.digest
    assert made["shards/tiny"].manifest.summary["tokens"] == shards.manifest.summary["tokens"]


def test_store_that_lost_its_codes_is_told_and_changed_codes_are_refused(store: Path, weights: Path) -> None:
    line = make_line(weights)
    line.run(store, steps()[:1])
    (part,) = store.glob("codes/*/open-*.part")
    data = bytearray(part.read_bytes())
    data[-2] ^= 1
    part.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="not those published"):
        line.run(store, steps())
    part.unlink()
    with pytest.raises(StoreError, match="have no codes"):
        line.run(store, steps())


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (replace(RECIPE, mixture=Mixture(required=("slake",))), "no source slake"),
        (replace(RECIPE, packing=replace(RECIPE.packing, token_budget=65_537)), "at most 65,536"),
        (replace(RECIPE, mixture=replace(MIXTURE, repeat={"vqa": 0})), "at least 1"),
    ],
)
def test_recipes_that_cannot_be_packed_are_refused_early(recipe: Recipe, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shards_step(recipe, SOURCES)
