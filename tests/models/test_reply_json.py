"""JSON out of replies: one object within limits, or a reason."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmax_pipeline.models.reply_json import DEEPEST, LONGEST, NotJson, read_object


@pytest.mark.parametrize("text", ['{"a": 1}', ' \n{"a": 1}\n', '```json\n{"a": 1}\n```', '```\n{"a": 1}```'])
def test_an_object_is_read_with_or_without_a_fence(text: str) -> None:
    assert read_object(text) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("yes", "Expecting value"),
        ("[1]", "a list"),
        ("null", "a NoneType"),
        ('{"a": 1} {"a": 2}', "Extra data"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": {"b": 1, "b": 1}}', "twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1', "Expecting"),
        ("{'a': 1}", "Expecting"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "deep"),
        ('{"a": "' + "x" * LONGEST + '"}', "characters"),
    ],
    ids=range(15),
)
def test_what_is_no_such_object_is_named(text: str, told: str) -> None:
    with pytest.raises(NotJson, match=told):
        read_object(text)


def test_brackets_inside_strings_are_no_depth() -> None:
    text = '{"a": "' + "[" * 100 + '\\"' + "{" * 100 + '\\\\"}'
    assert read_object(text)["a"] == "[" * 100 + '"' + "{" * 100 + "\\"


@given(st.text(alphabet='{}[]",:\\a1 \n`', max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_an_object_or_a_reason(text: str) -> None:
    with suppress(NotJson):
        assert isinstance(read_object(text), dict)
