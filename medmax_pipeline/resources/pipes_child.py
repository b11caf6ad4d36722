"""The launched side of `launcher.py`: runs a module that knows nothing of Dagster, and tells Dagster what it prints.

    python -m medmax_pipeline.resources.pipes_child MODULE ARGUMENTS…

Every line that MODULE prints goes to the run's log as it comes; a line that is a JSON object is a report instead, and
the launcher shows the last one as metadata. The process leads a group of its own: when it is told to end it ends the
group, and when its parent dies it kills the group. What MODULE computes is its own affair.
"""

from __future__ import annotations

import ctypes
import io
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from medmax_pipeline.launching.living import MARK, end_all
from medmax_pipeline.launching.supervise import parse_report

PR_SET_PDEATHSIG = 1
"""Linux, `prctl(2)`: the signal that this process gets when its parent dies."""
ORPHANED_S = 0.3
"""Longest wait between the signal that the parent ends and its end; a plain request to end is delayed by as much."""


class LineTee(io.TextIOBase):
    """A text stream that passes everything on and hands each finished line to a function."""

    def __init__(self, stream: Any, told: Callable[[str], None]) -> None:
        self._stream = stream
        self._told = told
        self._rest = ""

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Pass `text` on; a finished line that is not blank is told."""
        self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._told(line)
        return len(text)

    def flush(self) -> None:
        """Flush what lies below."""
        self._stream.flush()


def die_with_parent(parent: int) -> None:
    """End this process group with the launcher, however the launcher ends. Linux only; elsewhere only by signals."""

    def end_group(number: int, frame: FrameType | None) -> None:
        # The kernel tells when the parent's thread ends; its process, and so our parent's id, may end a little later.
        deadline = time.monotonic() + ORPHANED_S
        while not (orphaned := os.getppid() != parent) and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if orphaned and MARK in os.environ:  # workers of torchrun lead groups of their own
            end_all(os.environ[MARK], 0.0, spare=(os.getpid(),))
        os.killpg(0, signal.SIGKILL if orphaned else signal.SIGTERM)

    signal.signal(signal.SIGTERM, end_group)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the signal was set
        os.killpg(0, signal.SIGKILL)


def main(arguments: list[str]) -> int | str | None:
    """Run the module as `python -m` would, with Dagster listening; what it gave to `sys.exit`, else 0."""
    from dagster_pipes import open_dagster_pipes

    module, *rest = arguments
    die_with_parent(int(os.environ["MEDMAX_LAUNCHER_PID"]))
    with open_dagster_pipes() as pipes:

        def told(line: str) -> None:
            report = parse_report(line)
            if report is None:
                pipes.log.info(line)
            else:
                pipes.report_custom_message(report)

        sys.argv = [module, *rest]
        sys.stdout = LineTee(sys.stdout, told)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return end.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
