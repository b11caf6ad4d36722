"""Words of upstream rows as clean text."""

from __future__ import annotations

import math

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.sources.text import clean, is_missing, lines, need


@pytest.mark.parametrize("value", ["N/A", "NA", "None", "null", "nan", "", 0, False])
def test_what_looks_like_nothing_is_still_a_value(value: object) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize("value", [None, math.nan])
def test_null_and_nan_are_missing_and_clean_to_nothing(value: object) -> None:
    assert is_missing(value)
    assert clean(value) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("  two  words \t\n", "two words"),
        ("no\u00a0break and\u200ahair", "no break and hair"),
        ("\ufeffmark\u200b", "mark"),
        (7, "7"),
        (0.5, "0.5"),
        ("N/A", "N/A"),
    ],
)
def test_blanks_of_every_kind_become_one_and_numbers_become_text(value: object, expected: str) -> None:
    assert clean(value) == expected


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"bytes"])
def test_a_list_or_an_object_is_no_text(value: object) -> None:
    with pytest.raises(RowError, match="where a text or a number is expected"):
        clean(value)


def test_lines_keep_their_breaks_and_lose_their_margins() -> None:
    assert lines("  first  line \r\n\n second\u00a0one  \n") == "first line\n\nsecond one"


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(RowError, match=r"no answer in the row; it has question, image"):
        need({"question": "q", "image": "i"}, "question", "answer")


def test_needed_columns_come_in_the_order_asked_for() -> None:
    assert need({"a": 1, "b": 2}, "b", "a") == (2, 1)
