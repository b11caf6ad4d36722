"""Curation in a store, from landing folders: leaks dropped, funnels, parts, locks, and what re-runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.config import Curation
from medmax_pipeline.curation.steps import curated_step, duplicates_step, leakage_step
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources import source
from medmax_pipeline.sources.pmc_oa import split_of
from medmax_pipeline.steps import Artifact, Step
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, picture, png_again, question

SOURCES = ("mimic_cxr", "pmc_oa", "vqa_rad")
TRAIN = next(f"PMC{number}" for number in range(1, 99) if split_of(f"PMC{number}") == "train")


class House:
    """A small build over hand-made landing folders; `mimic_cxr` is locked."""

    def __init__(self, root: Path) -> None:
        self.landing = root / "landing"
        self.ledger = Ledger(root / "store", "test", self.landing)
        self.lay(caption="A knee.")

    def lay(self, caption: str) -> None:
        questions = [
            question(0, "clean.jpg"),
            question(1, "shared.jpg"),
            question(2, "shared.jpg", phrase_type="test_freeform"),
            question(3, "test.jpg", phrase_type="test_para"),
            question(4, "clean.jpg", question="Is finding 0 present?"),
        ]
        pictures = {name: picture(number) for number, name in enumerate(("clean.jpg", "shared.jpg", "test.jpg"))}
        lay_vqa_rad(self.landing, questions, pictures)
        names = [f"{TRAIN}_Fig{number}_1.jpg" for number in range(1, 4)]
        rows = [{"image": name, "caption": f"{caption} {name}"} for name in names]
        lay_pmc_oa(
            self.landing,
            rows,
            {names[0]: picture(2), names[1]: png_again(picture(2)), names[2]: picture(50)},
        )

    def steps(self, curation: Curation) -> list[Step]:
        steps = [step for key in SOURCES for step in (raw_step(source(key), False), samples_step(source(key)))]
        steps += [duplicates_step(SOURCES, curation.duplicates), leakage_step(SOURCES, curation.leakage)]
        return steps + [curated_step(key, curation) for key in SOURCES]

    def build(self, **changes: Any) -> list[str]:
        """Build all; keys of the steps that ran."""
        return [step.key for step in self.steps(Curation(**changes)) if self.ledger.execute(step)[1]]

    def need(self, key: str) -> Artifact:
        return self.ledger.need(key)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Built once; tests only read it."""
    made = House(tmp_path_factory.mktemp("house"))
    made.build()
    return made


@pytest.fixture
def own(tmp_path: Path) -> House:
    """A house of the test's own, built."""
    made = House(tmp_path)
    made.build()
    return made


def test_leaks_across_and_within_sources_are_dropped_by_name(house: House) -> None:
    assert house.need("pmc_oa/curated").manifest.counts.dropped == {"leak_same_file": 1, "leak_same_pixels": 1}
    dropped = house.need("vqa_rad/curated").manifest.counts.dropped
    assert dropped == {"duplicate_exact": 1, "evaluation_row": 2, "leak_same_file": 1}


def test_no_evaluation_picture_is_left_in_training(house: House) -> None:
    evaluated = {sha256_bytes(picture(1)), sha256_bytes(picture(2))}
    for key in ("pmc_oa", "vqa_rad"):
        for sample in read_samples(house.need(f"{key}/curated").folder / "samples.parquet"):
            assert sample.split == "train"
            assert not evaluated & set(sample.images)


def test_the_funnel_of_a_source_begins_with_all_its_samples(house: House) -> None:
    counts = house.need("vqa_rad/curated").manifest.counts
    assert (counts.taken, counts.kept) == (house.need("vqa_rad/samples").manifest.counts.kept, 1) == (5, 1)
    assert house.need("leakage").manifest.counts.taken == 6


def test_a_drop_says_what_it_equals(house: House) -> None:
    drops = pq.read_table(house.need("pmc_oa/curated").folder / "drops.parquet").to_pylist()
    assert {drop["detail"] for drop in drops} == {f"vqa_rad {sha256_bytes(picture(2))}"}
    assert {drop["file"] for drop in drops} == {"pmc_oa.jsonl"}


def test_what_was_not_looked_at_is_named(house: House) -> None:
    assert house.need("leakage").manifest.summary["not_looked_at"] == "mimic_cxr"


def test_a_locked_source_locks_its_own_curation_only(house: House) -> None:
    assert house.need("mimic_cxr/curated").locked
    for key in ("duplicates", "leakage", "pmc_oa/curated", "vqa_rad/curated"):
        assert not house.need(key).locked
    assert sorted(house.need("leakage").manifest.parts) == ["evaluated", *SOURCES]


def test_a_second_build_runs_nothing_and_a_change_of_one_source_leaves_the_others_alone(own: House) -> None:
    assert own.build() == []
    own.lay(caption="A hand.")
    assert own.build() == ["pmc_oa/raw", "pmc_oa/samples", "duplicates", "leakage", "pmc_oa/curated"]


def test_a_share_reruns_the_curated_steps_alone(own: House) -> None:
    assert own.build(generation_share=1.0) == [f"{key}/curated" for key in SOURCES]
    assert own.need("pmc_oa/curated").manifest.summary == {"kept generation": 1}


def test_off_lets_leaks_pass_and_is_written_down(own: House) -> None:
    own.build(leakage="off", duplicates="off")
    manifest = own.need("vqa_rad/curated").manifest
    assert (manifest.counts.taken, manifest.counts.dropped) == (5, {"evaluation_row": 2})
    assert manifest.params["leakage"] == manifest.params["duplicates"] == "off"
    assert [entry.key for entry in manifest.inputs] == ["vqa_rad/samples"]
    assert own.need("leakage").manifest.summary["evaluation_images"] == 0


def test_a_leak_that_is_a_duplicate_too_is_counted_as_a_leak(tmp_path: Path) -> None:
    house = House(tmp_path)
    questions = [question(0, "a.jpg"), question(1, "a.jpg", question="Is finding 0 present?")]
    held_out = question(2, "a.jpg", phrase_type="test_para")
    lay_vqa_rad(house.landing, [*questions, held_out], {"a.jpg": picture(1)})
    house.build()
    assert house.need("duplicates").manifest.counts.dropped == {"duplicate_exact": 1}
    assert house.need("vqa_rad/curated").manifest.counts.dropped == {"evaluation_row": 1, "leak_same_file": 2}


def test_licences_and_credentials_are_those_of_the_rows(house: House) -> None:
    manifest = house.need("pmc_oa/curated").manifest
    assert (manifest.licences, manifest.credentialed) == ((source("pmc_oa").licence.name,), False)


def test_the_same_landing_gives_the_same_curated_bytes(house: House, tmp_path: Path) -> None:
    again = House(tmp_path / "again")
    again.build()
    for key in ("pmc_oa/curated", "vqa_rad/curated", "leakage", "duplicates"):
        assert again.need(key).manifest.digest == house.need(key).manifest.digest
