"""Prompts as versioned files."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.interleave.prompt import CAPTION_LINE, FOLDER, messages, read_prompt
from medmax_pipeline.interleave.reply import BOUNDS


def test_the_caption_comes_last_and_once() -> None:
    system, user = messages(read_prompt("v1"), "An odd {caption}\nof two lines.")
    assert (system.role, user.role) == ("system", "user")
    assert user.text.partition(CAPTION_LINE)[2] == "An odd {caption} of two lines."


def test_a_long_caption_is_shown_in_part() -> None:
    _, user = messages(read_prompt("v1"), "x" * 100_000)
    assert len(user.text) < 5000


def test_the_prompt_asks_for_every_field_that_is_read() -> None:
    assert all(f'"{name}"' in read_prompt("v1").system for name in BOUNDS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{caption}\n", "\n", "user must end"),
        ("system =", "systems =", "holds systems, user"),
        ('system = """', 'system = "', "not readable as TOML"),
    ],
)
def test_a_prompt_that_asks_for_nothing_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (FOLDER / "v1.toml").read_text()
    assert old in text
    (tmp_path / "odd.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_prompt("odd", tmp_path)


def test_an_unknown_prompt_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="are v1"):
        read_prompt("v0")
