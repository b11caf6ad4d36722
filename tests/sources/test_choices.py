"""Options inside a prompt."""

from __future__ import annotations

import time

import pytest

from medmax_pipeline.sources.choices import lettered, options_in


@pytest.mark.parametrize("mark", [":", ")", "."])
def test_options_one_a_line_are_found_behind_their_letters(mark: str) -> None:
    assert options_in(f"What is it?\nA{mark} Liver \n B{mark}Lung (left)\n") == ("Liver", "Lung (left)")


def test_what_was_lettered_is_found_again() -> None:
    options = ("CT scan", "1) first", "E. coli")
    assert options_in(lettered("What is it?", options)) == options


@pytest.mark.parametrize(
    "prompt", ["", "What is it?", "What is it?\nA: Liver", "B: Lung\nC: Heart", "A: Liver\nC: Heart", "A: a B: b C: c"]
)
def test_options_written_otherwise_are_none(prompt: str) -> None:
    assert options_in(prompt) == ()


@pytest.mark.parametrize("filling", ["\n", " ", "A", "A:\n"])
def test_a_long_prompt_without_options_takes_no_time(filling: str) -> None:
    started = time.process_time()
    assert options_in(filling * 300_000) == ()
    assert time.process_time() - started < 5
