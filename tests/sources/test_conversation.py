"""Chats in both dialects as turns."""

from __future__ import annotations

from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Drop, Turn
from medmax_pipeline.sources.conversation import (
    CONVERSATION_BROKEN,
    CONVERSATION_EMPTY,
    IMAGES_IN_REPLY,
    TURN_EMPTY,
    read_turns,
)


def chat(*texts: str) -> list[dict[str, str]]:
    """Turns in the commoner dialect, the human first."""
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    "turns",
    [
        [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A lung."}],
        [{"role": "User", "content": "What?"}, {"role": "GPT", "content": "A lung."}],
        [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A lung."}],
    ],
)
def test_both_dialects_give_the_same_turns(turns: list[dict[str, str]]) -> None:
    assert read_turns(turns, 1) == (Turn("user", f"{IMAGE}What?"), Turn("assistant", "A lung."))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{IMAGE}\nWhat?", f"{IMAGE}What?"),
        (f"What?\n{IMAGE}", f"What?{IMAGE}"),
        ("What?", f"{IMAGE}What?"),
    ],
)
def test_a_mark_stays_where_it_stands_and_goes_first_where_there_is_none(text: str, expected: str) -> None:
    read = read_turns(chat(text, "A lung."), 1)
    assert not isinstance(read, Drop)
    assert read[0].text == expected


def test_several_pictures_without_marks_get_one_each() -> None:
    read = read_turns(chat("Compare.", "Alike."), 2)
    assert not isinstance(read, Drop)
    assert read[0].text == f"{IMAGE}{IMAGE}Compare."


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], CONVERSATION_EMPTY),
        (chat("What?"), CONVERSATION_BROKEN),
        (chat("What?", "A lung.", "And?"), CONVERSATION_BROKEN),
        (chat("What?", "A lung.")[::-1], CONVERSATION_BROKEN),
        (chat("What?", f"This: {IMAGE}"), IMAGES_IN_REPLY),
        (chat("What?", "  "), TURN_EMPTY),
        (chat(IMAGE, "A lung."), TURN_EMPTY),
    ],
)
def test_a_chat_that_cannot_teach_is_dropped_with_its_reason(turns: list[dict[str, str]], reason: str) -> None:
    read = read_turns(turns, 1)
    assert isinstance(read, Drop)
    assert read.reason == reason


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ("What?", "expected a list of turns"),
        (["What?"], "expected an object"),
        ([{"from": "doctor", "value": "What?"}], "speaker is 'doctor'"),
        ([{"from": 1, "value": "What?"}], "speaker is 1"),
        ([{"from": "human", "value": None}], "expected a string"),
        (chat(f"{IMAGE}{IMAGE}What?", "A lung."), "marks 2 pictures and its row names 1"),
    ],
)
def test_another_shape_is_a_row_error_that_says_what_was_found(turns: Any, told: str) -> None:
    with pytest.raises(RowError, match=told):
        read_turns(turns, 1)
