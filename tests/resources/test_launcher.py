"""The launcher's contract: ends, failures, cancels, log lines. What is launched here is a few lines of Python."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.launching.launch import end
from medmax_pipeline.launching.living import carriers
from medmax_pipeline.launching.state import read_note
from medmax_pipeline.resources.launcher import Launcher


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module that `python -m` finds, and gives its name; no launch of it is left when the test is over."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))

    def write(body: str) -> str:
        (tmp_path / "launched.py").write_text(textwrap.dedent(body))
        return "launched"

    yield write
    end(tmp_path / "launch")


def materialise(instance: dg.DagsterInstance, *arguments: str) -> dg.ExecuteInProcessResult:
    """One asset that launches `arguments`."""

    @dg.asset
    def launches(context: dg.AssetExecutionContext, launcher: Launcher) -> dg.MaterializeResult[None]:
        launcher.run(context, arguments)
        return dg.MaterializeResult(metadata={"own": 1})

    return dg.materialize([launches], resources={"launcher": Launcher()}, instance=instance, raise_on_error=False)


def log_times(instance: dg.DagsterInstance, run_id: str, text: str) -> list[float]:
    """When log entries with that text reached the event log."""
    return [entry.timestamp for entry in instance.all_logs(run_id) if entry.user_message == text]


def alive(pid: int) -> bool:
    """Whether that process runs; one that ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it became true in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def test_lines_reach_the_event_log_while_it_runs_and_the_last_report_becomes_metadata(
    module: Callable[[str], str],
) -> None:
    name = module(
        """
        import json, sys, time
        print("first", sys.argv[1])
        time.sleep(1.0)
        print(json.dumps({"loss": 3.0}))
        print(json.dumps({"loss": 2.5}))
        print("last")
        """
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialise(instance, name, "argument")
        assert result.success
        first = log_times(instance, result.run_id, "first argument")
        last = log_times(instance, result.run_id, "last")
        assert len(first) == len(last) == 1
        assert last[0] - first[0] > 0.5
        event = result.get_asset_materialization_events()[0]
        metadata = event.materialization.metadata
        assert metadata["last loss"].value == 2.5
        assert metadata["own"].value == 1


def test_failing_exit_shows_the_end_of_the_output_and_only_the_end(module: Callable[[str], str]) -> None:
    name = module(
        """
        import sys
        for number in range(100):
            print("line", number)
        sys.exit("the disk is made of cheese")
        """
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialise(instance, name)
        failure = result.all_events[[event.is_step_failure for event in result.all_events].index(True)]
        error = failure.step_failure_data.error
        assert error is not None
        assert error.cause is not None
        assert error.cause.cls_name == LaunchError.__name__
        assert "exit code 1" in error.cause.message
        assert "the disk is made of cheese" in error.cause.message
        assert "line 99" in error.cause.message
        assert "line 5\n" not in error.cause.message


def test_a_traceback_of_the_module_is_in_the_error(module: Callable[[str], str]) -> None:
    name = module("raise OSError('planted')")
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialise(instance, name)
        error = result.failure_data_for_node("launches")
        assert error is not None
        assert error.error is not None
        assert error.error.cause is not None
        assert "OSError: planted" in error.error.cause.message


DETACHED = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "starts").open("a") as file:
    file.write("x")
print("before")
(folder / "begun").touch()
while not (folder / "go").exists():
    time.sleep(0.05)
print("after")
print(json.dumps({"loss": 2.5}))
"""
TORCHRUN = """
import os, sys
if "RANK" not in os.environ:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "launched", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", *launcher])
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
folder = pathlib.Path(sys.argv[1])
path = folder / f"rank{os.environ['RANK']}"
path.with_suffix(".tmp").write_text(f"{os.getpid()} {os.getppid()}")
path.with_suffix(".tmp").rename(path)
if os.environ["RANK"] == "0":
    while not all((folder / name).exists() for name in ("rank0", "rank1")):
        time.sleep(0.05)
    (folder / "begun").touch()
time.sleep(99)
"""
"""torchrun's workers lead sessions of their own; these ignore being asked to end."""
RUN_WORKER = """
import sys
from pathlib import Path
import dagster as dg
from medmax_pipeline.resources.launcher import Launcher

folder = Path(sys.argv[1])

@dg.asset
def launches(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
    launcher.run(context, ["launched", str(folder)], state=folder / "launch")

if __name__ == "__main__":
    launcher = Launcher(machine_file=str(folder / "machines.toml"))
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([launches], resources={"launcher": launcher}, instance=instance)
"""


def run_worker(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A run whose step launches with a state folder, in a process that can be killed; returns when that is at work."""
    (tmp_path / "worker.py").write_text(RUN_WORKER)
    (tmp_path / "machines.toml").write_text("[other]\ngrace_s = 1.0\n")
    worker = subprocess.Popen(
        [sys.executable, str(tmp_path / "worker.py"), str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    assert wait_for((tmp_path / "begun").exists, 60), "the launched module did not start"
    return worker


def marked(tmp_path: Path) -> set[int]:
    """Processes of the launch."""
    note = read_note(tmp_path / "launch")
    assert note is not None
    return carriers(note.mark)


def test_a_killed_run_worker_leaves_the_launch_and_the_next_materialization_goes_on_with_it(
    module: Callable[[str], str], tmp_path: Path
) -> None:
    name = module(DETACHED)
    worker = run_worker(tmp_path)
    worker.kill()
    worker.wait()
    assert marked(tmp_path)

    @dg.asset
    def launches(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
        (tmp_path / "go").touch()
        launcher.run(context, [name, str(tmp_path)], state=tmp_path / "launch")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([launches], resources={"launcher": Launcher()}, instance=instance)
        assert len(log_times(instance, result.run_id, "after")) == 1
    assert result.get_asset_materialization_events()[0].materialization.metadata["last loss"].value == 2.5
    assert (tmp_path / "starts").read_text() == "x"
    assert not marked(tmp_path)


def test_terminating_a_run_ends_every_worker_of_torchrun_although_they_ignore_it(
    module: Callable[[str], str], tmp_path: Path
) -> None:
    module(TORCHRUN)
    worker = run_worker(tmp_path)
    pids = {int(word) for rank in "01" for word in (tmp_path / f"rank{rank}").read_text().split()}
    assert len(pids) == 3
    assert all(map(alive, pids))
    worker.send_signal(signal.SIGINT)
    worker.wait(timeout=30)
    assert not any(map(alive, pids))
    assert not marked(tmp_path)
    assert "terminated" in (tmp_path / "launch" / "state.json").read_text()


LAUNCHED = """
import os, signal, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import signal, time; {ignore}; time.sleep(60)"])
with open(sys.argv[1] + ".tmp", "w") as file:
    file.write(f"{{os.getpid()}} {{worker.pid}}")
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
time.sleep(60)
"""
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
PARENT = """
import sys
import dagster as dg
from medmax_pipeline.resources.launcher import Launcher

@dg.asset
def launches(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
    launcher.run(context, ["launched", sys.argv[1]])

if __name__ == "__main__":
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([launches], resources={"launcher": Launcher(grace_s=1.0)}, instance=instance)
"""


@pytest.mark.parametrize(
    ("ending", "ignore"),
    [
        pytest.param(signal.SIGINT, "pass", id="cancelled"),
        pytest.param(signal.SIGINT, IGNORE, id="cancelled-and-a-worker-ignores-it"),
        pytest.param(signal.SIGKILL, IGNORE, id="run-worker-killed"),
    ],
)
def test_no_process_of_the_group_outlives_the_run(
    module: Callable[[str], str], tmp_path: Path, ending: signal.Signals, ignore: str
) -> None:
    module(LAUNCHED.format(ignore=ignore))
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    told = tmp_path / "pids"
    parent = subprocess.Popen(
        [sys.executable, str(script), str(told)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert wait_for(told.exists, 30), "the launched module did not start"
        pids = [int(word) for word in told.read_text().split()]
        assert all(map(alive, pids))
        parent.send_signal(ending)
        parent.communicate(timeout=20)
        assert wait_for(lambda: not any(map(alive, pids)), 5)
    finally:
        parent.kill()
        parent.communicate()
