"""Why a module ended: one word and one sentence, from what it said, what it printed and what the kernel counted.

    done            exit code 0
    out_of_memory   the kernel killed for memory, or an allocation failed, on the machine or its accelerator
    disk_full       no space left
    diverged        the loss is no longer a number
    no_heartbeat    silent for longer than the machine file allows; ended by the supervisor
    terminated      asked to end
    killed          ended by SIGKILL, by nobody known
    failed          anything else

A cluster's own words (`time_limit`, `node_failed`) come from the backends, `vanished` from the follower. A module may
say its reason itself, in a line `{"failed": REASON, "message": SENTENCE}`; of several processes' lines the first one
that says more than `failed` counts, since the others fail for want of the first.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REASON = re.compile(r"[a-z][a-z_]{0,39}")
LONGEST_MESSAGE = 4000
TRACES = (
    ("out_of_memory", re.compile(r"\b(OutOfMemoryError|MemoryError|CUDA out of memory|ArrowMemoryError)\b")),
    ("disk_full", re.compile(r"\bDiskFull\b|\[Errno 28\]|No space left on device")),
    ("diverged", re.compile(r"\bTrainingDiverged\b")),
)
"""What a module that says no reason prints on its way out, reason by reason."""
CONTROLLERS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


class End(NamedTuple):
    """How a module ended."""

    code: int | None
    """None: it was not started, or its end was not seen."""
    reason: str
    message: str = ""


def judged(code: int, failed: str, message: str, tail: Sequence[str], *, starved: bool) -> End:
    """Why a module that nobody ended ended.

    Args:
        code: its exit code; below 0 a signal.
        failed: the reason that it gave itself; empty: none.
        message: what goes with it.
        tail: the end of its output, line by line.
        starved: the kernel has killed for memory in this control group while it ran.
    """
    if code == 0:
        return End(code, "done")
    if failed:
        return End(code, failed if REASON.fullmatch(failed) else "failed", message[:LONGEST_MESSAGE])
    if starved:
        return End(code, "out_of_memory", "The kernel killed a process of it to get memory.")
    for reason, pattern in TRACES:
        for line in reversed(tail):
            if pattern.search(line):
                return End(code, reason, line.strip()[:LONGEST_MESSAGE])
    if code == -signal.SIGKILL:
        return End(code, "killed", "SIGKILL, by somebody else than the supervisor.")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return End(code, "failed", f"It ended with {how}.")


def oom_kills(controllers: Path = CONTROLLERS, own_groups: Path = OWN_GROUPS) -> int:
    """How often the kernel has killed for memory in this process's control group, version 1 or 2; 0: not told."""
    try:
        groups = [line.split(":", 2) for line in own_groups.read_text().splitlines()]
    except OSError:
        return 0
    counted = 0
    for _, names, path in groups:
        if names == "memory":
            files = [controllers / "memory" / path.lstrip("/") / "memory.oom_control"]
            files.append(controllers / "memory" / "memory.oom_control")  # inside a container the own group is the root
        elif names == "":
            files = [controllers / path.lstrip("/") / "memory.events", controllers / "memory.events"]
        else:
            continue
        counted += next((_count(file) for file in files if file.is_file()), 0)
    return counted


def _count(file: Path) -> int:
    words = (line.split() for line in file.read_text().splitlines())
    return next((int(line[1]) for line in words if line[:1] == ["oom_kill"] and len(line) == 2), 0)
