"""Machines that run out of memory or disk while something is launched: real control groups, a real small disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medmax_pipeline.launching.ends import End, judged, oom_kills
from medmax_pipeline.launching.launch import end, launch
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.launching.state import read_note, read_status
from tests.conftest import absent
from tests.launching.conftest import WATCHER, Write

CONTROLLER = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 100 << 20
GREEDY = """
import subprocess, sys
code = "block = bytearray(1 << 28); block[::4096] = bytes([1]) * (1 << 16)"
sys.exit(1 if subprocess.run([sys.executable, "-c", code]).returncode else 0)
"""
"""A child takes 256 MiB; the module itself lives and only reports that its child ended badly, as torchrun does."""


@pytest.fixture
def small() -> Iterator[Path]:
    """A control group of little memory, and the file that takes processes into it."""
    folder = CONTROLLER / f"medmax-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        absent("control_group", f"no memory control group (version 1) can be made here: {error}")
    yield folder / "cgroup.procs"
    folder.rmdir()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        absent("mount", f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_what_the_kernel_kills_for_memory_is_told_as_such(module: Write, state: Path, small: Path) -> None:
    name = module(GREEDY)
    join = f"import os; open({str(small)!r}, 'w').write(str(os.getpid()))\n"
    done = subprocess.run(
        [sys.executable, "-c", join + WATCHER, name, str(state)], capture_output=True, text=True, check=False
    )
    assert "ended: out_of_memory. The kernel killed a process of it" in done.stderr
    note = read_note(state)
    assert note is not None
    status = read_status(state, note.mark)
    assert status is not None
    assert (status.reason, status.code) == ("out_of_memory", 1)


def test_a_full_disk_is_told_as_such_and_its_state_is_whole(module: Write, disk: Path) -> None:
    name = module(
        """
        import os, pathlib, sys
        result = pathlib.Path(sys.argv[1]) / "result"
        result.mkdir()
        with (result / "weights").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 12))
        """
    )
    state = disk / "launch"
    state.mkdir()
    try:
        with pytest.raises(Exception, match="ended: disk_full") as caught:
            launch([name, str(state)], state, Machine(), print)
        assert getattr(caught.value, "reason", "") == "disk_full"
        note = read_note(state)
        assert note is not None
        status = read_status(state, note.mark)
        assert status is not None
        assert status.ended
        assert "No space left on device" in status.message
        (state / "result" / "weights").unlink()
        assert launch([module("print('room again')")], state, Machine(), print) == {}
    finally:
        end(state)


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("4:memory:/job\n9:name=systemd:/\n0::/\n", "memory/job/memory.oom_control", "under_oom 0\noom_kill 3\n"),
        ("4:memory:/outside\n", "memory/memory.oom_control", "under_oom 0\noom_kill 3\n"),
        ("0::/job.slice/step\n", "job.slice/step/memory.events", "low 0\noom 4\noom_kill 3\n"),
    ],
    ids=["version 1", "version 1 in a container", "version 2"],
)
def test_kills_for_memory_are_counted_in_the_own_control_group(
    tmp_path: Path, groups: str, file: str, text: str
) -> None:
    (tmp_path / "own").write_text(groups)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    assert oom_kills(tmp_path, tmp_path / "own") == 3
    assert oom_kills(tmp_path, tmp_path / "absent") == 0


def test_a_modules_own_word_is_believed_before_its_output_and_not_where_it_ended_well() -> None:
    tail = ["OSError: [Errno 28] No space left on device"]
    assert judged(1, "diverged", "nan", tail, starved=False) == End(1, "diverged", "nan")
    assert judged(1, "rm -rf /", "nan", tail, starved=False).reason == "failed"
    assert judged(1, "", "", tail, starved=False).reason == "disk_full"
    assert judged(1, "", "", tail, starved=True).reason == "out_of_memory"
    assert judged(0, "diverged", "nan", tail, starved=True) == End(0, "done")
    assert judged(-15, "", "", [], starved=False) == End(-15, "failed", "It ended with signal SIGTERM.")


def test_of_several_processes_words_the_first_that_says_something_counts(module: Write, state: Path) -> None:
    name = module(
        """
        import json, sys
        for reason in ("failed", "out_of_memory", "failed", "diverged"):
            print(json.dumps({"failed": reason, "message": reason}))
        sys.exit(1)
        """
    )
    with pytest.raises(Exception, match="ended: out_of_memory"):
        launch([name], state, Machine(), print)
