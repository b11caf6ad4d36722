"""Which processes belong to a launch, whether one still runs, and ending them all.

torchrun's workers lead sessions of their own, so a process group is not enough: every process of a launch carries
MEDMAX_LAUNCH=<mark> in its environment, as its children do. A process id alone names nothing, since ids are used again:
the kernel's start time and boot id go with it. Linux tells all this in /proc; elsewhere only the group is known.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

MARK = "MEDMAX_LAUNCH"
POLL_S = 0.05
EMPTY_SCANS = 2
"""Scans in a row that must find nobody: a process that is just starting another program shows no environment."""
INIT = 1
PROC = Path("/proc")


class Process(NamedTuple):
    """One process of one machine since it was switched on; equal only to itself."""

    host: str
    boot: str
    pid: int
    ticks: int
    """When it started, in the kernel's clock ticks since the boot."""

    def __str__(self) -> str:
        """As a handle: `host boot pid ticks`."""
        return " ".join(map(str, self))


class _Stat(NamedTuple):
    state: str
    parent: int
    group: int
    ticks: int


def process_of(pid: int) -> Process | None:
    """The process that has this id now; None where there is none, or only one that waits to be collected."""
    stat = _stat(pid)
    if stat is None or stat.state in "ZX":
        return None
    return Process(socket.gethostname(), boot_id(), pid, stat.ticks)


def parse_process(handle: str) -> Process:
    """What `str(process)` made.

    Raises:
        ValueError: something else made it.
    """
    host, boot, pid, ticks = handle.split(" ")
    return Process(host, boot, int(pid), int(ticks))


def runs_here(process: Process) -> bool:
    """Whether that very process runs on this machine, and not another one that has got its id."""
    return process_of(process.pid) == process


def boot_id() -> str:
    """Names the time since this machine was switched on; empty where the kernel says none."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def carriers(mark: str) -> set[int]:
    """Ids of the living processes of this machine that carry the mark; those of other users are not seen."""
    wanted = f"{MARK}={mark}".encode()
    found = set()
    for folder in PROC.glob("[0-9]*"):
        try:
            carries = wanted in (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
        if carries:
            found.add(int(folder.name))
    return found


def end_all(mark: str, grace_s: float, *, group: int = 0, below: int = 0, spare: Collection[int] = ()) -> None:
    """Ask every process of a launch to end, kill those that are there after `grace_s` seconds, until none is left.

    Args:
        mark: what they carry in their environment.
        grace_s: between asking and killing; one that starts later is killed then too.
        group: a process group that belongs to the launch; 0: none.
        below: a process whose descendants belong to the launch, whatever they carry; 0: none.
        spare: ids that are left alone.
    """
    deadline = time.monotonic() + grace_s
    asked: set[int] = set()
    empty = 0
    while empty < EMPTY_SCANS:
        left = _members(mark, group, below) - set(spare)
        empty = 0 if left else empty + 1
        late = time.monotonic() >= deadline
        for pid in left if late else left - asked:
            _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= left
        time.sleep(POLL_S)


def _members(mark: str, group: int, below: int) -> set[int]:
    if sys.platform != "linux":
        return {-group} if group and _signal(-group, 0) else set()
    found = carriers(mark)
    if not (group or below):
        return found
    stats = {pid: stat for folder in PROC.glob("[0-9]*") if (stat := _stat(pid := int(folder.name))) is not None}
    under = {below} & stats.keys()
    while more := {pid for pid, stat in stats.items() if stat.parent in under and pid not in under}:
        under |= more
    under |= {pid for pid, stat in stats.items() if group and stat.group == group}
    return (found | {pid for pid in under if stats[pid].state not in "ZX"}) - {below, INIT}


def _signal(pid: int, number: int) -> bool:
    """Whether there was somebody to signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # an id that went to somebody else's process
        return False
    return True


def _stat(pid: int) -> _Stat | None:
    try:
        words = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(words[0], int(words[1]), int(words[2]), int(words[19])) if len(words) > 19 else None
