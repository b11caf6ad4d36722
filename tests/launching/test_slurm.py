"""Launches on a real Slurm of two nodes: done, failed, cancelled, found again, held, on both nodes, controller away."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.launching.backends import Standing
from medmax_pipeline.launching.launch import end, launch
from medmax_pipeline.launching.living import parse_process, process_of
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.launching.machine import Slurm as Options
from medmax_pipeline.launching.slurm import Slurm, job_script, resources
from medmax_pipeline.launching.state import Note, Status, read_note, read_status, write_note
from medmax_pipeline.resources.launcher import Launcher
from tests.conftest import absent
from tests.launching.conftest import WATCHER, Write, kill, left, wait_for
from tests.launching.slurm_cluster import PATH, Cluster, missing
from tests.launching.test_local import HYDRA, PATIENT, heads

POLL_S = 0.2
MACHINE = Machine(kind="slurm", grace_s=1.0, slurm=Options(poll_s=POLL_S))
TABLE = f'kind = "slurm"\ngrace_s = 1.0\nslurm = {{ poll_s = {POLL_S} }}\n'


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests."""
    if reason := missing():
        absent("slurm", reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(started: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster as this process's commands find it; its file system is this machine's and hides nothing."""
    monkeypatch.setenv("SLURM_CONF", str(started.conf))
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setattr(Slurm, "settle_s", 0.5)
    return started


@pytest.fixture
def slurm_state(cluster: Cluster, state: Path) -> Path:
    """A state folder whose launch ends before the cluster does."""
    return state


def watch(name: str, state: Path, *words: str) -> subprocess.Popen[str]:
    """Somebody who launches on Slurm in a process of its own."""
    machines = state.parent / "machines.toml"
    machines.write_text(f"[training]\n{TABLE}")
    code = f"import os; os.environ['MEDMAX_LAUNCH_FILE'] = {str(machines)!r}\n{WATCHER}"
    return subprocess.Popen(
        [sys.executable, "-c", code, name, str(state), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def noted(state: Path) -> Note:
    note = read_note(state)
    assert note is not None
    return note


def status_of(state: Path) -> Status:
    status = read_status(state, noted(state).mark)
    assert status is not None
    return status


def test_a_job_gets_what_the_machine_file_says_and_shows_lines_and_report(
    module: Write, slurm_state: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "7")  # as inside another job of Slurm
    name, lines = (
        module(
            """
        import json, os, sys
        assert "SLURM_MEM_PER_CPU" not in os.environ
        print(*sys.argv[1:], os.environ["FROM_PRELUDE"], os.environ["FROM_TABLE"], os.getcwd())
        print(json.dumps({"cpus": int(os.environ["SLURM_CPUS_PER_TASK"])}))
        """
        ),
        list[str](),
    )
    machine = replace(
        MACHINE,
        cpus=2,
        memory_gb=1,
        hours=0.05,
        arguments=("--parallel", "fsdp"),
        environment={"FROM_TABLE": "told"},
        slurm=Options(poll_s=POLL_S, partition="all", prelude=("export FROM_PRELUDE=ran",)),
    )
    assert launch([name, "job"], slurm_state, machine, lines.append) == {"cpus": 2}
    assert f"job --parallel fsdp ran told {Path.cwd()}" in lines
    job = cluster.ask("scontrol", "-o", "show", "job", noted(slurm_state).handle)
    assert f"JobName=medmax-{noted(slurm_state).mark}" in job
    assert "TimeLimit=00:03:00" in job
    assert "MinMemoryNode=1G" in job
    assert "JobState=COMPLETED" in job


def test_a_job_that_fails_says_why_and_slurm_knows(module: Write, slurm_state: Path, cluster: Cluster) -> None:
    with pytest.raises(LaunchError, match=r"(?s)ended: failed.*the cheese is out"):
        launch([module("raise SystemExit('the cheese is out')")], slurm_state, MACHINE, print)
    assert "JobState=FAILED" in cluster.ask("scontrol", "-o", "show", "job", noted(slurm_state).handle)


def test_an_interrupted_run_cancels_its_job_and_leaves_nothing(module: Write, slurm_state: Path) -> None:
    watcher = watch(module(HYDRA), slurm_state, str(slurm_state.parent))
    pids = heads(slurm_state)
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=60)
    assert status_of(slurm_state).reason == "terminated"
    assert Slurm(MACHINE).alive(noted(slurm_state).handle) == Standing("gone", "CANCELLED", "terminated")
    assert not left(slurm_state)
    assert not any(process_of(pid) for pid in pids)


def test_a_job_outlives_who_submitted_it_and_is_found_again_even_without_its_number(
    module: Write, slurm_state: Path
) -> None:
    name, lines = module(PATIENT), list[str]()
    folder = slurm_state.parent
    watcher = watch(name, slurm_state, str(folder))
    assert wait_for((folder / "begun").exists), kill(watcher)
    kill(watcher)
    write_note(slurm_state, replace(noted(slurm_state), handle=""))
    (folder / "go").touch()
    assert launch([name, str(folder)], slurm_state, MACHINE, lines.append) == {"loss": 2.5}
    assert "after" in lines
    assert (folder / "starts").read_text() == "x"


def test_a_job_that_waits_says_for_what_and_one_whose_supervisor_is_killed_is_noticed(
    module: Write, slurm_state: Path, cluster: Cluster
) -> None:
    lines = list[str]()
    machine = replace(MACHINE, slurm=Options(poll_s=POLL_S, options=("--hold",)))

    def told(line: str) -> None:
        lines.append(line)
        if "JobHeldUser" in line:
            cluster.ask("scontrol", "release", noted(slurm_state).handle)
        if line == "at work":
            os.kill(parse_process(status_of(slurm_state).process).pid, signal.SIGKILL)

    with pytest.raises(LaunchError, match="Its supervisor is gone") as caught:
        launch([module("import time; print('at work'); time.sleep(60)")], slurm_state, machine, told)
    assert "slurm: PENDING (JobHeldUser)" in lines
    assert caught.value.reason == "vanished"
    assert wait_for(lambda: not left(slurm_state))


def test_two_nodes_run_one_torchrun_that_meets_on_the_first(module: Write, slurm_state: Path) -> None:
    name, lines = (
        module(
            """
        import os, torch
        torch.distributed.init_process_group("gloo")
        total = torch.ones(1)
        torch.distributed.all_reduce(total)
        if os.environ["RANK"] == "0":
            print("together", int(total), os.environ["SLURMD_NODENAME"])
        torch.distributed.destroy_process_group()
        """
        ),
        list[str](),
    )
    port = 20000 + int(slurm_state.stat().st_ino) % 10000
    machine = replace(MACHINE, nodes=2, cpus=1, slurm=Options(poll_s=POLL_S, port=port))
    launch([name], slurm_state, machine, lines.append)
    assert any(line.startswith("together 2 n") for line in lines), lines


def test_a_controller_that_is_away_for_a_while_ends_nothing(module: Write, slurm_state: Path, cluster: Cluster) -> None:
    name, folder, lines = module(PATIENT), slurm_state.parent, list[str]()

    def told(line: str) -> None:
        lines.append(line)
        if line == "before":
            cluster.stop_controller()
        elif "gives no answer" in line and not (folder / "go").exists():
            cluster.start_controller()
            (folder / "go").touch()

    assert launch([name, str(folder)], slurm_state, MACHINE, told) == {"loss": 2.5}
    assert any("slurm gives no answer" in line for line in lines)
    assert (folder / "starts").read_text() == "x"


def test_a_step_without_a_state_folder_runs_on_the_cluster_and_never_twice_at_once(
    module: Write, cluster: Cluster, tmp_path: Path
) -> None:
    name = module("import json; print(json.dumps({'scored': 7}))")
    (tmp_path / "machines.toml").write_text(f"[other]\n{TABLE}")
    (tmp_path / "job.json").write_text("{}")

    @dg.asset
    def launches(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
        launcher.run(context, [name, str(tmp_path / "job.json")])

    marks = set()
    for _ in range(2):
        launcher = Launcher(machine_file=str(tmp_path / "machines.toml"))
        result = dg.materialize([launches], resources={"launcher": launcher})
        marks.add(noted(tmp_path / "launch").mark)
    assert result.get_asset_materialization_events()[0].materialization.metadata["last scored"].value == 7
    assert len(marks) == 2, "what an earlier run left is not what this one asked for"


def test_a_job_that_slurm_has_forgotten_is_gone(cluster: Cluster) -> None:
    assert Slurm(MACHINE).alive("999999").state == "gone"


def test_a_folder_that_never_ran_on_slurm_has_nothing_to_end(cluster: Cluster, state: Path) -> None:
    note = Note(asked=("x",), arguments=("x",), mark="0" * 32, folder="/", machine=MACHINE, started=0.0, log_start=0)
    write_note(state, note)
    assert end(state) is None


def test_a_machine_without_slurms_commands_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="sbatch, squeue, scontrol, scancel: not found"):
        launch(["launched"], tmp_path / "launch", MACHINE, print)
    assert not (tmp_path / "launch").exists()


def test_gpus_and_the_files_own_words_reach_sbatch_last() -> None:
    machine = replace(MACHINE, gpus_per_node=8, hours=30.5)
    words = resources(machine, Options(account="med", options=("--gres=gpu:h200:8",)))
    assert words[2:] == ["--gpus-per-node=8", "--time=30:30:00", "--account=med", "--gres=gpu:h200:8"]


def test_words_of_a_job_script_are_quoted(module: Write, state: Path) -> None:
    folder = state / "a b; rm $HOME"
    note = Note(asked=("x",), arguments=("x",), mark="0" * 32, folder="/", machine=MACHINE, started=0.0, log_start=0)
    assert f"'{folder}'" in job_script(note.launched(folder))
