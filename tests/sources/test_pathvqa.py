"""Quirks of PathVQA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.ingest.landing import find_lock
from medmax_pipeline.records import Drop, ImageRef
from medmax_pipeline.sources import SOURCES
from tests.sources.adapting import adapting

PATHVQA = SOURCES["pathvqa"]


adapt, draft = adapting(PATHVQA)


@pytest.mark.parametrize(("split", "side"), [("train", "train"), ("test", "eval")])
def test_the_file_is_the_split(split: str, side: str) -> None:
    assert draft(split=split).split == side


@pytest.mark.parametrize(
    ("answer", "kind", "answer_type"),
    [("yes", "vqa_closed", "CLOSED"), (" No", "vqa_closed", "CLOSED"), ("no nucleus", "vqa_open", "OPEN")],
)
def test_yes_and_no_alone_are_closed(answer: str, kind: str, answer_type: str) -> None:
    made = draft(answer=answer)
    assert (made.kind, made.answer_type) == (kind, answer_type)


def test_blanks_around_and_inside_texts_go() -> None:
    made = draft(question=" is  the nucleus shown? ", answer="in the  middle ")
    assert (made.turns[0].text, made.answer) == ("<image>is the nucleus shown?", "in the middle")


def test_the_picture_is_the_one_in_the_table() -> None:
    ref = ImageRef("data/test-00000-of-00003.parquet", "image/7")
    assert draft(image=ref).images == (ref,)


def test_equal_questions_on_two_pictures_have_two_keys() -> None:
    first, second = (draft(image=ImageRef("data/a.parquet", f"image/{row}")) for row in (0, 1))
    assert first.key != second.key
    assert first.key == draft(image=ImageRef("data/a.parquet", "image/0")).key


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"split": "validation"}, "split_validation"),
        ({"question": ""}, "question_empty"),
        ({"answer": " "}, "answer_empty"),
        ({"image": None}, "image_not_embedded"),
    ],
)
def test_an_unusable_row_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "split is 'val'"),
        ({"image": "train_0001"}, "image is str; expected a picture embedded"),
        ({"answer": {"yes": 1.0}}, "found dict"),
    ],
)
def test_a_value_of_another_shape_is_no_row_of_ours(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        adapt(**changes)


@pytest.mark.parametrize("name", ["image", "question", "answer"])
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(RowError, match=f"no {name} in the row"):
        PATHVQA.adapt({key: value for key, value in PATHVQA.example.items() if key != name})


def test_the_originals_pickles_alone_lock_the_source_and_the_cure_says_why(tmp_path: Path) -> None:
    pickle = tmp_path / "pathvqa" / "pvqa/qas/train/train_qa.pkl"
    pickle.parent.mkdir(parents=True)
    pickle.write_bytes(b"never opened")
    lock = find_lock(PATHVQA, tmp_path)
    assert lock is not None
    assert "none of the expected files" in lock.reason
    assert "The original's pickles are not loaded." in lock.cure
