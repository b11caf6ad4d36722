"""The embedded author: rules under their own name, through the messages and the parser of a real one."""

from __future__ import annotations

import pytest

from medmax_pipeline.interleave.prompt import messages, read_prompt
from medmax_pipeline.interleave.reply import NOT_JSON, Unreadable, Written, read_reply
from medmax_pipeline.models.endpoint import Message
from medmax_pipeline.sample.author import sample_author


@pytest.mark.parametrize(
    "caption", ["A knee.", "x" * 5000, "Odd <image> # marks <b>", "Two\nlines. " * 300, "\u00e9\u4e2d"]
)
def test_what_it_writes_can_be_read(caption: str) -> None:
    written = read_reply(sample_author(messages(read_prompt("v1"), caption * 2)))
    assert isinstance(written, Written)


def test_it_repeats_the_caption_and_adds_nothing() -> None:
    written = read_reply(sample_author(messages(read_prompt("v1"), "Axial CT of the liver.")))
    assert isinstance(written, Written)
    assert written.interpretation == "The caption says: Axial CT of the liver."


def test_without_a_caption_it_says_so_and_that_is_no_sample() -> None:
    read = read_reply(sample_author((Message("user", "Write something."),)))
    assert isinstance(read, Unreadable)
    assert read.reason == NOT_JSON
