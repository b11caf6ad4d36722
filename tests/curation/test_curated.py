"""Decisions asked in their order, survivors in their form, and dropped samples to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.curation import DECISIONS, examples
from medmax_pipeline.curation.curated import READERS, Decide, by_id, curate
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.records import Drop, Sample
from medmax_pipeline.steps import Outcome
from tests.curation.published import publish, sample
from tests.ingest.landings import picture

PICTURES = [picture(number) for number in range(6)]
IMAGES = [sha256_bytes(data) for data in PICTURES]


def dropping(reason: str, *names: str) -> Decide:
    """A decision that drops the samples of these names."""
    return by_id({sample(name, "p").sample_id: Drop(reason, f"because of {name}") for name in names})


def curated(tmp_path: Path, samples: Sequence[Sample], *decisions: Decide) -> tuple[Outcome, Path]:
    """Curate samples whose pictures lie in the landing folder."""
    for data, image in zip(PICTURES, IMAGES, strict=True):
        path = tmp_path / "landing" / "one" / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder = publish(tmp_path / "samples", samples, files=dict(zip(IMAGES, PICTURES, strict=True)))
    out = tmp_path / "out"
    return curate(folder, decisions, lambda item: replace(item, modality="formed"), out, tmp_path / "landing"), out


def test_the_first_decision_that_drops_a_sample_names_the_reason(tmp_path: Path) -> None:
    items = [sample(name, IMAGES[0]) for name in "abcd"]
    outcome, out = curated(tmp_path, items, dropping("first", "a", "b"), dropping("second", "b", "c"))
    assert outcome.counts.dropped == {"first": 2, "second": 1}
    assert (outcome.counts.taken, outcome.counts.kept) == (4, 1)
    assert outcome.counts.balanced
    reasons = dict(
        zip(*(pq.read_table(out / "drops.parquet")[name].to_pylist() for name in ("unit", "reason")), strict=True)
    )
    assert reasons[sample("b", "p").sample_id] == "first"


def test_survivors_come_in_their_form_and_dropped_samples_are_not_formed(tmp_path: Path) -> None:
    items = [sample("a", IMAGES[0]), sample("b", IMAGES[1])]
    _, out = curated(tmp_path, items, dropping("gone", "a"))
    (kept,) = read_samples(out / "samples.parquet")
    assert (kept.sample_id, kept.modality) == (items[1].sample_id, "formed")


def test_licences_and_credentials_are_those_of_the_survivors(tmp_path: Path) -> None:
    items = [sample("a", IMAGES[0], credentialed=True), sample("b", IMAGES[1])]
    outcome, _ = curated(tmp_path, items, dropping("gone", "a"))
    assert (outcome.licences, outcome.credentialed) == (("Open",), False)


def test_a_few_of_each_reason_are_kept_to_look_at(tmp_path: Path) -> None:
    names = "abcdefgh"
    items = [sample(name, IMAGES[0], said=f"This is {name}.") for name in names]
    _, out = curated(tmp_path, items, dropping("many", *names[:6]), dropping("one", "g"))
    found = examples.read_examples(out)
    assert [one.reason for one in found] == ["many"] * examples.SHOWN + ["one"]
    assert found[0] == examples.Example(
        "many", items[0].sample_id, "captioning", "Describe. / This is a.", "because of a", IMAGES[0]
    )


def test_the_pictures_of_the_dropped_stand_on_one_sheet_that_no_digest_looks_at(tmp_path: Path) -> None:
    items = [sample(name, image) for name, image in zip("abcd", IMAGES, strict=False)]
    _, out = curated(tmp_path, items, dropping("one", "a", "b"), dropping("two", "c"))
    with Image.open(io.BytesIO((out / "log" / examples.SHEET).read_bytes())) as sheet:
        assert sheet.size == (examples.SHOWN * examples.SIDE_PX, 2 * examples.SIDE_PX)
        assert len(sheet.convert("RGB").getcolors(1 << 20) or []) > 10


def test_credentialed_samples_are_never_shown(tmp_path: Path) -> None:
    items = [sample("a", IMAGES[0], credentialed=True, said="A secret."), sample("b", IMAGES[1])]
    _, out = curated(tmp_path, items, dropping("gone", "a"))
    assert examples.read_examples(out) == []
    assert not (out / "log").exists()
    assert all(b"secret" not in path.read_bytes() for path in [out / examples.TABLE, out / "samples.parquet"])


def test_a_picture_that_is_not_here_any_more_leaves_its_words(tmp_path: Path) -> None:
    folder = publish(tmp_path / "samples", [sample("a", IMAGES[0])])
    curate(folder, [dropping("gone", "a")], lambda item: item, tmp_path / "out", tmp_path / "nothing")
    assert len(examples.read_examples(tmp_path / "out")) == 1
    assert not (tmp_path / "out" / "log").exists()


def test_a_long_text_is_shown_on_one_line_and_in_part() -> None:
    assert examples.words_of(sample("a", "p", said="x\n" * 900)).count("\n") == 0
    assert len(examples.words_of(sample("a", "p", said="x " * 900))) <= examples.TEXT_SHOWN


def test_every_decision_across_sources_can_be_read_and_has_its_place() -> None:
    assert {*READERS} <= {*DECISIONS}
    assert len({*DECISIONS}) == len(DECISIONS)
