"""Watching a launch until it ends: its lines as they come, and how it ended. Who watches may come and go.

What has been shown is noted in the state folder, so that the next one who watches goes on from there (a line may come
twice where the last one was killed). Ending a launch is `launch.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from medmax_pipeline.errors import LaunchError, StoreError
from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.launching.backends import Backend, Standing
from medmax_pipeline.launching.state import OUTPUT, TOLD, Note, Status, read_status, write_status

LOOK_S = 0.1
"""Seconds between two looks into the state folder; on a cluster a second, since its file system is asked each time."""
CLUSTER_LOOK_S = 1.0
TOLD_S = 1.0
"""Shortest time between two notes of what has been shown."""
CHUNK_BYTES = 1 << 20
OUTAGE_S = 3600.0
"""For how long a cluster may give no answer before nobody watches any longer."""
LEAVE_S = 5.0
"""What a supervisor may take to go after its last word."""
TAIL_LINES = 40
TAIL_BYTES = 1 << 16
VAGUE = ("failed", "killed", "terminated")
"""Reasons for which a cluster may know a better one."""

Told = Callable[[str], None]


class Unreachable(LaunchError):
    """A cluster gives no answer; what runs there goes on."""


class Log:
    """The lines of a log that nobody has been shown yet."""

    def __init__(self, state: Path, note: Note) -> None:
        self._state = state
        self._mark = note.mark
        self._at = note.log_start
        noted = read_json(state / TOLD) if (state / TOLD).exists() else {}
        if noted.get("mark") == note.mark:
            self._at = int(noted["bytes"])
        self._noted = self._at
        self._when = 0.0

    def tell(self, told: Told, *, last: bool = False) -> None:
        """Show whole lines; at the end also one that is not whole."""
        path = self._state / OUTPUT
        if not path.exists():
            return
        with path.open("rb") as handle:
            while True:
                handle.seek(self._at)
                data = handle.read(CHUNK_BYTES)
                whole = data.rfind(b"\n") + 1
                if whole == 0 and (last or len(data) == CHUNK_BYTES):
                    whole = len(data)
                if whole == 0:
                    break
                for line in data[:whole].decode(errors="replace").splitlines():
                    if line.strip():
                        told(line)
                self._at += whole
        self._note(last)

    def _note(self, last: bool) -> None:
        if self._at != self._noted and (last or time.monotonic() - self._when >= TOLD_S):
            self._noted, self._when = self._at, time.monotonic()
            with suppress(StoreError):  # on a full disk lines may come twice; that ends nothing
                write_json(self._state / TOLD, {"mark": self._mark, "bytes": self._at})


def follow(backend: Backend, state: Path, note: Note, told: Told) -> Status:
    """Show what the launch prints until it has ended; how.

    Raises:
        Unreachable: the cluster has given no answer for an hour.
    """
    log, asked, heard, words = Log(state, note), 0.0, time.monotonic(), ""
    look_s = LOOK_S if note.machine.kind == "local" else min(CLUSTER_LOOK_S, backend.poll_s)
    while True:
        status = read_status(state, note.mark)
        log.tell(told, last=status is not None and status.ended)
        if status is not None and status.ended:
            return _after(backend, note, status)
        if time.monotonic() - asked >= backend.poll_s:
            standing = _ask(backend, note, heard, told)
            asked = time.monotonic()
            if standing is not None:
                heard = asked
                if standing.state == "gone":
                    return _gone(backend, state, note, standing, log, told)
                if standing.detail != words and standing.detail:
                    words = standing.detail
                    told(f"{note.machine.kind}: {words}")
        time.sleep(look_s)


def _ask(backend: Backend, note: Note, heard: float, told: Told) -> Standing | None:
    """How it stands; None where the cluster gives no answer."""
    try:
        return backend.alive(note.handle)
    except LaunchError as error:
        silent = time.monotonic() - heard
        if silent > OUTAGE_S:
            raise Unreachable(
                f"{note.machine.kind} has given no answer for {silent / 60:.0f} minutes ({error}). What was launched "
                f"({note.handle}) is not ended; materialise again to go on watching it.",
                "unreachable",
            ) from error
        told(f"{note.machine.kind} gives no answer, asked again in {backend.poll_s:g} s: {error}")
        return None


def _gone(backend: Backend, state: Path, note: Note, standing: Standing, log: Log, told: Told) -> Status:
    """How it ended where its supervisor is gone: what that wrote, as soon as it is seen here, or that it vanished."""
    deadline = time.monotonic() + backend.settle_s
    while (status := read_status(state, note.mark)) is None or not status.ended:
        if time.monotonic() >= deadline:
            break
        time.sleep(LOOK_S)
    log.tell(told, last=True)
    if status is not None and status.ended:
        return _better(status, standing)
    began = status or Status(mark=note.mark, status="running", process="", started=note.started, seen=time.time())
    whose = "Its supervisor is gone" if status else "Its supervisor never began"
    words = f" ({note.machine.kind}: {standing.detail})" if standing.detail else ""
    ended = replace(
        began,
        status="ended",
        reason=standing.reason or "vanished",
        message=f"{whose}{words} and left no word. A killed machine or a kernel short of memory does that.",
    )
    write_status(state, ended)
    return ended


def _after(backend: Backend, note: Note, status: Status) -> Status:
    """Wait until its machine has let it go, and take the cluster's reason where the supervisor knows only half."""
    if not note.handle:  # it ended before anybody could say by what it is known
        return status
    deadline = time.monotonic() + max(backend.settle_s, LEAVE_S)
    try:
        while (standing := backend.alive(note.handle)).state != "gone" and time.monotonic() < deadline:
            time.sleep(min(CLUSTER_LOOK_S, backend.poll_s) / 2)
    except LaunchError:  # the supervisor's own word is good enough
        return status
    return _better(status, standing)


def _better(status: Status, standing: Standing) -> Status:
    if status.reason in VAGUE and standing.reason:
        return replace(status, reason=standing.reason, message=f"{status.message} {standing.detail}".strip())
    return status


def tail_of(state: Path, note: Note) -> list[str]:
    """The last lines of the attempt's log."""
    path = state / OUTPUT
    if not path.exists():
        return []
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(note.log_start, size - TAIL_BYTES))
        return handle.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
