"""Quirks of the published evaluation set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, check_draft, picture
from medmax_pipeline.sources.medmax_eval_data import MAX_LITERAL_CHARS, SOURCE

MCQ = "What is shown?\nA: Liver\nB: Lung\nC: Heart\nD: Spleen\n"


def adapt(task: str, kind: str, prompt: str, answer: Any, image: Any = "images/a/1.jpg") -> Draft | Drop:
    values = {"task_name": task, "question_type": kind, "prompt": prompt, "answer": answer, "image_path": image}
    made = SOURCE.adapt(values)
    assert isinstance(made, Draft | Drop)
    if isinstance(made, Draft):
        check_draft(made)
        assert made.split == "eval"
    return made


def draft(*args: Any) -> Draft:
    made = adapt(*args)
    assert isinstance(made, Draft), made
    return made


def chat(answer: str, prompt: str = "What is it?\n<image>") -> Draft | Drop:
    return adapt("visual_chat", "conversation", prompt, answer)


@pytest.mark.parametrize(
    ("task", "kind", "answer", "ours"),
    [
        ("vqa_rad", "closed", "yes", "vqa_closed"),
        ("slake", "closed", "No ", "vqa_closed"),
        ("quilt_vqa", "closed", "left", "vqa_open"),
        ("pathvqa", "open", "the liver", "vqa_open"),
        ("vqa_rad", "open", "no", "vqa_open"),
        ("probmed", "closed", "no", "vqa_closed"),
    ],
)
def test_only_yes_and_no_are_closed(task: str, kind: str, answer: str, ours: str) -> None:
    made = draft(task, kind, "Is it?", answer)
    assert (made.kind, made.answer_type) == (ours, f"{task}/{kind}")
    assert made.turns[0].text == "<image>Is it?"


@pytest.mark.parametrize("task", ["pmc_vqa", "omnimed_vqa", "path_mmu"])
def test_options_inside_the_prompt_are_found_and_stay_there(task: str) -> None:
    made = draft(task, "mcq", MCQ, "b")
    assert (made.kind, made.options, made.answer) == ("vqa_mcq", ("Liver", "Lung", "Heart", "Spleen"), "B")
    assert made.turns[0].text == f"<image>{MCQ.strip()}"


def test_options_written_otherwise_are_left_in_the_prompt_alone() -> None:
    assert draft("pmc_vqa", "mcq", "Liver or lung?", "B").options == ()


@pytest.mark.parametrize(("answer", "reason"), [("Lung", "answer_not_a_letter"), ("E", "answer_not_an_option")])
def test_an_answer_that_is_no_option_is_dropped_by_name(answer: str, reason: str) -> None:
    made = adapt("pmc_vqa", "mcq", MCQ, answer)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize("answer", ["", None])
def test_captioning_without_a_reference_has_an_empty_reply_and_invents_none(answer: str | None) -> None:
    made = draft("image_captioning", "quilt", "unused", answer)
    assert (made.kind, made.answer, made.turns[1].text) == ("captioning", "", "")
    assert made.turns[0].text == "<image>Please describe this picture."


def test_captioning_keeps_a_reference_that_is_there() -> None:
    assert draft("image_captioning", "pmc_oa", "", "A lung.").answer == "A lung."


def test_generation_has_the_picture_in_the_reply() -> None:
    made = draft("image_generation", "pmc_oa", "A lung.", "")
    assert (made.kind, [turn.text for turn in made.turns]) == ("generation", ["A lung.", "<image>"])


@pytest.mark.parametrize(
    ("task", "kind"), [("image_captioning", "report_generation"), ("image_generation", "radiograph_generation")]
)
def test_report_rows_are_credentialed_and_no_others(task: str, kind: str) -> None:
    made = draft(task, "report", "Clear lungs.", "Clear lungs.")
    assert (made.kind, made.credentialed) == (kind, True)
    assert not draft(task, "quilt", "A gland.", "A gland.").credentialed


@pytest.mark.parametrize(
    ("answer", "reply"), [("Text.", "Text.\n<image>"), ("a) Text.\n<image>\nc) More.", "a) Text.\n<image>\nc) More.")]
)
def test_an_interleaved_reference_shows_its_picture_once(answer: str, reply: str) -> None:
    made = draft("mm_out", "anything", "Explain.", answer)
    assert (made.kind, made.turns[1].text) == ("interleaved", reply)


@pytest.mark.parametrize(("prompt", "marked"), [("<image>\nIt?", "<image>It?"), ("It?\n<image>", "It?<image>")])
def test_a_chats_mark_stays_at_its_end_of_the_prompt(prompt: str, marked: str) -> None:
    made = chat("{'gpt4_answer': 'A lung.'}", prompt)
    assert isinstance(made, Draft)
    assert made.turns[0].text == marked


def test_a_chats_answer_is_a_python_dict_with_what_a_judge_may_read() -> None:
    record = {
        "gpt4_answer": "A lung.",
        "fig_label": "Fig 1",
        "fig_caption": "Section (H & E).",
        "in_text_mention": [{"tokens": "As seen in Fig 1.", "entities": []}],
        "domain": {"chest_xray": False, "mri": False, "ct_scan": False, "histology": True, "gross": True},
    }
    made = chat(str(record))
    assert isinstance(made, Draft)
    assert (made.answer, made.modality) == ("A lung.", "histology")
    assert made.context == "Section (H & E).\nAs seen in Fig 1."
    assert json.loads(made.extra)["domains"] == ["histology", "gross"]


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os').getcwd()",
        "['a']",
        "{'gpt4_answer': open}",
        "{[]: 1}",
        "-" * 30_000 + "1",
        "[" * 5_000,
        "{'gpt4_answer': '\\ud800'}",
        "{'a': '" + "x" * MAX_LITERAL_CHARS + "'}",
        "",
    ],
    ids=["call", "list", "name", "unhashable", "signs", "brackets", "surrogate", "long", "empty"],
)
def test_a_chats_answer_that_is_no_plain_dict_is_refused(answer: str) -> None:
    with pytest.raises(RowError, match="answer is"):
        chat(answer)


def test_a_backslash_that_python_does_not_know_is_no_fault() -> None:
    made = chat(r"{'gpt4_answer': 'about 5 \mu m'}")
    assert isinstance(made, Draft)
    assert made.answer == r"about 5 \mu m"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("vqa_rad", "open", "", "x"), "question_empty"),
        (("vqa_rad", "open", "x", ""), "answer_empty"),
        (("image_generation", "quilt", "<image>", ""), "caption_empty"),
        (("vqa_rad", "open", "x", "y", None), "image_not_named"),
        (("visual_chat", "conversation", "x", "{'gpt4_answer': None}"), "answer_empty"),
    ],
)
def test_an_unusable_row_is_dropped_by_name(args: tuple[Any, ...], reason: str) -> None:
    made = adapt(*args)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize(
    ("task", "kind"), [("vqa_rad", "mcq"), ("visual_chat", ""), ("", "closed"), ("vqa_mcq", "mcq")]
)
def test_an_unknown_pair_of_task_and_type_is_no_row_of_ours(task: str, kind: str) -> None:
    with pytest.raises(RowError, match="no rule for this pair"):
        adapt(task, kind, "x", "y")


def test_the_picture_is_named_by_its_member() -> None:
    assert draft("slake", "open", "x", "y", "./images/a (1).jpg").images == (picture("images/a (1).jpg"),)
