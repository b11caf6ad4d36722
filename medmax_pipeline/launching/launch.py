"""The one door to launching with a state folder: find what runs already, take what is done, else start anew.

A launch with the same state folder and arguments as an earlier one goes on with it: it runs (watch it), it ended well
while nobody watched (take it), or it ended badly or vanished (start anew; the module goes on from its own checkpoints).
Whoever is interrupted while watching ends what it watches; whoever is killed does not.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.files import remove_tree
from medmax_pipeline.launching.backends import Backend, backend_of
from medmax_pipeline.launching.follow import Told, Unreachable, follow, tail_of
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.launching.state import (
    DONE,
    RESULT,
    STATE,
    Note,
    Status,
    log_size,
    read_note,
    read_status,
    write_note,
    write_status,
)

BREATH_S = 90.0
"""For how long a launch of another machine is watched for a sign of life: file systems hide changes for up to 60 s."""


def launch(
    arguments: Sequence[str], state: Path, machine: Machine, told: Told, *, again: bool = False
) -> Mapping[str, Any]:
    """Run `python -m <arguments>` on that machine to its end, or go on with an earlier launch.

    Args:
        arguments: the module's name and what it is given.
        state: absolute folder of this launch, at the same path on every machine; made where it is absent.
        machine: where; an earlier launch that still runs stays where it is.
        told: takes each line that it prints, as it comes.
        again: end what an earlier launch left and start anew, whatever came of it.

    Returns:
        its last report: the last line it printed that is a JSON object; empty where there was none.

    Raises:
        LaunchError: it ended badly; `reason` says why and the message holds the end of its output.
        ConfigError: the state folder is not absolute, or the machine's kind needs what is not installed here.
    """
    if not state.is_absolute():
        raise ConfigError(f"{state}: the folder of a launch must be absolute, since other machines look there too.")
    earlier = read_note(state)
    if earlier is not None:
        if not again and earlier.asked == tuple(arguments):
            found = _earlier(state, earlier, told)
            if found is not None:
                return _outcome(state, found, told)
        _end(state, earlier)
    backend = backend_of(machine)
    note = _noted(arguments, state, machine)
    return _outcome(state, note, told, backend)


def end(state: Path) -> Status | None:
    """End what runs with that state folder, wherever it runs; how it ended, None where it never began.

    Raises:
        LaunchError: it cannot be reached from here.
    """
    note = read_note(state)
    if note is None:
        return None
    _end(state, note)
    return read_status(state, note.mark)


def _earlier(state: Path, note: Note, told: Told) -> Note | None:
    """The earlier attempt, where it runs or has ended well; else None, and why is told."""
    status = read_status(state, note.mark)
    if status is not None and status.ended:
        if status.reason == DONE and (not status.result or (state / RESULT).exists()):
            told(f"{note.asked[0]} ended well while nobody watched; it is not run again")
            return note
        told(f"{note.asked[0]} had ended: {status.reason}. {status.message} It is started anew")
        return None
    backend = backend_of(note.machine)
    handle = note.handle or backend.find(note.launched(state))
    if handle is None:
        return None
    note = replace(note, handle=handle)
    try:
        gone = backend.alive(handle).state == "gone"
    except LaunchError as error:
        if note.machine.kind != "local" or _breathes(state, note):
            raise LaunchError(f"{state}: an earlier launch cannot be found again: {error}", "unreachable") from error
        if status is not None:
            write_status(state, replace(status, status="ended", reason="vanished", message="Its machine is gone."))
        gone = True
    if gone:
        time.sleep(backend.settle_s)
        status = read_status(state, note.mark)
        if status is not None and status.ended:
            return _earlier(state, note, told)
        told(f"{note.asked[0]} has vanished ({note.machine.kind} {handle}); it is started anew")
        return None
    told(f"{note.asked[0]} runs already ({note.machine.kind} {handle}); watching it")
    write_note(state, note)
    return note


def _breathes(state: Path, note: Note) -> bool:
    """Whether a supervisor that cannot be asked still renews its state.json."""
    first, deadline = read_status(state, note.mark), time.monotonic() + BREATH_S
    while time.monotonic() < deadline:
        if read_status(state, note.mark) != first:
            return True
        time.sleep(1.0)
    return False


def _noted(arguments: Sequence[str], state: Path, machine: Machine) -> Note:
    """A new attempt, written down; what an earlier one left is removed."""
    (state / STATE).unlink(missing_ok=True)
    remove_tree(state / RESULT)
    note = Note(
        asked=tuple(arguments),
        arguments=(*arguments, *machine.arguments),
        mark=uuid.uuid4().hex,
        folder=str(Path.cwd()),
        machine=machine,
        started=time.time(),
        log_start=log_size(state),
    )
    write_note(state, note)
    return note


def _outcome(state: Path, note: Note, told: Told, backend: Backend | None = None) -> Mapping[str, Any]:
    """Submit the attempt where a backend is given, follow it, and end it where that is interrupted."""
    try:
        if backend is not None:
            note = replace(note, handle=backend.submit(note.launched(state)))
            write_note(state, note)
        status = follow(backend or backend_of(note.machine), state, note, told)
    except Unreachable:
        raise
    except BaseException:
        _end(state, note)
        raise
    if status.reason != DONE:
        _end(state, note)
        words = f"`python -m {' '.join(note.arguments)}` ended: {status.reason}. {status.message}"
        lines = "\n".join(tail_of(state, note))
        raise LaunchError(f"{words} The end of its output ({state}):\n{lines}", status.reason)
    return status.report


def _end(state: Path, note: Note) -> None:
    """Nothing of the attempt runs when this returns."""
    backend = backend_of(note.machine)
    launched = note.launched(state)
    handle = note.handle or backend.find(launched)
    if handle is None:
        return
    try:
        backend.end(handle, launched)
    except LaunchError:
        status = read_status(state, note.mark)
        over = status is not None and status.ended
        if not over and (note.machine.kind != "local" or _breathes(state, note)):
            raise


def implied_state(arguments: Sequence[str]) -> Path:
    """Where a launch lies that was given no state folder: beside the job file that it is given.

    Raises:
        ConfigError: it is given none.
    """
    for word in arguments[1:]:
        path = Path(word)
        if path.suffix == ".json" and path.is_file():
            return path.absolute().parent / "launch"
    raise ConfigError(
        f"`python -m {' '.join(arguments)}` cannot run on a cluster: it has no job file beside which its state could "
        "lie. Leave its table out of the machine file."
    )
