"""Quirks of PMC-VQA, both versions."""

from __future__ import annotations

from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources import SOURCES, source
from tests.sources.adapting import adapting

V1 = SOURCES["pmc_vqa"]
V2 = source("pmc_vqa", "v2")


adapt, draft = adapting(V1)


def reason(**changes: Any) -> str:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    return made.reason


def adapt_v2(**changes: Any) -> Draft | Drop:
    made = V2.adapt({**V2.example, **changes})
    assert isinstance(made, Draft | Drop)
    return made


def test_the_question_is_asked_with_lettered_options_and_answered_with_the_letter() -> None:
    made = draft()
    assert made.turns[0].text == "<image>What uptake pattern is shown?\nA: Diffuse\nB: Focal\nC: Patchy\nD: None"
    assert (made.kind, made.turns[1].text, made.answer) == ("vqa_mcq", "A", "A")
    assert made.options == ("Diffuse", "Focal", "Patchy", "None")


@pytest.mark.parametrize(("split", "side"), [("train", "train"), ("test", "eval")])
def test_the_file_is_the_split(split: str, side: str) -> None:
    assert draft(split=split).split == side


def test_the_early_misspelling_is_an_answer_too() -> None:
    row = {"Anwser" if key == "Answer" else key: value for key, value in V1.example.items()}
    assert V1.adapt({**row, "Answer_label": '"'}) == draft()


@pytest.mark.parametrize("label", ['"', "", "AB", "E", "null"])
def test_an_unreadable_label_is_found_by_the_answers_text(label: str) -> None:
    assert draft(Answer_label=label, Answer="patchy.").answer == "C"
    assert draft(Answer_label=label, Answer=" B:Focal ").answer == "B"


def test_an_unreadable_label_with_an_answer_that_is_no_option_is_dropped() -> None:
    assert reason(Answer_label='"', Answer="Ring-like") == "label_unreadable"


def test_a_label_may_be_in_lower_case() -> None:
    assert draft(Answer_label=" a ").answer == "A"


def test_not_applicable_is_an_answer() -> None:
    made = draft(**{"Choice D": " D:N/A ", "Answer": "N/A", "Answer_label": '"'})
    assert (made.answer, made.options[3]) == ("D", "N/A")


def test_an_answer_that_lost_its_first_letters_is_known_by_its_label() -> None:
    assert draft(Answer="V:iffuse").answer == "A"


def test_an_answer_that_says_another_option_than_its_label_is_dropped() -> None:
    assert reason(Answer="Focal", Answer_label="A") == "answer_disagrees_with_label"


@pytest.mark.parametrize(
    ("option", "found"),
    [
        (" C:Focal ", "option_letter_wrong"),
        (" A) Focal", "option_letter_wrong"),
        ("Focal", "option_letter_missing"),
        (" B:diffuse. ", "options_repeat"),
        (" B: ", "option_empty"),
        ("", "option_empty"),
    ],
)
def test_an_option_that_fails_a_check_drops_its_row_by_name(option: str, found: str) -> None:
    assert reason(**{"Choice B": option}) == found


def test_a_point_behind_another_letter_is_part_of_a_name() -> None:
    assert draft(**{"Choice B": "B: C. difficile"}).options[1] == "C. difficile"


@pytest.mark.parametrize(
    "question",
    [' "What is it?" ', "\u201cWhat is it?\u201d", "What\u00a0is\u200ait? ", '""What is it?""'],
)
def test_quotation_marks_around_and_odd_blanks_leave_the_question(question: str) -> None:
    assert draft(Question=question).turns[0].text.startswith("<image>What is it?\nA: ")


def test_quotation_marks_inside_stay() -> None:
    assert draft(Question='"A" or "B"?').turns[0].text.startswith('<image>"A" or "B"?\n')


def test_pictures_are_named_by_their_base_name() -> None:
    assert draft(Figure_path="figures/PMC1_Fig1.jpg").images == (picture("PMC1_Fig1.jpg"),)


def test_another_question_on_one_figure_has_another_key() -> None:
    assert draft(Question="What colour?").key != draft().key
    assert draft(split="test").key != draft().key


@pytest.mark.parametrize(
    ("changes", "found"), [({"Question": ' " " '}, "question_empty"), ({"Figure_path": " "}, "image_not_named")]
)
def test_an_unusable_row_is_dropped_by_name(changes: dict[str, Any], found: str) -> None:
    assert reason(**changes) == found


def test_the_second_version_gives_the_letter_and_a_caption() -> None:
    made = adapt_v2(Answer="C")
    assert isinstance(made, Draft)
    assert (made.answer, made.context) == ("C", "Green stain in the cortex.")


def test_the_second_version_may_give_the_answers_text() -> None:
    made = adapt_v2(Answer=" B: Red ")
    assert isinstance(made, Draft)
    assert made.answer == "B"


def test_the_second_version_with_no_letter_is_dropped() -> None:
    made = adapt_v2(Answer='"')
    assert isinstance(made, Drop)
    assert made.reason == "label_unreadable"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "split is 'val'"),
        ({"Figure_path": 7}, "Figure_path is int"),
        ({"Choice A": []}, "found list"),
    ],
)
def test_a_value_of_another_shape_is_no_row_of_ours(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        adapt(**changes)


@pytest.mark.parametrize("name", ["Figure_path", "Question", "Answer", "Choice C"])
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(RowError, match=f"no {name} in the row"):
        V1.adapt({key: value for key, value in V1.example.items() if key != name})
