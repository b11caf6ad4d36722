"""The interleaved set on the page: who wrote it is said, and nothing credentialed is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medmax_pipeline.config import Endpoint, Interleave
from medmax_pipeline.report.interleaved import interleaved_section, written
from medmax_pipeline.steps import Run
from tests.interleave.writing import House, pair

RULES = {"author": Endpoint(kind="sample", model="sample_author", may_see_credentialed=True)}


def run_of(house: House, tmp_path: Path) -> Run:
    """What the report's step would be given of the set."""
    house.build()
    inputs = {key: house.ledger.need(key) for key in ("interleaved/samples", "interleaved/curated")}
    return Run(
        inputs=inputs,
        params={},
        out=tmp_path / "out",
        work=tmp_path / "work",
        store=tmp_path / "store",
        landing=tmp_path / "landing",
        log=lambda line: None,
        launch=lambda arguments, *, state=None: None,
    )


def test_rules_are_called_rules_beside_what_they_wrote(tmp_path: Path) -> None:
    house = House(tmp_path, {"pmc_oa": [pair("a"), pair("b")]}, endpoints=RULES)
    page = interleaved_section(written(run_of(house, tmp_path)))
    assert "written by sample_author, rules of the embedded build and no language model" in page
    assert "The caption says: Caption of a." in page
    assert "&lt;image&gt;" in page


def test_credentialed_samples_are_counted_and_not_shown(tmp_path: Path) -> None:
    secret = replace(pair("s"), credentialed=True, context="A canary of a patient.")
    house = House(tmp_path, {"pmc_oa": [secret, pair("a")]}, endpoints=RULES)
    page = interleaved_section(written(run_of(house, tmp_path)))
    assert "2 questions" in page
    assert "canary" not in page
    assert "Caption of a." in page


def test_a_locked_set_says_why(tmp_path: Path) -> None:
    house = House(tmp_path, {"pmc_oa": [pair("a")]}, wanted=Interleave(sources=("pmc_oa",)))
    page = interleaved_section(written(run_of(house, tmp_path)))
    assert "no endpoint writes the interleaved set" in page


def test_a_build_without_the_set_says_nothing_of_it(tmp_path: Path) -> None:
    house = House(tmp_path, {"pmc_oa": [pair("a")]}, endpoints=RULES)
    run = replace(run_of(house, tmp_path), inputs={})
    assert written(run) is None
    assert interleaved_section(None) == ""
