"""Launches on this machine: a supervisor that belongs to nobody, known by its process.

The handle is the supervisor's `host boot pid ticks` (`living.py`). A launch of another machine that shares the file
system cannot be asked; there its state.json is watched for a while, which a living supervisor renews every few seconds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.launching.backends import Launched, Standing
from medmax_pipeline.launching.living import MARK, carriers, end_all, parse_process, process_of, runs_here
from medmax_pipeline.launching.machine import Machine

START_S = 60.0
"""Longest time in which a supervisor names itself."""
LAST_WORD_S = 15.0
"""What a supervisor gets beyond the grace of its module, to write down how it ended."""
POLL_S = 0.1


class Local:
    """This machine."""

    poll_s = POLL_S
    settle_s = 0.0

    def __init__(self, machine: Machine) -> None:
        """Nothing is needed."""

    def submit(self, launched: Launched) -> str:
        """Start the supervisor; it has left this process when this returns."""
        try:
            done = subprocess.run(
                [*launched.command(), "--detach"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=START_S,
                start_new_session=True,
                env={**os.environ, MARK: launched.mark},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(f"the supervisor did not start: {error}") from error
        handle = done.stdout.strip()
        if done.returncode or not handle:
            raise LaunchError(f"the supervisor did not start (exit code {done.returncode}): {done.stderr.strip()}")
        return handle

    def find(self, launched: Launched) -> str | None:
        """The supervisor that carries the mark: of its carriers the one that started first."""
        found = [process for pid in carriers(launched.mark) if (process := process_of(pid)) is not None]
        return str(min(found, key=lambda process: (process.ticks, process.pid))) if found else None

    def alive(self, handle: str) -> Standing:
        """How the supervisor stands; a machine that shares the file system cannot be asked for its processes."""
        process = parse_process(handle)
        if process.host != socket.gethostname():
            raise LaunchError(f"runs on {process.host}; its processes cannot be seen from {socket.gethostname()}.")
        return Standing("running") if runs_here(process) else Standing("gone")

    def end(self, handle: str, launched: Launched) -> None:
        """Ask the supervisor, wait, and kill whatever carries the mark and is still there."""
        process = parse_process(handle)
        if process.host != socket.gethostname():
            raise LaunchError(f"runs on {process.host} and can only be ended there.")
        deadline = time.monotonic() + launched.machine.grace_s + LAST_WORD_S
        if runs_here(process):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        while runs_here(process) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        end_all(launched.mark, 0.0)
