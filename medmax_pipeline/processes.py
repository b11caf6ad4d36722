"""Modules run as processes of their own and watched to their end. No process of the group outlives the watch.

Free of the orchestrator: `resources/launcher.py` tells Dagster what a process prints, the command line prints it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medmax_pipeline.errors import LaunchError

TAIL_LINES = 40
"""Lines of output that an error shows."""
POLL_S = 0.05
GRACE_S = 10.0
"""Seconds between asking a process group to end and killing it; a checkpoint is written in less."""


def run_module(arguments: Sequence[str], told: Callable[[str], None]) -> None:
    """Run `python -m <arguments>` until it ends.

    Args:
        arguments: the module's name and what it is given.
        told: takes each line that it prints, as it comes.

    Raises:
        LaunchError: it ended with a code other than 0; the message holds the end of its output.
    """
    code, tail = watch(arguments, {}, GRACE_S, told)
    if code != 0:
        raise LaunchError(failure(arguments, code, tail))


def watch(
    arguments: Sequence[str], environment: Mapping[str, str], grace_s: float, told: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Exit code of `python -m <arguments>` and the end of its output; its group is gone when this returns or raises."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *arguments],
        env={**os.environ, **environment},
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
            told(line.rstrip("\n"))
        output.close()

    reader = threading.Thread(target=pump, daemon=True)
    reader.start()
    try:
        process.wait()
    finally:
        end_group(process, grace_s)
        reader.join(timeout=grace_s)
    return process.returncode, list(tail)


def failure(arguments: Sequence[str], code: int, tail: Sequence[str]) -> str:
    """What to say of a process that ended badly."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"`python -m {' '.join(arguments)}` ended with {how}. The end of its output:\n" + "\n".join(tail)


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
