"""Modules to launch, written by the test, and somebody who watches a launch and can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medmax_pipeline.launching.launch import end
from medmax_pipeline.launching.living import carriers
from medmax_pipeline.launching.state import read_note, read_status

WATCHER = """
import sys
from pathlib import Path
from medmax_pipeline.launching.launch import launch
from medmax_pipeline.launching.machine import read_machines

name, state, *words = sys.argv[1:]
machine = read_machines().training
launch([name, *words], Path(state), machine, lambda line: print(line, flush=True))
"""
"""Somebody who launches, as a run of the orchestrator does, without what the orchestrator costs to start."""
Write = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module that `python -m` finds, and gives its name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))

    def write(body: str) -> str:
        (tmp_path / "launched.py").write_text(textwrap.dedent(body))
        return "launched"

    return write


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder; nothing runs there when the test is over, however it ends."""
    folder = tmp_path / "launch"
    folder.mkdir()
    yield folder
    end(folder)


def watch(name: str, state: Path, *words: str) -> subprocess.Popen[str]:
    """Somebody who launches in a process of its own, with a short grace."""
    machines = state.parent / "machines.toml"
    machines.write_text("[training]\ngrace_s = 1.0\n")
    return subprocess.Popen(
        [sys.executable, "-c", WATCHER, name, str(state), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "MEDMAX_LAUNCH_FILE": str(machines)},
    )


def kill(watcher: subprocess.Popen[str]) -> str:
    """Kill who watches; what was shown so far."""
    watcher.kill()
    return watcher.communicate()[0]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    """Whether it became true in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def ended(state: Path) -> bool:
    """Whether what runs with that folder is over."""
    note = read_note(state)
    status = None if note is None else read_status(state, note.mark)
    return status is not None and status.ended


def left(state: Path) -> set[int]:
    """Processes of the newest attempt on this machine."""
    note = read_note(state)
    assert note is not None
    return carriers(note.mark)
