"""The state folder of a launch: everything about it, on a file system that all machines see.

    launch.json   what was to be run, where, and the handle of what runs it; written by who launches
    state.json    whether it runs or how it ended, and its last report; written by the supervisor
    output.log    what it printed, all attempts one after another
    told.json     how much of the log somebody has been shown
    heartbeat     touched by the module at every step
    result/       the module's to fill; removed before it is started anew

Each is written by one process at a time and appears whole, but for the log. What the words mean is `supervise.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.launching.backends import Launched
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.strict import read_record

LAUNCH = "launch.json"
STATE = "state.json"
OUTPUT = "output.log"
TOLD = "told.json"
HEARTBEAT = "heartbeat"
RESULT = "result"
DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """`launch.json`: one attempt."""

    asked: tuple[str, ...]
    """Module and words without the machine file's; a later launch that asks for the same finds this one."""
    arguments: tuple[str, ...]
    mark: str
    folder: str
    machine: Machine
    started: float
    """Seconds since 1970."""
    log_start: int
    """Bytes of the log that belong to earlier attempts."""
    handle: str = ""
    """Of what was submitted; empty: who launched died before it could say."""

    def launched(self, state: Path) -> Launched:
        """The attempt as backends want it."""
        return Launched(
            arguments=self.arguments, state=state, mark=self.mark, folder=Path(self.folder), machine=self.machine
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`state.json`: how an attempt stands."""

    mark: str
    status: Literal["running", "ended"]
    process: str
    """The supervisor: `host boot pid ticks`."""
    started: float
    seen: float
    """When this was written; seconds since 1970, by the clock of the machine that runs it."""
    beaten: bool = False
    """Whether the module has touched its heartbeat."""
    code: int | None = None
    """The module's exit code; below 0: the signal that ended it."""
    reason: str = ""
    """`done`, or why it ended."""
    message: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)
    """The last line that was a JSON object."""
    result: bool = False
    """Whether it left `result/`."""

    @property
    def ended(self) -> bool:
        """Whether it is over, well or badly."""
        return self.status == "ended"


def read_note(state: Path) -> Note | None:
    """The attempt in that folder; None where nothing was ever launched.

    Raises:
        StoreError, ConfigError: the file is not ours.
    """
    path = state / LAUNCH
    return read_record(Note, read_json(path), str(path)) if path.exists() else None


def write_note(state: Path, note: Note) -> None:
    """Keep the attempt; a folder has one."""
    write_json(state / LAUNCH, asdict(note))


def read_status(state: Path, mark: str) -> Status | None:
    """How that attempt stands; None where it has not begun.

    Raises:
        StoreError, ConfigError: the file is not ours.
    """
    path = state / STATE
    if not path.exists():
        return None
    status = read_record(Status, read_json(path), str(path))
    return status if status.mark == mark else None


def write_status(state: Path, status: Status) -> None:
    """Keep how it stands."""
    write_json(state / STATE, asdict(status))


def log_size(state: Path) -> int:
    """Bytes of the log so far."""
    path = state / OUTPUT
    return path.stat().st_size if path.exists() else 0
