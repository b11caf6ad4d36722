"""Evaluations called by hand: the same records as a job gives, and loud words where something is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from medmax_pipeline.arrow import IMAGE_SCHEMA, samples_to_table
from medmax_pipeline.eval.__main__ import main
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.records import ITEMS, read_records
from medmax_pipeline.files import write_bytes, write_table
from tests.eval.conftest import CLOSED, World
from tests.report.conftest import PICTURE, drawn

KEY = "vqa_rad/closed"


def call(world: World, out: Path, *more: str, tasks: str = KEY, samples: str = "vqa_rad") -> int:
    """Call the module on the world's model."""
    given = {
        "--checkpoint": world.model,
        "--tasks": tasks,
        "--samples": world.root / samples,
        "--image-tokenizer": world.vqgan,
        "--codes": world.codes,
        "--out": out,
        "--name": "tiny",
        "--device": "cpu",
    }
    return main([*(str(each) for pair in given.items() for each in pair), *more])


def test_a_call_by_hand_leaves_records_and_says_the_figures(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(world, tmp_path, "--limit", "6") == 0
    records = read_records(tmp_path / KEY / ITEMS)
    assert [each.item_id for each in records] == sorted(each.sample_id for each in CLOSED)[:6]
    told = capsys.readouterr().out
    assert f"{KEY}  accuracy_strict  " in told
    assert "6 of 6 items" in told
    scores = {row["metric"]: row for row in json.loads((tmp_path / KEY / "scores.json").read_text()) if not row["part"]}
    assert scores["accuracy_strict"]["n_scored"] == 6


def test_the_same_call_again_loads_no_model(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(world, tmp_path, "--limit", "6") == 0
    before = read_records(tmp_path / KEY / ITEMS)

    def no_model(*args: object, **more: object) -> Engine:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Engine, "load", no_model)
    assert call(world, tmp_path, "--limit", "6") == 0
    assert read_records(tmp_path / KEY / ITEMS) == before


def test_what_a_judge_would_say_is_told_as_locked(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDMAX_TEST_KEY", raising=False)
    more = ("--limit", "2", "--judge", "some-model", "--judge-key", "MEDMAX_TEST_KEY")
    assert call(world, tmp_path, *more, tasks="vqa_rad/open") == 0
    told = capsys.readouterr().out
    assert "judge_correct@some-model  locked: some-model: neither MEDMAX_TEST_KEY" in told


def test_pictures_without_codes_are_encoded_where_their_files_are(world: World, tmp_path: Path) -> None:
    place = {"folder": "vqa_rad", "file": "a.png", "member": "", "kind": "loose", "offset": 0, "packed": 0, "crc": 0}
    row = dict.fromkeys(IMAGE_SCHEMA.names) | {
        "image_id": PICTURE,
        "source": "vqa_rad",
        "bytes": len(drawn(7)),
        **place,
    }
    write_table(tmp_path / "vqa_rad" / "images.parquet", pa.Table.from_pylist([row], schema=IMAGE_SCHEMA))
    asked = replace(CLOSED[0], images=(PICTURE,))
    write_table(tmp_path / "vqa_rad" / "samples.parquet", samples_to_table([asked]))
    write_bytes(tmp_path / "landing" / "vqa_rad" / "a.png", drawn(7))
    more = ("--samples", str(tmp_path / "vqa_rad"), "--codes", str(tmp_path / "codes"))
    assert call(world, tmp_path / "without", *more) == 0
    assert read_records(tmp_path / "without" / KEY / ITEMS)[0].unscored == "image_without_codes"
    assert call(world, tmp_path / "with", *more, "--landing", str(tmp_path / "landing")) == 0
    assert read_records(tmp_path / "with" / KEY / ITEMS)[0].unscored == ""


@pytest.mark.parametrize(
    ("tasks", "samples", "told"),
    [
        ("vqa_rad/shut", "vqa_rad", "no such task. Known: "),
        ("slake/open", "vqa_rad", "slake/open: asks samples of slake or medmax_eval_data, --samples gives vqa_rad"),
        (KEY, "text", "no samples.parquet there"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_cure(
    tasks: str, samples: str, told: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(world, tmp_path, tasks=tasks, samples=samples) == 1
    assert told in capsys.readouterr().err


def test_a_folder_without_a_model_is_refused(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(world, tmp_path, "--checkpoint", str(tmp_path / "nowhere")) == 1
    assert "expected a transformers folder" in capsys.readouterr().err


def test_a_call_without_its_arguments_says_which_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tasks", KEY]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in ("--checkpoint", "--samples", "--out", "--image-tokenizer"))


def test_help_names_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert KEY in capsys.readouterr().out
