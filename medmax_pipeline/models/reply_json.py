"""JSON out of replies that nobody here wrote: bounded in size and depth, one object, no key twice.

What the object must hold is said where it is read.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

DEEPEST: Final = 32
"""Brackets within brackets at most; ours, replies that mean something have three or four."""
LONGEST: Final = 4 << 20
"""Characters at most; ours."""


class NotJson(ValueError):
    """The text is no JSON object within the limits; the message says why."""


def read_object(text: str) -> dict[str, Any]:
    """The one JSON object that `text` is; a Markdown fence around it is taken off.

    Raises:
        NotJson: it is something else, nests too deep, is too long, names a key twice or holds NaN or infinity.
    """
    if len(text) > LONGEST:
        raise NotJson(f"{len(text)} characters, at most {LONGEST} are read")
    text = _without_fence(text.strip())
    if _depth(text) > DEEPEST:
        raise NotJson(f"more than {DEEPEST} brackets deep")
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse)
    except ValueError as error:
        raise NotJson(str(error)) from None
    if not isinstance(value, dict):
        raise NotJson(f"a {type(value).__name__} where an object is expected")
    return value


def _without_fence(text: str) -> str:
    """What stands between ```json and ```, where the whole text is such a block."""
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text.split("\n", 1)[1].removesuffix("```").strip()
    return text


def _depth(text: str) -> int:
    """Brackets within brackets at most, those inside strings left out."""
    deepest = depth = 0
    quoted = escaped = False
    for mark in text:
        if quoted:
            quoted = escaped or mark != '"'
            escaped = mark == "\\" and not escaped
        elif mark == '"':
            quoted = True
        elif mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NotJson("a key stands twice in one object")
    return made


def _refuse(constant: str) -> NoReturn:
    raise NotJson(f"{constant} is no JSON")
