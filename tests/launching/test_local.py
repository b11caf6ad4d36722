"""Launches on this machine: found again after a kill, taken when done, started anew when not, ended whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.launching import launch as door
from medmax_pipeline.launching.backends import Launched
from medmax_pipeline.launching.launch import end, implied_state, launch
from medmax_pipeline.launching.living import end_all, parse_process, process_of, runs_here
from medmax_pipeline.launching.local import Local
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.launching.state import OUTPUT, RESULT, STATE, Note, read_note, read_status, write_note
from tests.launching.conftest import Write, ended, kill, left, wait_for, watch

PROMPT = Machine(grace_s=1.0)
PATIENT = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "starts").open("a") as file:
    file.write("x")
print("before")
(folder / "begun").touch()
while not (folder / "go").exists():
    time.sleep(0.05)
    if sys.argv[2:] == ["chatty"]:
        print(json.dumps({"time": time.time()}))
print("after")
print(json.dumps({"loss": 2.5}))
(folder / "launch" / "result").mkdir()
"""
"""Notes each start, waits for a word, reports, and leaves a result."""


def noted(state: Path) -> Note:
    note = read_note(state)
    assert note is not None
    return note


def begun(name: str, state: Path, *words: str) -> None:
    """Launch, and kill who watches as soon as the module is at work."""
    watcher = watch(name, state, str(state.parent), *words)
    assert wait_for((state.parent / "begun").exists), kill(watcher)
    kill(watcher)


def test_a_launch_outlives_who_watched_it_and_is_found_again_with_its_new_lines(module: Write, state: Path) -> None:
    name, lines = module(PATIENT), list[str]()
    watcher = watch(name, state, str(state.parent))
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "before\n"
    wait_for((state / "told.json").exists)
    kill(watcher)
    assert left(state), "it ended with who watched it"
    (state.parent / "go").touch()
    report = launch([name, str(state.parent)], state, PROMPT, lines.append)
    assert report == {"loss": 2.5}
    assert lines[1:] == ["after", '{"loss": 2.5}']
    assert "runs already" in lines[0]
    assert (state.parent / "starts").read_text() == "x"
    assert not left(state)


@pytest.mark.parametrize("handle", ["known", "lost"])
def test_what_ended_well_while_nobody_watched_is_taken_as_done(module: Write, state: Path, handle: str) -> None:
    name, lines = module(PATIENT), list[str]()
    begun(name, state)
    if handle == "lost":
        write_note(state, replace(noted(state), handle=""))
    (state.parent / "go").touch()
    assert wait_for(lambda: ended(state))
    assert launch([name, str(state.parent)], state, PROMPT, lines.append) == {"loss": 2.5}
    assert "it is not run again" in lines[0]
    assert "after" in lines
    assert (state.parent / "starts").read_text() == "x"


def test_what_is_done_is_run_again_where_its_result_has_gone(module: Write, state: Path) -> None:
    name = module(PATIENT)
    (state.parent / "go").touch()
    for _ in range(2):
        launch([name, str(state.parent)], state, PROMPT, print)
        (state / RESULT).rmdir()
    assert (state.parent / "starts").read_text() == "xx"


def test_other_arguments_end_what_runs_and_start_anew(module: Write, state: Path) -> None:
    name = module(PATIENT)
    begun(name, state)
    (earlier,) = [pid for pid in left(state) if pid != parse_process(noted(state).handle).pid]
    (state.parent / "go").touch()
    launch([name, str(state.parent), "more"], state, PROMPT, print)
    assert process_of(earlier) is None
    assert (state.parent / "starts").read_text() == "xx"


def test_a_launch_whose_handle_nobody_could_write_down_is_found_by_its_mark(module: Write, state: Path) -> None:
    name = module(PATIENT)
    begun(name, state)
    write_note(state, replace(noted(state), handle=""))
    (state.parent / "go").touch()
    launch([name, str(state.parent)], state, PROMPT, print)
    assert (state.parent / "starts").read_text() == "x"


def test_a_bad_end_is_told_with_its_output_and_the_next_launch_starts_anew(module: Write, state: Path) -> None:
    name = module(
        """
        import pathlib, sys
        first = pathlib.Path(sys.argv[1]) / "first"
        result = pathlib.Path(sys.argv[1]) / "launch" / "result"
        assert not result.exists(), "half a result of an earlier attempt"
        result.mkdir()
        if not first.exists():
            first.touch()
            sys.exit("the cheese is out")
        print("and on")
        """
    )
    lines = list[str]()
    with pytest.raises(LaunchError, match=r"(?s)failed. It ended with exit code 1.*the cheese is out") as caught:
        launch([name, str(state.parent)], state, PROMPT, print)
    assert caught.value.reason == "failed"
    launch([name, str(state.parent)], state, PROMPT, lines.append)
    assert lines[-1] == "and on"
    assert (state / OUTPUT).read_text() == "the cheese is out\nand on\n"


ENDS = {
    "no_heartbeat": (
        "import os, pathlib, time; pathlib.Path(os.environ['MEDMAX_HEARTBEAT']).touch(); print('x'); time.sleep(60)",
        Machine(grace_s=1.0, heartbeat_s=0.5),
        "No sign of life",
    ),
    "no_heartbeat ": ("import time; time.sleep(60)", Machine(grace_s=1.0, first_heartbeat_s=0.5), "No sign of life"),
    "diverged": (
        """print('{"failed": "diverged", "message": "loss nan"}'); raise SystemExit(1)""",
        PROMPT,
        "loss nan",
    ),
    "out_of_memory": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)); bytearray(1 << 30)",
        PROMPT,
        "MemoryError",
    ),
    "disk_full": ("open('/dev/full', 'wb', buffering=0).write(b'x')", PROMPT, "No space left on device"),
    "killed": ("import os; os.kill(os.getpid(), 9)", PROMPT, "SIGKILL"),
}


@pytest.mark.parametrize("reason", ENDS)
def test_a_failed_state_names_its_reason(module: Write, state: Path, reason: str) -> None:
    body, machine, words = ENDS[reason]
    with pytest.raises(LaunchError, match=words) as caught:
        launch([module(body)], state, machine, print)
    status = read_status(state, noted(state).mark)
    assert status is not None
    assert (status.status, status.reason) == ("ended", reason.strip())
    assert caught.value.reason == reason.strip()
    assert words in status.message
    assert not left(state)


def test_a_module_that_works_without_a_heartbeat_lives_as_long_as_it_prints(module: Write, state: Path) -> None:
    name = module("import time\nfor number in range(12):\n    print(number)\n    time.sleep(0.2)")
    launch([name], state, Machine(first_heartbeat_s=1.5), print)


HYDRA = """
import os, pathlib, signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
sleep = [sys.executable, "-c", stubborn]
heads = [subprocess.Popen(sleep, start_new_session=True, stdout=subprocess.PIPE) for _ in range(2)]
heads.append(subprocess.Popen(sleep, start_new_session=True, stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]}))
for head in heads:
    head.stdout.readline()
told = pathlib.Path(sys.argv[1])
(told / "pids.tmp").write_text(" ".join(str(head.pid) for head in heads))
(told / "pids.tmp").rename(told / "pids")
if len(sys.argv) == 2:
    time.sleep(99)
"""
"""Children in sessions of their own that ignore SIGTERM; one has none of our variables."""


def heads(state: Path) -> list[int]:
    assert wait_for((state.parent / "pids").exists)
    return [int(word) for word in (state.parent / "pids").read_text().split()]


def test_ending_leaves_no_process_of_any_session_even_if_it_ignores_being_asked(module: Write, state: Path) -> None:
    watcher = watch(module(HYDRA), state, str(state.parent))
    pids = heads(state)
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=30)
    status = read_status(state, noted(state).mark)
    assert status is not None
    assert status.reason == "terminated"
    assert not left(state)
    assert not any(process_of(pid) for pid in pids)


def test_a_module_that_ends_well_leaves_no_children_either(module: Write, state: Path) -> None:
    launch([module(HYDRA), str(state.parent), "end"], state, PROMPT, print)
    assert not any(process_of(pid) for pid in heads(state))


def test_a_killed_supervisor_is_noticed_nothing_survives_and_the_next_launch_starts_anew(
    module: Write, state: Path
) -> None:
    name = module(PATIENT)
    begun(name, state)
    supervisor = parse_process(noted(state).handle)
    os.kill(supervisor.pid, signal.SIGKILL)
    assert wait_for(lambda: not runs_here(supervisor))
    lines = list[str]()
    (state.parent / "go").touch()
    launch([name, str(state.parent)], state, PROMPT, lines.append)
    assert "vanished" in lines[0]
    assert (state.parent / "starts").read_text() == "xx"


def test_a_supervisor_killed_under_somebodys_eyes_ends_in_a_state_that_says_so(module: Write, state: Path) -> None:
    watcher = watch(module(PATIENT), state, str(state.parent))
    assert wait_for((state.parent / "begun").exists)
    os.kill(parse_process(noted(state).handle).pid, signal.SIGKILL)
    told = watcher.communicate(timeout=30)[0]
    assert "ended: vanished. Its supervisor is gone" in told
    status = read_status(state, noted(state).mark)
    assert status is not None
    assert status.reason == "vanished"
    assert not left(state)


def test_a_process_that_got_the_id_of_another_is_not_taken_for_it() -> None:
    own = process_of(os.getpid())
    assert own is not None
    local = Local(PROMPT)
    assert local.alive(str(own)).state == "running"
    assert local.alive(str(own._replace(ticks=own.ticks - 1))).state == "gone"
    assert local.alive(str(own._replace(boot="another"))).state == "gone"


def test_ending_by_a_stale_id_leaves_the_process_that_has_it_now(state: Path) -> None:
    own = process_of(os.getpid())
    assert own is not None
    launched = Launched(arguments=("x",), state=state, mark="0" * 32, folder=state, machine=PROMPT)
    Local(PROMPT).end(str(own._replace(ticks=own.ticks - 1)), launched)


def test_a_supervisor_whose_place_another_attempt_has_taken_does_nothing(module: Write, state: Path) -> None:
    name = module(PATIENT)
    (state.parent / "go").touch()
    launch([name, str(state.parent)], state, PROMPT, print)
    stale = replace(noted(state), mark="f" * 32).launched(state)
    with pytest.raises(LaunchError, match="another attempt has taken over"):
        Local(PROMPT).submit(stale)
    assert (state.parent / "starts").read_text() == "x"


def test_an_attempt_that_a_cluster_starts_twice_runs_once_and_is_over(module: Write, state: Path) -> None:
    name = module(PATIENT)
    begun(name, state)
    Local(PROMPT).submit(noted(state).launched(state))
    assert wait_for(lambda: ended(state))
    status = read_status(state, noted(state).mark)
    assert status is not None
    assert (status.reason, status.message) == ("killed", "Its job was started twice.")
    assert (state.parent / "starts").read_text() == "x"


@pytest.mark.parametrize("breathes", [True, False])
def test_a_launch_of_another_machine_is_left_alone_as_long_as_it_breathes(
    module: Write, state: Path, monkeypatch: pytest.MonkeyPatch, breathes: bool
) -> None:
    name = module(PATIENT)
    begun(name, state, "chatty")
    note = noted(state)
    elsewhere = parse_process(note.handle)._replace(host="elsewhere")
    write_note(state, replace(note, handle=str(elsewhere)))
    monkeypatch.setattr(door, "BREATH_S", 8.0 if breathes else 0.5)
    if breathes:
        try:
            with pytest.raises(LaunchError, match="runs on elsewhere"):
                launch([name, str(state.parent), "chatty"], state, PROMPT, print)
            assert (state.parent / "starts").read_text() == "x"
        finally:
            write_note(state, note)
    else:
        end_all(note.mark, 0.0)
        (state.parent / "go").touch()
        launch([name, str(state.parent), "chatty"], state, PROMPT, print)
        assert (state.parent / "starts").read_text() == "xx"


def test_the_supervisor_needs_the_standard_library_alone(project: Path) -> None:
    code = "import medmax_pipeline.launching.supervise, sys; print([n for n in sys.modules if n.startswith('pyarrow')])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_a_state_folder_is_absolute() -> None:
    with pytest.raises(ConfigError, match="must be absolute"):
        launch(["launched"], Path("launch"), PROMPT, print)


def test_the_state_of_a_launch_that_was_given_none_lies_beside_its_job(tmp_path: Path) -> None:
    job = tmp_path / "scores" / "job.json"
    job.parent.mkdir()
    job.write_text("{}")
    assert implied_state(["medmax_pipeline.eval", str(job), "--check"]) == job.parent / "launch"
    with pytest.raises(ConfigError, match="no job file"):
        implied_state(["medmax_pipeline.eval", "--check"])


def test_ending_what_was_never_launched_is_fine(tmp_path: Path) -> None:
    assert end(tmp_path) is None
    assert not (tmp_path / STATE).exists()
