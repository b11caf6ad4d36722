"""What an author's reply must be; what it becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmax_pipeline.interleave.reply import BOUNDS, Unreadable, Written, read_reply, turns
from tests.interleave.writing import GOOD


def reply(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


def reason(text: str, *, complete: bool = True) -> str:
    found = read_reply(text, complete=complete)
    assert isinstance(found, Unreadable)
    return found.reason


def test_a_reply_of_the_asked_form_is_read() -> None:
    assert read_reply(reply()) == Written(**GOOD)


def test_a_fence_around_the_object_is_no_fault() -> None:
    assert read_reply(f"```json\n{reply()}\n```") == Written(**GOOD)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "reply_not_json"),
        ("I would rather not.", "reply_not_json"),
        (f"Here it is: {reply()}", "reply_not_json"),
        (f"{reply()} {reply()}", "reply_not_json"),
        (reply()[:-1], "reply_not_json"),
        (f"[{reply()}]", "reply_not_json"),
        ("[" * 5000, "reply_not_json"),
        (reply()[:-1] + ', "question": "twice twice twice"}', "reply_not_json"),
        ("{}", "reply_wrong_fields"),
        (reply(more="x"), "reply_wrong_fields"),
        (reply(question=["What is it?"]), "reply_wrong_fields"),
        (reply(question=None), "reply_wrong_fields"),
        (reply(question="Why?"), "reply_out_of_bounds"),
        (reply(question=" " * 50), "reply_out_of_bounds"),
        (reply(related="x" * 601), "reply_out_of_bounds"),
        (reply(analogy="x" * 50_000), "reply_out_of_bounds"),
        (reply(analogy="Look at <image> and see."), "reply_forbidden_text"),
        (reply(analogy="Look. <reserved08706> See."), "reply_forbidden_text"),
        (reply(analogy="It ends </s> here."), "reply_forbidden_text"),
        (reply(interpretation="First part of it.\n#### c) Another part"), "reply_forbidden_text"),
        (reply(interpretation="Zero \x00 byte in the text."), "reply_forbidden_text"),
        (reply(interpretation="Half a character: \ud800 in the text."), "reply_forbidden_text"),
    ],
)
def test_anything_else_has_a_name(text: str, named: str) -> None:
    assert reason(text) == named


def test_a_reply_that_was_cut_off_is_not_read_even_if_it_could_be() -> None:
    assert reason(reply(), complete=False) == "reply_cut_off"


def test_smaller_than_is_no_tag() -> None:
    assert isinstance(read_reply(reply(reference="Normal is < 3 mm and > 1 mm.")), Written)


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize(("end", "past"), [(0, -1), (1, 1)])
def test_bounds_are_met_exactly(name: str, end: int, past: int) -> None:
    edge = BOUNDS[name][end]
    assert isinstance(read_reply(reply(**{name: "x" * edge})), Written)
    assert reason(reply(**{name: "x" * (edge + past)})) == "reply_out_of_bounds"


@given(st.text(max_size=200))
def test_no_text_is_a_crash(text: str) -> None:
    assert isinstance(read_reply(text), Unreadable)


def test_the_answer_has_three_parts_and_its_picture_at_the_second() -> None:
    asked, answered = turns(Written(**GOOD))
    assert (asked.role, asked.text) == ("user", GOOD["question"])
    heads = [line for line in answered.text.splitlines() if line.startswith("####")]
    assert [head[:7] for head in heads] == ["#### a)", "#### b)", "#### c)"]
    assert heads[1].endswith("<image>")
    assert answered.text.count("<image>") == 1
    assert all(text in answered.text for name, text in GOOD.items() if name != "question")


def test_a_point_stays_on_its_line() -> None:
    _, answered = turns(Written(**(GOOD | {"related": "One.\n- Two."})))
    assert "- **Related conditions:** One. - Two." in answered.text
