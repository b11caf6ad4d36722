"""Options of multiple-choice questions: cleaned, lettered, and the right one found.

Publishers prefix options with letters or not, repeat them, and name the right one by letter or by text. The published
evaluation asks with one option a line behind its letter and expects the letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from medmax_pipeline.sources.text import clean

LETTERS: Final = "ABCDEFGHIJ"
_LINE = re.compile(r"^[ \t]*\(?[A-J][ \t]*[:.)][ \t]*\S.*$", re.MULTILINE)
_PREFIX = re.compile(r"^\(?([A-Ja-j])\s*([:.)])\s*")


def read_option(text: object, letter: str) -> str:
    """An option without its letter: `" B: CT scan "` and `"B) CT scan"` are `"CT scan"`.

    Args:
        text: as published.
        letter: that of its place. Behind another letter only `:` and `)` are taken for a prefix, so that `C. difficile`
            keeps its name in place A.
    """
    words = clean(text)
    found = _PREFIX.match(words)
    if found and (found.group(2) != "." or found.group(1).upper() == letter):
        return words[found.end() :]
    return words


def letter_before(text: object) -> str:
    """The letter that an option or answer opens with, in upper case; empty where it opens with none."""
    found = _PREFIX.match(clean(text))
    return found.group(1).upper() if found else ""


def options_in(prompt: str) -> tuple[str, ...]:
    """The options inside a prompt, one a line behind the letters from A on; none where they are written otherwise."""
    found = [match.group(0) for match in _LINE.finditer(prompt)]
    if len(found) < 2 or "".join(map(letter_before, found)) != LETTERS[: len(found)]:
        return ()
    return tuple(read_option(line, letter) for line, letter in zip(found, LETTERS, strict=False))


def lettered(question: str, options: Sequence[str]) -> str:
    """The question with one option a line: `What is shown?\\nA: Liver\\nB: Lung`."""
    return "\n".join([question, *(f"{letter}: {option}" for letter, option in zip(LETTERS, options, strict=False))])


def find_letter(answer: object, options: Sequence[str]) -> str:
    """The letter of the first option that says what `answer` says, but for case, blanks and a final dot; else empty."""
    wanted = _plain(answer)
    for letter, option in zip(LETTERS, options, strict=False):
        if wanted and _plain(option) == wanted:
            return letter
    return ""


def _plain(text: object) -> str:
    return clean(text).rstrip(".").strip().casefold()
