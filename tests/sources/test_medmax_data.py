"""Quirks of the published training set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Drop, picture
from medmax_pipeline.sources.medmax_data import SEPARATOR, SOURCE
from tests.sources.adapting import adapting

MCQ = "<image>What is torn?\nA: Ligament\nB: Meniscus"


adapt, draft = adapting(SOURCE)


def reason(**changes: Any) -> str:
    made = adapt(**changes)
    assert isinstance(made, Drop), made
    return made.reason


def text(prompt: str, response: str) -> str:
    return f"{prompt}{SEPARATOR}{response}"


def test_the_text_is_kept_to_the_letter() -> None:
    made = draft(text=text(" Is  it?\n<image> ", " Yes. \n"))
    assert [turn.text for turn in made.turns] == [" Is  it?\n<image> ", " Yes. \n"]
    assert (made.kind, made.answer) == ("vqa_closed", "yes")


@pytest.mark.parametrize("lacking", [{}, {"image_path": None, "tokens": None}, {"image_path": "", "tokens": []}])
@pytest.mark.parametrize("word", ["yes", "YES", "Yes "])
def test_a_credentialed_row_without_its_picture_is_dropped_whatever_form_the_lack_has(
    lacking: dict[str, Any], word: str
) -> None:
    row = {name: value for name, value in SOURCE.example.items() if name not in ("image_path", "tokens")}
    made = SOURCE.adapt(row | lacking | {"credential": word})
    assert made == Drop("credentialed_picture_not_shipped")


def test_a_credentialed_row_with_its_picture_is_marked() -> None:
    assert draft(credential="YES").credentialed
    assert not draft(credential="NO").credentialed


@pytest.mark.parametrize(
    ("task", "value", "kind"),
    [
        ("Visual Chat", text("<image>What is it?", "A lung."), "visual_chat"),
        ("VISUAL_CHAT", text("What is it?<image>", "A lung."), "visual_chat"),
        ("image captioning", text("<image>Describe.", "A lung."), "captioning"),
        ("Image Generation", text("A lung.", "<image>"), "generation"),
        ("Multimodal Generation", text("Show a lung.", "#### a)\nText <image>\n#### c)"), "interleaved"),
        ("Report Understanding", text("<image>Report.", "Clear."), "report_generation"),
        ("report-understanding", text("Clear.", "<image>"), "radiograph_generation"),
        ("vqa", text("<image>What is it?", "A lung."), "vqa_open"),
    ],
)
def test_the_task_and_the_pictures_place_are_the_kind(task: str, value: str, kind: str) -> None:
    assert draft(task=task, text=value).kind == kind


@pytest.mark.parametrize("answer", ["B: Meniscus", "B"])
def test_a_choice_is_known_by_its_lettered_options(answer: str) -> None:
    made = draft(text=text(MCQ, answer))
    assert (made.kind, made.options, made.answer) == ("vqa_mcq", ("Ligament", "Meniscus"), "B")


@pytest.mark.parametrize("answer", ["E: Bone", "Meniscus"])
def test_an_answer_that_names_no_option_leaves_the_question_open(answer: str) -> None:
    assert draft(text=text(MCQ, answer)).kind == "vqa_open"


def test_two_rows_of_one_picture_have_two_keys() -> None:
    assert draft(text=text("<image>Is it?", "No.")).key != draft(text=text("<image>Is it so?", "No.")).key


def test_a_picture_marked_twice_is_shown_twice() -> None:
    made = draft(text=text("<image>As in <image>?", "No."))
    assert made.images == (picture("images/vqa_rad/synpic00001.jpg"),) * 2


def test_a_chat_alternates_between_separators() -> None:
    value = SEPARATOR.join(("<image>What is it?", "A lung.", "Whose?", "Unknown."))
    made = draft(task="visual chat", text=value)
    assert [turn.role for turn in made.turns] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("mark", ["<sep>", "</s>", "<reserved08705>"])
def test_another_separator_is_refused_and_named(mark: str) -> None:
    with pytest.raises(RowError, match=rf"0 times the separator.*{mark}"):
        adapt(text=f"<image>Is it?{mark}No.")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"split": "validation"}, "split_validation"),
        ({"image_path": None}, "image_not_named"),
        ({"text": text("Is it?", "No.")}, "image_not_marked"),
        ({"text": text("Is it?", "<image>")}, "image_in_unexpected_place"),
        ({"task": "multimodal generation", "text": text("<image>Again.", "<image>")}, "image_in_unexpected_place"),
        ({"text": text("<image>Is it?", " ")}, "turn_empty"),
    ],
)
def test_an_unusable_row_is_dropped_by_name(changes: dict[str, Any], expected: str) -> None:
    assert reason(**changes) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "Segmentation"},
        {"credential": "maybe"},
        {"credential": None},
        {"text": None},
        {"text": text("<image>a", "b") + SEPARATOR + "c"},
        {"image_path": ["a.jpg"]},
        {"split": "test"},
    ],
)
def test_another_shape_is_no_row_of_ours(changes: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        adapt(**changes)


def test_where_a_row_came_from_is_kept() -> None:
    assert json.loads(draft().extra) == {"task": "VQA", "source": "VQA-RAD"}
