"""The questions asked again of what curation published."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.curation.checks import evaluation_pictures_left, planted_missed
from medmax_pipeline.files import Json
from tests.curation.published import publish, sample


def test_a_leak_that_was_left_is_named(tmp_path: Path) -> None:
    samples = publish(tmp_path / "samples", [sample("a", "p"), sample("b", "q", split="eval")], {"p": "x", "q": "x"})
    curated = publish(tmp_path / "curated", [sample("a", "p")])
    (fault,) = evaluation_pictures_left(curated, samples, {"one": samples})
    assert fault == f"sample {sample('a', 'p').sample_id} shows the evaluation picture q"


def test_clean_training_samples_have_no_fault(tmp_path: Path) -> None:
    samples = publish(tmp_path / "samples", [sample("a", "p"), sample("b", "q", split="eval")])
    curated = publish(tmp_path / "curated", [sample("a", "p")])
    assert evaluation_pictures_left(curated, samples, {"one": samples}) == []


@pytest.mark.parametrize(
    ("summary", "faults"),
    [
        ({"mode": "exact", "evaluation_images": 3, "planted_recall": 1.0}, []),
        ({"mode": "exact", "evaluation_images": 0, "planted_recall": None}, []),
        ({"mode": "off", "evaluation_images": 0, "planted_recall": None}, []),
        ({"mode": "exact", "evaluation_images": 3, "planted_recall": None}, ["no copy was planted"]),
        (
            {"mode": "exact", "evaluation_images": 3, "planted_recall": 0.5},
            ["recall of planted copies is 0.5, expected 1"],
        ),
    ],
)
def test_the_planted_copies_must_all_be_found(summary: dict[str, Json], faults: list[str]) -> None:
    assert planted_missed(summary) == faults
