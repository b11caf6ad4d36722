"""Quirks of VQA-RAD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, ImageRef, picture
from medmax_pipeline.sample.layout import parquet
from medmax_pipeline.sources import SOURCES, source
from tests.ingest.landings import make
from tests.ingest.landings import picture as drawn


def adapt(**changes: Any) -> Draft:
    made = SOURCES["vqa_rad"].adapt({**SOURCES["vqa_rad"].example, **changes})
    assert isinstance(made, Draft)
    return made


@pytest.mark.parametrize(
    ("phrase", "split"),
    [("freeform", "train"), ("para", "train"), ("test_freeform", "eval"), ("test_para", "eval")],
)
def test_phrase_type_is_the_split(phrase: str, split: str) -> None:
    assert adapt(phrase_type=phrase).split == split


def test_an_unknown_phrase_type_is_no_row_of_ours() -> None:
    with pytest.raises(RowError, match="phrase_type is 'validation'"):
        adapt(phrase_type="validation")


def test_a_missing_key_is_named() -> None:
    row = {name: value for name, value in SOURCES["vqa_rad"].example.items() if name != "answer"}
    with pytest.raises(RowError, match="no answer in the row"):
        SOURCES["vqa_rad"].adapt(row)


@pytest.mark.parametrize("question", ["Is it so? -open", "Is it so? - open ", "Is it so?-OPEN", "Is  it\tso? "])
def test_the_open_mark_and_odd_blanks_leave_the_question(question: str) -> None:
    assert adapt(question=question).turns[0].text == "<image>Is it so?"


@pytest.mark.parametrize("answer", ["Yes", "yes ", "YES\t"])
def test_yes_in_any_case_is_closed_and_lower_case(answer: str) -> None:
    made = adapt(answer=answer, answer_type="OPEN")
    assert (made.kind, made.answer, made.turns[1].text, made.answer_type) == ("vqa_closed", "yes", "yes", "OPEN")


def test_a_closed_answer_other_than_yes_or_no_is_open_and_keeps_the_publishers_word_and_its_case() -> None:
    made = adapt(answer="Left ", answer_type="CLOSED ")
    assert (made.kind, made.answer, made.answer_type) == ("vqa_open", "Left", "CLOSED")


@pytest.mark.parametrize("changes", [{"image_name": "../synpic1.jpg"}, {"qid": ""}, {"answer": ["Yes"]}])
def test_a_path_no_number_or_a_list_is_no_row_of_ours(changes: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        adapt(**changes)


def test_the_picture_is_named_wherever_its_folder_lies() -> None:
    assert adapt(image_name="synpic00007.jpg").images == (picture("synpic00007.jpg"),)


def test_numbers_become_text() -> None:
    made = adapt(answer=3, qid=12)
    assert (made.answer, made.key) == ("3", "12")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": "  "}, "answer_empty"),
        ({"answer": None}, "answer_empty"),
        ({"question": ""}, "question_empty"),
        ({"image_name": "NULL"}, "image_not_named"),
    ],
)
def test_an_unusable_row_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = SOURCES["vqa_rad"].adapt({**SOURCES["vqa_rad"].example, **changes})
    assert isinstance(made, Drop)
    assert made.reason == reason


HUB = source("vqa_rad", "hub")


def adapt_copy(**changes: Any) -> Draft | Drop:
    made = HUB.adapt({**HUB.example, **changes})
    assert isinstance(made, Draft | Drop)
    return made


@pytest.mark.parametrize(("split", "ours"), [("train", "train"), ("test", "eval")])
def test_the_copys_split_is_its_files(split: str, ours: str) -> None:
    made = adapt_copy(split=split)
    assert isinstance(made, Draft)
    assert (made.split, made.kind, made.answer) == (ours, "vqa_closed", "no")
    assert made.images == (HUB.example["image"],)


def test_equal_questions_of_the_copy_about_two_pictures_have_two_keys() -> None:
    first, second = (adapt_copy(image=ImageRef("data/train-0.parquet", f"image/{row}")) for row in range(2))
    assert isinstance(first, Draft)
    assert isinstance(second, Draft)
    assert first.key != second.key


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"question": " "}, "question_empty"), ({"answer": None}, "answer_empty"), ({"image": None}, "image_not_named")],
)
def test_an_unusable_row_of_the_copy_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = adapt_copy(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize("changes", [{"split": "validation"}, {"split": ["train"]}, {"image": {"bytes": ""}}])
def test_another_shape_is_no_row_of_the_copy(changes: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        adapt_copy(**changes)


def test_the_copy_is_read_with_its_embedded_pictures(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {
        "image": [drawn(1), drawn(1), drawn(2), None],
        "question": ["Is it? -open", "Is it so?", "Is it?", "Is it?"],
        "answer": ["Yes", "two", "no", "no"],
    }
    folder = tmp_path / "vqa_rad" / "data"
    folder.mkdir(parents=True)
    (folder / "train-00000-of-00001-a.parquet").write_bytes(parquet(table))
    test = {name: values[2:3] for name, values in table.items()}
    (folder / "test-00000-of-00001-b.parquet").write_bytes(parquet(test))
    _, samples = make(tmp_path / "store", tmp_path, HUB)
    counts = samples.manifest.counts
    assert (counts.kept, dict(counts.dropped), dict(counts.quarantined)) == (4, {"image_not_named": 1}, {})
    made = pq.read_table(samples.folder / "samples.parquet")
    assert made["split"].to_pylist() == ["train", "train", "train", "eval"]
    assert len({image for images in made["images"].to_pylist() for image in images}) == 2
