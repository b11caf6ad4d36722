"""The whole line, as a stranger runs it: one build by command, and everything that must hold of it afterwards."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from medmax_pipeline import config, graph, lineage
from medmax_pipeline.ingest.landing import pattern, scan
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.sources import SOURCES
from tests.conftest import LineBuild, absent
from tests.shards.others import read_by_datasets

pytestmark = pytest.mark.slow


def dagster(environment: Mapping[str, str], project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the virtual environment from the project's folder."""
    tool = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [tool, *command[1:]], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def environment(line_build: LineBuild) -> dict[str, str]:
    """Folders of this test run alone."""
    return line_build.environment


@pytest.fixture(scope="module")
def built(line_build: LineBuild) -> Path:
    """The store after `dagster job execute -m … -j full_rebuild`."""
    assert line_build.process is not None
    assert line_build.process.wait() == 0, line_build.log.read_text()[-6000:]
    return Path(line_build.environment["MEDMAX_STORE"])


def settings_of(store: Path, project: Path, landing: Path | None = None) -> config.Settings:
    """The sample build over another store."""
    loaded = config.load(project / "configs" / "sample.toml")
    return config.Settings(loaded.build, loaded.recipes, store, landing or store / "landing" / "sample")


def ledger_of(store: Path, project: Path) -> Ledger:
    """The ledger of the sample build in `store`."""
    made = settings_of(store, project)
    return Ledger(made.store, made.build.name, made.landing)


def copied(built: Path, tmp_path: Path) -> Path:
    """A copy of the built store that a test may spoil."""
    return Path(shutil.copytree(built, tmp_path / "store"))


def test_every_asset_of_the_graph_is_published_and_none_is_locked(built: Path, project: Path) -> None:
    ledger = ledger_of(built, project)
    locked = [step.key for step in graph.steps(settings_of(built, project)) if ledger.need(step.key).locked]
    assert locked == []


def test_every_source_there_is_gives_samples(built: Path, environment: dict[str, str], project: Path) -> None:
    done = dagster(environment, project, "medmax", "sources", "--json")
    assert done.returncode == 0, done.stderr
    told = {line["key"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(SOURCES) <= set(told)
    assert [key for key in SOURCES if told[key]["state"] != "unlocked" or not told[key]["samples"]] == []


def test_every_count_adds_up(built: Path, project: Path) -> None:
    ledger = ledger_of(built, project)
    for step in graph.steps(settings_of(built, project)):
        assert ledger.need(step.key).manifest.counts.balanced, step.key


def test_the_tuned_model_beats_its_base_on_held_out_files_by_fifteen_points(built: Path, project: Path) -> None:
    scores = json.loads((ledger_of(built, project).need("scores/sample").folder / "scores.json").read_text())
    row = next(
        r for r in scores if (r["model"], r["task"], r["metric"]) == ("sample", "vqa_rad/closed", "accuracy_strict")
    )
    assert row["gain"] >= 0.15, row
    assert row["gain_low"] > 0, "the interval of the gain must not reach zero"


def test_a_score_of_absent_weights_is_locked_and_has_no_value(built: Path, project: Path) -> None:
    scores = json.loads((ledger_of(built, project).need("scores/sample").folder / "scores.json").read_text())
    locked = [row for row in scores if row["status"] == "locked"]
    assert {row["metric"].partition("@")[2] for row in locked} == {"biomedclip", "gpt-4o-mini"}
    assert all(row["value"] is None and row["cure"] for row in locked)


def test_a_second_build_makes_nothing_and_starts_no_process(
    built: Path, environment: dict[str, str], project: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("manifest.json")}
    done = dagster(
        environment | {"DAGSTER_MODULE_NAME": "medmax_pipeline.definitions"},
        project,
        *("dagster", "job", "execute", "-j", "full_rebuild"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in built.rglob("manifest.json")} == before
    assert "EXTERNAL_PIPES" not in done.stdout + done.stderr


def test_dg_launch_works_from_the_projects_folder(built: Path, environment: dict[str, str], project: Path) -> None:
    done = dagster(environment, project, "dg", "launch", "--job", "full_rebuild")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_the_bare_command_fails_as_the_readme_says(environment: dict[str, str], project: Path) -> None:
    done = dagster(environment, project, "dagster", "job", "execute", "-j", "full_rebuild")
    assert done.returncode == 2
    assert "Invalid set of CLI arguments" in done.stdout + done.stderr


def test_lineage_reaches_every_raw_file_with_digest_and_licence_without_dagsters_home(
    built: Path, environment: dict[str, str], project: Path, tmp_path: Path
) -> None:
    done = dagster(
        {**environment, "DAGSTER_HOME": str(tmp_path / "deleted")},
        project,
        *("medmax", "lineage", "checkpoint/sample", "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    named = {file["path"]: file["sha256"] for node in found["nodes"] for file in node["files"]}
    landing = built / "landing" / "sample"
    for source in SOURCES.values():
        expected = scan(landing / source.folder, source.files).expected
        assert expected
        globs = {name for name in named if name.startswith(f"{source.folder}/") and "*" in name}  # of many files
        for file in expected:
            name = f"{source.folder}/{file.name}"
            covering = [glob for glob in globs if pattern(glob).fullmatch(name)]
            assert [len(named[each]) for each in (name, *covering) if each in named][:1] == [64], name
    licences = {line for node in found["nodes"] if node["key"].endswith("/raw") for line in node["licences"]}
    assert licences == {source.licence.name for source in SOURCES.values()}
    assert all(node["licences"] for node in found["nodes"] if node["key"].endswith("/samples"))


def test_the_store_verifies(built: Path, environment: dict[str, str], project: Path) -> None:
    done = dagster(environment, project, "medmax", "verify")
    assert done.returncode == 0, done.stdout


def test_a_changed_raw_byte_plans_its_cone_only(built: Path, project: Path, tmp_path: Path) -> None:
    store = copied(built, tmp_path)
    table = store / "landing" / "sample" / "vqa_rad" / "VQA_RAD Dataset Public.json"
    table.write_bytes(
        table.read_bytes().replace(b"  ", b" \t", 1) if b"  " in table.read_bytes() else table.read_bytes() + b" "
    )
    ledger = ledger_of(store, project)
    plan = {item.key: item.action for item in ledger.plan(graph.steps(settings_of(store, project)))}
    assert plan["vqa_rad/raw"] == "run"
    untouched = [
        key for key in plan if key.startswith(("pmc_oa/raw", "pmc_oa/samples", "mimic_cxr/raw", "mimic_cxr/samples"))
    ]
    assert all(plan[key] == "reuse" for key in untouched)


def test_a_missing_raw_file_locks_its_cone_and_names_the_file(built: Path, project: Path, tmp_path: Path) -> None:
    store = copied(built, tmp_path)
    (store / "landing" / "sample" / "pmc_oa" / "images.zip").unlink()
    ledger = ledger_of(store, project)
    planned = {item.key: item for item in ledger.plan(graph.steps(settings_of(store, project)))}
    assert planned["pmc_oa/raw"].action == "locked"
    assert "images.zip" in planned["pmc_oa/raw"].reason


def test_two_builds_in_two_folders_give_the_same_shards(built: Path, project: Path, tmp_path: Path) -> None:
    other = settings_of(tmp_path / "store", project)
    ledger = Ledger(other.store, other.build.name, other.landing)
    launch = plain_launcher(project)
    for step in graph.steps(other):
        if not step.key.startswith(("checkpoint", "eval", "scores", "report")):
            ledger.execute(step, launch=launch)
    first, second = ledger_of(built, project).need("shards/sample"), ledger.need("shards/sample")
    tars = sorted(path.name for path in first.folder.glob("*.tar"))
    assert tars
    for name in [*tars, "index.parquet"]:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def plain_launcher(project: Path):  # type: ignore[no-untyped-def]
    """Runs a module as a subprocess, without Dagster."""

    def launch(arguments: object, *, state: Path | None = None) -> None:
        subprocess.run([sys.executable, "-m", *arguments], check=True, cwd=project, capture_output=True)  # type: ignore[misc]

    return launch


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_three_libraries_read_the_same_ids_in_the_builds_shards(built: Path, project: Path, tmp_path: Path) -> None:
    """Ours, webdataset and datasets: digests over bounds and ids of every block."""
    import webdataset

    folder = ledger_of(built, project).need("shards/sample").folder
    tars = [path for kind in ("open", "credentialed") for path in sorted(folder.glob(f"{kind}-*.tar"))]
    ours, theirs = hashlib.sha256(), hashlib.sha256()
    for block in PackReader(folder).blocks():
        ours.update(block.bounds.tobytes() + block.ids.tobytes())
    for sample in webdataset.WebDataset([str(path) for path in tars], shardshuffle=False):
        theirs.update(sample["cu.i32"] + sample["tok.u16"])
    gc.collect()  # webdataset leaves its files to the collector: here, not in a later test
    keys, whole = read_by_datasets(tars, tmp_path)
    assert keys
    assert ours.hexdigest() == theirs.hexdigest() == whole


def test_no_temporary_file_and_no_work_is_left(built: Path) -> None:
    assert not [path for path in built.rglob("*") if ".tmp-" in path.name]
    assert not [path for path in (built / "work").rglob("*") if path.is_file()]


def test_the_closure_names_one_checkpoint_for_one_set_of_bytes(built: Path, project: Path) -> None:
    ledger = ledger_of(built, project)
    found = lineage.closure(ledger, ledger.need("scores/sample"))
    keys = {key for key, _ in found.nodes}
    assert {"sample_corpus", "vqa_rad/raw", "image_codes", "checkpoint/sample", "base_model"} <= keys


def digests_of(store: Path, project: Path) -> dict[str, str]:
    """What came out, by asset key."""
    ledger = ledger_of(store, project)
    return {step.key: ledger.need(step.key).manifest.digest for step in graph.steps(settings_of(store, project))}


@pytest.mark.torture
def test_a_build_killed_at_random_points_ends_with_the_same_bytes(
    built: Path, environment: dict[str, str], project: Path, tmp_path: Path
) -> None:
    """Ten seeded kills of everything, each after up to 40 s; then one run to the end."""
    chance = random.Random(20261123)
    (tmp_path / "home").mkdir()
    own = environment | {"MEDMAX_STORE": str(tmp_path / "store"), "DAGSTER_HOME": str(tmp_path / "home")}
    tool = Path(sys.executable).parent / "dagster"
    command = [str(tool), "job", "execute", "-m", "medmax_pipeline.definitions", "-j", "full_rebuild"]
    for _ in range(10):
        run = subprocess.Popen(
            command, cwd=project, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            run.wait(timeout=chance.uniform(8, 40))
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    done = dagster(own, project, "dagster", *command[1:])
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert digests_of(tmp_path / "store", project) == digests_of(built, project)
    assert not [path for path in (tmp_path / "store" / "work").rglob("*") if path.is_file()]


def browser() -> str:
    """Path of a Chromium; skips where there is none, unless MEDMAX_TEST_REQUIRE asks for it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        absent("browser", "no chromium on the PATH: pages are looked at where one is installed")
    return found


def rendered(address: str, profile: Path, wait_ms: int) -> str:
    """The page's DOM after its scripts ran, in a browser without a network."""
    flags = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --virtual-time-budget={wait_ms} --user-data-dir={profile}"
    done = subprocess.run(
        [browser(), *flags.split(), "--dump-dom", address], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_report_opens_in_a_browser_and_says_sample(built: Path, project: Path, tmp_path: Path) -> None:
    page = ledger_of(built, project).need("report").folder / "index.html"
    text = rendered(page.as_uri(), tmp_path / "profile", 2000)
    assert "accuracy_strict" in text
    assert "sample" in text
    assert "locked" in text


def test_the_web_ui_opens_on_loopback_and_shows_the_scores(
    built: Path, environment: dict[str, str], project: Path, tmp_path: Path
) -> None:
    browser()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tool = Path(sys.executable).parent / "dagster"
    command = [str(tool), "dev", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=project, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/server_info", tmp_path / "log")
        text = rendered(f"{address}/assets/scores/sample", tmp_path / "profile", 20_000)
        assert "accuracy_strict" in text, text[-2000:]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(address: str, log: Path) -> None:
    """Until the server answers; two minutes at most."""
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=2).read()
            return
        except OSError:
            time.sleep(1)
    pytest.fail(f"no answer from {address}: {log.read_text()[-2000:]}")
