"""Modules run as processes of their own and watched to their end. Nothing that they started outlives the watch.

Free of the orchestrator: `resources/launcher.py` tells Dagster what a process prints, the command line prints it. What
shall outlive whoever started it is `launching/`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.launching.living import MARK, end_all

TAIL_LINES = 40
"""Lines of output that an error shows."""
GRACE_S = 10.0
"""Seconds between asking processes to end and killing them; a checkpoint is written in less."""


def run_module(arguments: Sequence[str], told: Callable[[str], None], *, state: Path | None = None) -> None:
    """Run `python -m <arguments>` until it ends.

    Args:
        arguments: the module's name and what it is given.
        state: a folder from which others could watch it; not used, since it ends with its watch.
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
    """Exit code of `python -m <arguments>` and the end of its output; nothing of it is left after this."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *arguments],
        env={**os.environ, **environment, MARK: mark},
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
        end_all(mark, grace_s, group=process.pid)
        process.wait()
        reader.join(timeout=grace_s)
    return process.returncode, list(tail)


def failure(arguments: Sequence[str], code: int, tail: Sequence[str]) -> str:
    """What to say of a process that ended badly."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"`python -m {' '.join(arguments)}` ended with {how}. The end of its output:\n" + "\n".join(tail)
