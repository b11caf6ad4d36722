"""`medmax launched`: what runs although nobody watches it, and ending it by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medmax_pipeline import cli
from medmax_pipeline.launching.launch import end
from medmax_pipeline.launching.living import end_all
from medmax_pipeline.launching.state import read_note
from tests.launching.conftest import Write, kill, left, wait_for, watch
from tests.launching.test_local import PATIENT

KEY = "checkpoint/sample"


@pytest.fixture
def forgotten(module: Write, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training in a work folder as the ledger makes it, whose orchestrator was killed: its state folder."""
    monkeypatch.setenv("MEDMAX_STORE", str(store))
    work = store / "work" / KEY / ("f" * 32)
    state = work / "state" / "launch"
    state.mkdir(parents=True)
    (work / "lock").touch()
    watcher = watch(module(PATIENT), state, str(state.parent))
    assert wait_for((state.parent / "begun").exists), kill(watcher)
    kill(watcher)
    return state


def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: str) -> str:
        assert cli.main(["launched", *words]) == 0
        return capsys.readouterr().out

    return run


def test_a_forgotten_launch_is_listed_and_ended_by_its_assets_key(
    forgotten: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = told(capsys)
    try:
        assert wait_for(lambda: "before" in (forgotten / "output.log").read_text())
        first, second = run().splitlines()
        assert first.startswith("checkpoint/sample  local  running  since 20")
        assert second == "    before"
        (item,) = map(json.loads, run("--json").splitlines())
        assert (item["key"], item["kind"], item["status"]) == (KEY, "local", "running")
        assert run("--stop", KEY).startswith("checkpoint/sample  local  ended: terminated")
        assert not left(forgotten)
        assert run().startswith("checkpoint/sample  local  ended: terminated")
    finally:
        end(forgotten)


def test_a_launch_that_vanished_is_listed_as_such(forgotten: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = read_note(forgotten)
    assert note is not None
    end_all(note.mark, 0.0)
    assert told(capsys)().startswith("checkpoint/sample  local  vanished")


def test_a_store_without_launches_says_so_and_a_wrong_key_names_what_is_there(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDMAX_STORE", str(store))
    assert told(capsys)() == "Nothing is launched.\n"
    assert cli.main(["launched", "--stop", KEY]) == 2
    assert "checkpoint/sample: nothing of it is launched" in capsys.readouterr().err
