"""Launches of a store that nobody may be watching: what they are, how they stand, and their last word.

Read from the state folders alone; whether a process or a job is still there is asked of its kind of machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.files import Json
from medmax_pipeline.launching.backends import backend_of
from medmax_pipeline.launching.follow import tail_of
from medmax_pipeline.launching.launch import end
from medmax_pipeline.launching.state import LAUNCH, Note, Status, read_note, read_status

WORK_LOCK = "lock"
"""What the ledger leaves in every work folder."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One launch as people see it."""

    key: str
    """Of the asset that it makes."""
    state: Path
    kind: str
    handle: str
    status: str
    """`running`, `waiting`, `ended: <reason>`, `vanished`, or `not reached: <why>`."""
    started: float
    """Seconds since 1970."""
    last: str
    """The last line it printed."""
    report: dict[str, Json]

    @property
    def over(self) -> bool:
        """Whether nothing of it runs."""
        return self.status.startswith("ended") or self.status == "vanished"


def standings(store: Path) -> Iterator[Standing]:
    """Every launch whose step is not published yet, by asset key."""
    for key, state in sorted(_folders(store / "work")):
        note = read_note(state)
        if note is None:  # its step has just been published
            continue
        status = read_status(state, note.mark)
        lines = tail_of(state, note)
        yield Standing(
            key=key,
            state=state,
            kind=note.machine.kind,
            handle=note.handle,
            status=_words(state, note, status),
            started=note.started,
            last=lines[-1] if lines else "",
            report=dict(status.report) if status is not None else {},
        )


def stop(store: Path, key: str) -> list[Standing]:
    """End the launches of one asset; how they stand then.

    Raises:
        ConfigError: that asset has none.
        LaunchError: one cannot be reached from here.
    """
    folders = [state for found, state in _folders(store / "work") if found == key]
    if not folders:
        known = ", ".join(sorted({found for found, _ in _folders(store / "work")}))
        raise ConfigError(f"{key}: nothing of it is launched in {store}. Launched: {known or 'nothing'}.")
    for state in folders:
        end(state)
    return [item for item in standings(store) if item.key == key]


def _folders(work: Path) -> Iterator[tuple[str, Path]]:
    """Asset keys and state folders: a work folder is `<key>/<fingerprint>`, and has a lock."""
    for folder, inside, files in os.walk(work):
        if WORK_LOCK not in files:
            continue
        inside.clear()
        key = Path(folder).parent.relative_to(work).as_posix()
        for pattern in (f"state/*/{LAUNCH}", f"state/*/*/{LAUNCH}", f"state/*/*/*/{LAUNCH}"):
            for found in Path(folder).glob(pattern):
                yield key, found.parent


def _words(state: Path, note: Note, status: Status | None) -> str:
    if status is not None and status.ended:
        return f"ended: {status.reason}"
    try:
        backend = backend_of(note.machine)
        handle = note.handle or backend.find(note.launched(state))
        standing = backend.alive(handle) if handle else None
    except (LaunchError, ConfigError) as error:
        return f"not reached: {error}"
    if standing is None or standing.state == "gone":
        again = read_status(state, note.mark)
        return f"ended: {again.reason}" if again is not None and again.ended else "vanished"
    return f"waiting: {standing.detail}" if standing.state == "waiting" else "running"


def to_json(item: Standing) -> dict[str, Json]:
    """For machines."""
    return {
        "key": item.key,
        "kind": item.kind,
        "handle": item.handle,
        "status": item.status,
        "started": item.started,
        "last": item.last,
        "report": item.report,
        "state": str(item.state),
    }


def to_text(items: list[Standing]) -> list[str]:
    """For people: two lines each."""
    lines = []
    for item in items:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.started))
        lines.append(f"{item.key}  {item.kind}  {item.status}  since {since}")
        lines.append(f"    {item.last or 'has printed nothing yet'}")
    return lines or ["Nothing is launched."]
