"""Counts are checked against what lies on disk, at every station that counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.arrow import left_to_table
from medmax_pipeline.assets.checks import check_results, checks_of
from medmax_pipeline.config import load
from medmax_pipeline.files import write_table
from medmax_pipeline.graph import steps
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import Counts, Left
from medmax_pipeline.steps import Artifact, Outcome, Run, Step
from tests.ingest.landings import lay_vqa_rad, make, picture, question


def balance(ledger: Ledger, artifact: Artifact) -> tuple[bool, str]:
    """Whether `rows_add_up` passes, and what it says."""
    (found,) = [item for item in check_results(ledger, artifact) if item.check_name == "rows_add_up"]
    return found.passed, str(found.metadata["first"].value)


def test_every_asset_of_a_build_is_asked_whether_its_rows_add_up() -> None:
    assert all("rows_add_up" in [check.name for check in checks_of(step.key)] for step in steps(load()))


def test_raw_and_samples_with_rows_left_out_add_up(tmp_path: Path) -> None:
    rows = [question(0, "a.jpg"), question(1, "gone.jpg"), question(2, "a.jpg", answer=" ")]
    lay_vqa_rad(tmp_path, rows, {"a.jpg": picture(1, "JPEG")})
    raw, samples = make(tmp_path / "store", tmp_path, "vqa_rad")
    ledger = Ledger(tmp_path / "store", "test", tmp_path)
    assert samples.manifest.counts == Counts(3, 1, {"answer_empty": 1}, {"image_missing": 1})
    assert balance(ledger, raw) == balance(ledger, samples) == (True, "none")


@pytest.mark.parametrize("table", ["drops", "quarantine"])
def test_a_unit_that_is_counted_and_not_listed_is_found_out(tmp_path: Path, table: str) -> None:
    reasons = {"broken": 2}

    def run(ctx: Run) -> Outcome:
        write_table(ctx.out / f"{table}.parquet", left_to_table([Left("a", "broken")]))
        return Outcome(Counts(3, 1, reasons, {}) if table == "drops" else Counts(3, 1, {}, reasons))

    ledger = Ledger(tmp_path, "test", tmp_path)
    artifact, _ = ledger.execute(Step("thing", run, "1"))
    passed, told = balance(ledger, artifact)
    assert not passed
    assert told == f"{table}.parquet holds {{'broken': 1}}, the manifest counts {{'broken': 2}}"
