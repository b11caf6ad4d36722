"""Beside a launched module, on whatever machine: writes down what it prints and how it ends, and leaves nothing of it.

    python -m medmax_pipeline.launching.supervise STATE MARK [--detach | --with-parent] [COMMAND…]

Runs the attempt of STATE/launch.json as `COMMAND… <arguments>`, `python -u -m` without a COMMAND. With `--detach` it
first leaves whoever started it, and prints the process that stays. Asked to end, it ends the module; so it does with a
module that is silent for too long, and with all that a module leaves behind. Whoever wants to know reads STATE; nobody
needs to listen. Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import LogFile, write_bytes
from medmax_pipeline.launching.ends import End, judged, oom_kills
from medmax_pipeline.launching.living import MARK, end_all, process_of
from medmax_pipeline.launching.state import (
    HEARTBEAT,
    OUTPUT,
    RESULT,
    Note,
    Status,
    read_note,
    read_status,
    write_status,
)

BEAT = "MEDMAX_HEARTBEAT"
"""Names the file that the module touches at every step."""
TICK_S = 0.1
PULSE_S = 5.0
"""Longest time between two versions of state.json, so that others can see that somebody is there."""
REPORT_S = 1.0
"""Shortest time between two versions on account of a new report."""
TAIL_LINES = 40
LONGEST_LINE = 1 << 20
"""Bytes without a line's end that are taken as a line."""
LONGEST_REPORT = 1 << 16
RESERVE = "reserve"
RESERVE_BYTES = 1 << 16
"""Kept free for the last word on a full disk."""
LAST_WORDS = 60
"""Attempts to say how it ended, a second apart."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Linux, `prctl(2)`: die with the parent; inherit the children of dead descendants."""


class Supervisor:
    """One attempt from its start to its end."""

    def __init__(self, state: Path, note: Note, command: Sequence[str]) -> None:
        self._state = state
        self._note = note
        self._command = [*command, *note.arguments]
        self._asked = False
        self._failed = self._message = ""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        self._log = LogFile(state / OUTPUT)
        self._sign = self._written = time.monotonic()
        self._beat = 0
        self._stale = False
        process = process_of(os.getpid())
        self._status = Status(
            mark=note.mark, status="running", process=str(process), started=time.time(), seen=time.time()
        )

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: end the module."""
        self._asked = True

    def run(self) -> End:
        """Run the module to its end; how it ended is in state.json when this returns."""
        write_bytes(self._state / RESERVE, bytes(RESERVE_BYTES))
        write_status(self._state, self._status)
        kills = oom_kills()
        try:
            process = self._start()
        except OSError as error:
            return self._ended(End(None, "failed", f"{self._command[0]}: not started ({error})."))
        assert process.stdout is not None
        try:
            stopped = self._watch(process, process.stdout.fileno())
        finally:
            self._end(process.stdout.fileno())
        code = process.wait()
        process.stdout.close()
        self._line(self._rest)
        if stopped is not None:
            return self._ended(End(code, *stopped))
        starved = oom_kills() > kills
        return self._ended(judged(code, self._failed, self._message, self._tail, starved=starved))

    def _start(self) -> subprocess.Popen[bytes]:
        added = {BEAT: str(self._state / HEARTBEAT), MARK: self._note.mark}
        folder = self._note.folder
        return subprocess.Popen(
            self._command,
            env={**os.environ, **self._note.machine.environment, **added},
            cwd=folder if Path(folder).is_dir() else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def _watch(self, process: subprocess.Popen[bytes], output: int) -> tuple[str, str] | None:
        """Until the module ends (None) or is to be ended: why."""
        open_ = True
        while process.poll() is None:
            if self._asked:
                break
            if (silent := self._silent_s()) is not None:
                return "no_heartbeat", f"No sign of life for {silent:.0f} s."
            if open_ and select.select([output], [], [], TICK_S)[0]:
                open_ = self._take(output)
            elif not open_:
                time.sleep(TICK_S)
            self._pulse()
        return ("terminated", "It was asked to end.") if self._asked else None  # the module may have been quicker

    def _end(self, output: int) -> None:
        """End all that is left of the launch, and take what it had printed."""
        end_all(self._note.mark, self._note.machine.grace_s, below=os.getpid(), spare=(os.getpid(),))
        while select.select([output], [], [], 0)[0] and self._take(output):
            pass

    def _silent_s(self) -> float | None:
        """For how long it has been silent, where that is too long."""
        try:
            beat = (self._state / HEARTBEAT).stat().st_mtime_ns
        except OSError:
            beat = 0
        now = time.monotonic()
        if beat != self._beat:
            self._beat, self._sign = beat, now
        machine = self._note.machine
        allowed = machine.first_heartbeat_s if self._beat == 0 else machine.heartbeat_s
        return now - self._sign if machine.heartbeat_s and allowed and now - self._sign > allowed else None

    def _take(self, output: int) -> bool:
        """Keep what was printed; False at its end."""
        data = os.read(output, 1 << 16)
        if not data:
            return False
        with suppress(StoreError, OSError):  # what it says is judged even so
            self._log.append(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._line(line)
        return True

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if self._beat == 0:
            self._sign = time.monotonic()
        if text.strip():
            self._tail.append(text)
        report = parse_report(text)
        if report is None:
            return
        if not isinstance(failed := report.get("failed"), str):
            self._stale = True
            self._status = replace(self._status, report=report)
        elif self._failed in ("", "failed"):
            self._failed, self._message = failed, str(report.get("message", ""))

    def _pulse(self) -> None:
        """Renew state.json from time to time."""
        if time.monotonic() - self._written < (REPORT_S if self._stale else PULSE_S):
            return
        self._stale, self._written = False, time.monotonic()
        self._status = replace(self._status, seen=time.time(), beaten=self._beat != 0)
        with suppress(StoreError, OSError):  # the next version may find room; the last one has its own
            write_status(self._state, self._status)

    def _ended(self, end: End) -> End:
        self._log.close()
        status = replace(
            self._status,
            status="ended",
            seen=time.time(),
            beaten=self._beat != 0,
            code=end.code,
            reason=end.reason,
            message=end.message,
            result=(self._state / RESULT).exists(),
        )
        (self._state / RESERVE).unlink(missing_ok=True)
        for attempt in range(LAST_WORDS, 0, -1):
            try:
                write_status(self._state, status)
                break
            except (StoreError, OSError):  # others fill the disk, or a file server is away
                if attempt == 1:
                    raise
                time.sleep(1.0)
        return end


def parse_report(line: str) -> dict[str, Any] | None:
    """The report in a line, or None where the line is for people."""
    if not line.startswith("{") or len(line) > LONGEST_REPORT:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _die_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def detach(log: Path) -> None:
    """Go on as a process that belongs to nobody; what started this one is told its name and ends."""
    sys.stdout.flush()
    if child := os.fork():
        print(process_of(child), flush=True)
        os._exit(0)
    os.setsid()
    with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def stay_with_parent() -> None:
    """Be asked to end when the parent dies, and not die with it where somebody kills its whole group."""
    with suppress(PermissionError):  # it leads its group already
        os.setsid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main(arguments: Sequence[str]) -> int:
    """Run one attempt; 0 where it ended well."""
    folder, mark, *command = arguments
    state = Path(folder)
    note = read_note(state)
    if note is None or note.mark != mark:
        print(f"{state}: another attempt has taken over; this one ({mark}) does nothing.", file=sys.stderr)
        return 1
    if command[:1] == ["--detach"]:
        command = command[1:]
        detach(state / "supervisor.log")
    elif command[:1] == ["--with-parent"]:
        command = command[1:]
        stay_with_parent()
    begun = read_status(state, mark)
    if begun is not None:  # a cluster that starts a job a second time; what the first one left is not known
        print(f"{state}: this attempt has begun before; it is not begun twice.", file=sys.stderr)
        if not begun.ended:
            write_status(state, replace(begun, status="ended", reason="killed", message="Its job was started twice."))
        return 1
    supervisor = Supervisor(state, note, command or [sys.executable, "-u", "-m"])
    signal.signal(signal.SIGTERM, supervisor.ask)
    signal.signal(signal.SIGINT, supervisor.ask)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    (state / HEARTBEAT).unlink(missing_ok=True)
    return 0 if supervisor.run().reason == "done" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
