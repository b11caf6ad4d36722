"""Quirks of OmniMedVQA."""

from __future__ import annotations

from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.sources.omnimed_vqa import HELD_OUT_PERCENT, split_of

OMNIMED = SOURCES["omnimed_vqa"]


def adapt(row: dict[str, Any] | None = None, **changes: Any) -> Draft | Drop:
    made = OMNIMED.adapt({**(row or OMNIMED.example), **changes})
    assert isinstance(made, Draft | Drop)
    return made


def draft(row: dict[str, Any] | None = None, **changes: Any) -> Draft:
    made = adapt(row, **changes)
    assert isinstance(made, Draft)
    return made


def without(*names: str) -> dict[str, Any]:
    return {key: value for key, value in OMNIMED.example.items() if key not in names}


def test_a_restricted_row_is_dropped_by_name() -> None:
    made = adapt(part="Restricted-access")
    assert isinstance(made, Drop)
    assert made.reason == "restricted_images_not_shipped"


@pytest.mark.parametrize("right", ["CT scan", "CT scan.", " ct  SCAN "])
def test_the_letter_is_that_of_the_option_that_says_the_answer(right: str) -> None:
    made = draft(gt_answer=right)
    assert (made.kind, made.answer, made.turns[1].text) == ("vqa_mcq", "B", "B")


def test_of_two_equal_options_the_first_is_right() -> None:
    assert draft(option_D="CT scan").answer == "B"


def test_an_answer_that_is_no_option_is_dropped_by_name() -> None:
    made = adapt(gt_answer="PET")
    assert isinstance(made, Drop)
    assert made.reason == "answer_not_an_option"


def test_a_question_may_have_two_options() -> None:
    made = draft(without("option_C", "option_D"))
    assert made.options == ("MRI", "CT scan")
    assert made.turns[0].text == "<image>What imaging technique was used?\nA: MRI\nB: CT scan"


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_options_without_text_at_the_end_are_not_there(nothing: str | None) -> None:
    assert draft(option_C=nothing, option_D=nothing).options == ("MRI", "CT scan")


@pytest.mark.parametrize("changes", [{"option_A": ""}, {"option_C": " "}, {"option_B": None}])
def test_an_option_without_text_before_others_drops_its_row(changes: dict[str, Any]) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == "option_empty"


def test_modality_stands_under_either_name() -> None:
    assert draft({**without("modality_type"), "modality": "X-Ray"}).modality == "X-Ray"
    assert draft().modality == "CT(Computed Tomography)"


def test_a_path_with_blanks_and_parentheses_stays_as_it_is() -> None:
    path = "Images/Chest CT Scan/test/normal/7  (6).png"
    assert draft(image_path=path).images == (picture(path),)


def test_questions_on_one_picture_share_its_split() -> None:
    for number in range(50):
        path = f"Images/Set/{number}.png"
        splits = {draft(image_path=path, question_id=f"Set_{place}").split for place in range(3)}
        assert splits == {split_of(path)}


def test_about_the_stated_share_of_pictures_is_held_out() -> None:
    held = sum(split_of(f"Images/Set/{number}.png") == "eval" for number in range(5000))
    assert held / 50 == pytest.approx(HELD_OUT_PERCENT, abs=1.5)


def test_the_split_of_a_picture_never_changes() -> None:
    held = [number for number in range(100) if split_of(f"Images/Set/{number}.png") == "eval"]
    assert held == [9, 16, 31, 35, 36, 40, 44, 48]


def test_an_empty_question_is_dropped_by_name() -> None:
    made = adapt(question="")
    assert isinstance(made, Drop)
    assert made.reason == "question_empty"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": "Images"}, "the row is of part 'Images'"),
        ({"image_path": ["a.png"]}, "image_path"),
        ({"image_path": "/"}, "image_path '/'"),
        ({"question_id": None}, "question_id is None"),
        ({"option_A": ["MRI"]}, "found list"),
        ({"gt_answer": {}}, "found dict"),
    ],
)
def test_a_value_of_another_shape_is_no_row_of_ours(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        adapt(**changes)


@pytest.mark.parametrize("name", ["question_id", "image_path", "question", "gt_answer", "option_A", "option_B"])
def test_a_missing_key_is_named(name: str) -> None:
    with pytest.raises(RowError, match=f"no {name} in the row"):
        OMNIMED.adapt(without(name))
