"""The questions asked again of what curation published."""

from __future__ import annotations

from pathlib import Path

from medmax_pipeline.curation.checks import evaluation_pictures_left
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
