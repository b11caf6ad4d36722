"""`medmax …` as people type it: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medmax_pipeline import cli
from medmax_pipeline.config import load
from medmax_pipeline.graph import steps


@pytest.fixture(autouse=True)
def empty_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDMAX_STORE", str(store))
    monkeypatch.delenv("MEDMAX_CONFIG", raising=False)
    monkeypatch.delenv("MEDMAX_LANDING", raising=False)
    return store


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_plan_on_an_empty_machine_names_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan"]) == 0
    printed = capsys.readouterr().out
    assert all(step.key in printed for step in steps(load()))


def test_a_plan_for_machines_is_a_json_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--json"]) == 0
    plan = [json.loads(line) for line in lines(capsys)]
    assert plan[0]["action"] == "run"
    assert {item["action"] for item in plan} <= {"run", "after"}


def test_a_source_without_files_is_planned_as_locked_with_what_was_expected(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipes").mkdir()
    text = (project / "configs" / "sample.toml").read_text()
    (tmp_path / "mine.toml").write_text(
        text.replace('corpus = "sample"', 'corpus = "none"').replace('name = "sample"', 'name = "mine"')
    )
    (tmp_path / "recipes" / "sample.toml").write_text((project / "configs" / "recipes" / "sample.toml").read_text())
    monkeypatch.setenv("MEDMAX_LANDING", str(tmp_path / "landing"))
    assert cli.main(["plan", "--json", "--config", str(tmp_path / "mine.toml")]) == 0
    plan = {item["key"]: item for item in map(json.loads, lines(capsys))}
    assert plan["pmc_oa/raw"]["action"] == "locked"
    assert "images.zip" in plan["pmc_oa/raw"]["reason"]


def test_sources_are_listed_with_licence_and_access(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sources", "--json"]) == 0
    listed = {item["key"]: item for item in map(json.loads, lines(capsys))}
    assert listed["mimic_cxr"]["credentialed"] is True
    assert listed["vqa_rad"]["licence"] == "CC0-1.0"
    assert cli.main(["sources"]) == 0
    assert "vqa_rad" in capsys.readouterr().out


def test_lineage_of_nothing_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lineage", "checkpoint/sample"]) == 2
    assert "Materialise it first" in capsys.readouterr().err


def test_an_empty_store_verifies_and_a_spoilt_one_does_not(
    empty_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medmax_pipeline import files
    from medmax_pipeline.ledger import Ledger
    from medmax_pipeline.steps import Outcome, Run, Step

    assert cli.main(["verify"]) == 0

    def write(run: Run) -> Outcome:
        files.write_text(run.out / "data", "x")
        return Outcome()

    artifact, _ = Ledger(empty_store, "sample", empty_store).execute(Step("thing", write, "1"))
    (artifact.folder / "data").write_text("y")
    assert cli.main(["verify"]) == 1
    assert "thing/data" in capsys.readouterr().out


def test_results_of_an_unfinished_build_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["results"]) == 0
    assert "no scores yet" in capsys.readouterr().out


def test_a_fresh_machine_has_no_stale_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stale"]) == 0
    assert "fresh" in capsys.readouterr().out


def test_a_missing_config_is_one_line_and_exit_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--config", "nowhere.toml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        assert len(capsys.readouterr().out.splitlines()) > 3
