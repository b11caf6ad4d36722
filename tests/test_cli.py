"""`medmax …` as people type it: what it prints, and how it ends."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline import cli
from medmax_pipeline.config import load
from medmax_pipeline.graph import steps
from medmax_pipeline.ingest.pins import Pin, write_pin
from medmax_pipeline.models.published import PUBLISHED
from medmax_pipeline.sources import SOURCES
from tests.withdrawing import HELD, IMAGES, Store


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


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No files, no token, and no way out: the landing root."""

    def no_network(*arguments: object, **named: object) -> None:
        raise AssertionError("a plan asks nobody over the network")

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MEDMAX_LANDING", str(tmp_path / "landing"))
    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    return tmp_path / "landing"


def test_the_papers_build_on_an_empty_machine_says_what_is_locked_and_how_much_would_be_fetched(
    project: Path, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(project / "configs" / "medmax_7b.toml")
    started = time.monotonic()
    assert cli.main(["plan", "--json", "--config", config]) == 0
    assert time.monotonic() - started < 10
    plan = {item["key"]: item for item in map(json.loads, lines(capsys))}
    assert plan["mimic_cxr/raw"]["action"] == "locked"
    assert "PhysioNet" in plan["mimic_cxr/raw"]["cure"]
    assert plan["mimic_cxr/curated"]["action"] == "locked"
    assert plan["quilt_instruct/raw"]["action"] == "locked"
    assert "HF_TOKEN" in plan["quilt_instruct/raw"]["cure"]
    assert plan["pmc_oa/raw"]["action"] == "fetch"
    assert plan["pmc_oa/raw"]["bytes"] > 20 * 10**9
    assert {"path": "pmc_oa/images.zip", "bytes": plan["pmc_oa/raw"]["files"][-1]["bytes"]} in plan["pmc_oa/raw"][
        "files"
    ]
    assert plan["pmc_oa/samples"] | {"action": "after"} == plan["pmc_oa/samples"]
    assert plan["weights/anole_7b"]["action"] == "fetch"
    assert plan["base_model"]["action"] == "after"
    assert not empty_machine.exists()


def test_the_papers_plan_ends_in_a_sum_that_counts_shared_files_once(
    project: Path, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(project / "configs" / "medmax_7b.toml")
    assert cli.main(["plan", "--json", "--config", config]) == 0
    files = [file for line in lines(capsys) for file in json.loads(line)["files"]]
    once = {file["path"]: file["bytes"] or 0 for file in files}
    assert len(once) < len(files)
    assert cli.main(["plan", "--config", config]) == 0
    last = lines(capsys)[-1]
    assert last.startswith(f"Would fetch {len(once)} files, {sum(once.values()) / 1e9:.1f} GB")


def test_the_papers_build_has_all_sources_of_the_paper(project: Path) -> None:
    settings = load(project / "configs" / "medmax_7b.toml")
    mixture = settings.recipes["medmax_7b"].mixture
    assert len({*mixture.required, *mixture.optional} - {"interleaved"}) == 13
    assert not mixture.admit_credentialed
    assert set(SOURCES) - set(settings.build.sources) == {"medmax_data"}


def sources_of(project: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main(["sources", "--json", "--config", str(project / "configs" / "medmax_7b.toml")]) == 0
    return {item["key"]: item for item in map(json.loads, lines(capsys))}


def test_every_source_and_all_weights_are_listed_before_any_build(
    project: Path, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = sources_of(project, capsys)
    assert set(listed) == {*SOURCES, *PUBLISHED}
    assert {item["section"] for item in listed.values()} == {"source", "weights"}
    for item in listed.values():
        assert item["state"] in ("locked", "ready to fetch")
        assert item["page"].startswith("https://")
        assert item["licence"]
        assert item["licence_read"]
        assert item["expected"]
        assert (item["state"] == "locked") == bool(item["missing"])
    assert listed["mimic_cxr"]["credentialed"] is True
    assert listed["mimic_cxr"]["rows"] == 377_110
    assert listed["chameleon_7b"]["state"] == "locked"
    assert listed["anole_7b"]["state"] == "ready to fetch"
    assert listed["medmax_data"]["in_build"] is False


def test_a_placed_file_changes_what_is_listed_at_once(
    project: Path, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = empty_machine / "vqa_rad"
    (folder / "VQA_RAD Image Folder").mkdir(parents=True)
    (folder / "VQA_RAD Dataset Public.json").write_text("[]")
    half = sources_of(project, capsys)["vqa_rad"]
    assert (half["state"], half["found_files"], half["found_bytes"]) == ("locked", 1, 2)
    assert any("VQA_RAD Image Folder" in path for path in half["missing"])
    (folder / "VQA_RAD Image Folder" / "synpic1.jpg").write_bytes(b"x")
    whole = sources_of(project, capsys)["vqa_rad"]
    assert (whole["state"], whole["missing"], whole["cure"]) == ("unlocked", [], "")


def test_a_table_for_people_names_what_is_missing_and_how_to_get_it(
    project: Path, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sources", "--config", str(project / "configs" / "medmax_7b.toml")]) == 0
    printed = capsys.readouterr().out
    assert "WEIGHTS" in printed
    assert "to unlock: Complete PhysioNet's training" in printed
    assert "would be fetched: 2 files" in printed


def test_what_is_pinned_here_is_printed_as_a_builds_table(
    project: Path, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pin(
        empty_machine / "weights" / "anole_7b",
        "mint-medmax/anole_7b_hf",
        Pin(commit="b" * 40, wanted={"config.json": 1}),
    )
    assert cli.main(["sources", "--pins", "--config", str(project / "configs" / "medmax_7b.toml")]) == 0
    table = tomllib.loads(capsys.readouterr().out)["pins"]
    assert table["anole_7b"] == "b" * 40
    assert all(len(commit) == 40 for commit in table.values())


def test_a_landing_folder_that_leads_astray_is_told_and_the_others_are_listed(
    project: Path, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_machine / "vqa_rad").mkdir(parents=True)
    (empty_machine / "vqa_rad" / "VQA_RAD Dataset Public.json").symlink_to("/etc/hosts")
    listed = sources_of(project, capsys)
    assert listed["vqa_rad"]["state"] == "locked"
    assert "link" in listed["vqa_rad"]["reason"]
    assert listed["slake"]["state"] == "ready to fetch"


def test_the_page_of_sources_is_the_records(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sources", "--docs"]) == 0
    printed = capsys.readouterr().out
    page = (project / "docs" / "sources.md").read_text(encoding="utf-8")
    assert page == printed, "a record changed: run `medmax sources --docs > docs/sources.md`"


def test_sources_are_listed_with_licence_and_access(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sources", "--json"]) == 0
    listed = {item["key"]: item for item in map(json.loads, lines(capsys))}
    assert listed["mimic_cxr"]["credentialed"] is True
    assert listed["vqa_rad"]["licence"] == "CC0-1.0"
    assert listed["vqa_rad"]["state"] == "laid out by the build"
    assert cli.main(["sources"]) == 0
    assert "vqa_rad" in capsys.readouterr().out


def test_lineage_of_nothing_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lineage", "checkpoint/sample"]) == 2
    assert "Materialise it first" in capsys.readouterr().err


@pytest.fixture
def small_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(tmp_path / "small")
    made.build()
    monkeypatch.setenv("MEDMAX_STORE", str(made.ledger.store))
    return made


def test_an_image_is_withdrawn_by_the_beginning_of_its_id_and_taken_back(
    small_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["withdraw", "--image", "d" * 8, "--reason", "asked for"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 withdrawn" in printed
    assert "2 samples of this store" in printed
    assert "seen by checkpoint/r" in printed
    assert f"image {IMAGES['c']} has the same pixels" in printed
    assert cli.main(["withdraw", "--image", "d" * 8, "--reason", "a mistake", "--undo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(mark["what"], mark["undo"]) for mark in told["marked"]] == [("image", True)]
    assert small_store.reasons() == {}


def test_a_list_withdraws_images_and_samples_even_those_of_other_stores(
    small_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_id = HELD["one"][0].sample_id
    (tmp_path / "list").write_text(f"{'e' * 64}\n{sample_id}\n")
    assert cli.main(["withdraw", "--list", str(tmp_path / "list"), "--reason", "asked for"]) == 0
    assert "2 of 2 withdrawn" in capsys.readouterr().out
    assert small_store.reasons() == {"one/curated": "1 sample withdrawn"}


def test_a_sample_nobody_knows_is_told_in_a_line_and_marks_nothing(
    small_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lineage", "--sample", "0123456789"]) == 2
    assert cli.main(["withdraw", "--sample", "0123456789", "--reason", "x"]) == 2
    assert capsys.readouterr().err.count("none begins so") == 2
    assert not (small_store.ledger.store / "withdrawn.jsonl").exists()


def test_lineage_of_a_sample_speaks_to_people_and_machines(
    small_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_id = HELD["one"][0].sample_id
    assert cli.main(["lineage", "--sample", sample_id[:8]]) == 0
    assert "row 0 of rows.json" in capsys.readouterr().out
    assert cli.main(["lineage", "--sample", sample_id[:8], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sample"] == sample_id


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
