"""The launcher's contract: ends, failures, cancels, log lines. What is launched here is a few lines of Python."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.resources.launcher import Launcher


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module that `python -m` finds, and gives its name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))

    def write(body: str) -> str:
        (tmp_path / "launched.py").write_text(textwrap.dedent(body))
        return "launched"

    return write


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
