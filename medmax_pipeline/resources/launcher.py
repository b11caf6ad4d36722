"""Launching training and evaluation as watched processes, and ending them when the run ends, whatever ends it.

`LocalLauncher` starts one process in a group of its own and tells Dagster what it prints while it runs. No process of
the group outlives the step: not after success, failure, cancel, nor a killed run worker. Restarting is no business of
this module: what is launched keeps resumable state, and the next run finds it. The launched side is `pipes_child.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from medmax_pipeline.errors import LaunchError

CHILD = "medmax_pipeline.resources.pipes_child"
TAIL_LINES = 40
"""Lines of output that an error shows."""
POLL_S = 0.05


class LocalLauncher(dg.ConfigurableResource["LocalLauncher"]):
    """Runs `python -m …` on this machine, in a process group that ends with the step."""

    grace_s: float = 10.0
    """Seconds between asking a process group to end and killing it; a checkpoint is written in less."""

    def run(self, context: dg.AssetExecutionContext, arguments: Sequence[str]) -> None:
        """Run `python -m <arguments>` until it ends.

        Its lines appear in the run's log as they come; its last report (a line that is a JSON object) becomes metadata
        of the asset where the step makes just one.

        Raises:
            LaunchError: it ended with a code other than 0; the message holds the end of its output.
        """
        with (
            _quiet_preview(),
            dg.open_pipes_session(
                context=context,
                context_injector=dg.PipesTempFileContextInjector(),
                message_reader=dg.PipesTempFileMessageReader(),
            ) as session,
        ):
            code, tail = _watch(arguments, session.get_bootstrap_env_vars(), self.grace_s)
        if code != 0:
            raise LaunchError(
                f"`python -m {' '.join(arguments)}` ended with {_ending(code)}. The end of its output:\n"
                + "\n".join(tail)
            )
        reports = [message for message in session.get_custom_messages() if isinstance(message, dict)]
        if reports and len(context.selected_asset_keys) == 1:
            context.add_asset_metadata({f"last {name}": value for name, value in reports[-1].items()})


@contextmanager
def _quiet_preview() -> Iterator[None]:
    """Dagster 1.13 warns of a preview function that its own Pipes session calls; it says nothing to our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield


def _watch(arguments: Sequence[str], environment: Mapping[str, str], grace_s: float) -> tuple[int, list[str]]:
    """Exit code of the process and the end of its output; its group is gone when this returns or raises."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", CHILD, *arguments],
        env={**os.environ, **environment, "MEDMAX_LAUNCHER_PID": str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    output = process.stdout

    def pump() -> None:
        for line in output:
            tail.append(line.rstrip("\n"))
            sys.stdout.write(line)
        output.close()

    reader = threading.Thread(target=pump, daemon=True)
    reader.start()
    try:
        process.wait()
    finally:
        end_group(process, grace_s)
        reader.join(timeout=grace_s)
    return process.returncode, list(tail)


def end_group(process: subprocess.Popen[str], grace_s: float) -> None:
    """Ask every process of the group to end, and kill what is still there after `grace_s` seconds."""
    deadline = time.monotonic() + grace_s
    _signal_group(process.pid, signal.SIGTERM)
    while _group_alive(process) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _group_alive(process: subprocess.Popen[str]) -> bool:
    """Whether a process of the group runs; dead ones that nobody has collected yet do not count."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    stats = Path("/proc").glob("[0-9]*/stat")
    return sys.platform != "linux" or any(_runs_in(stat, process.pid) for stat in stats)


def _runs_in(stat: Path, group: int) -> bool:
    try:
        state, _, found = stat.read_text().rpartition(")")[2].split()[:3]
    except OSError:  # it ended meanwhile
        return False
    return int(found) == group and state not in "ZX"


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
