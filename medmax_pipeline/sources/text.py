"""Words of upstream rows as clean text: what every adapter does to a string before it looks at it.

Nothing here knows a data set. Options of multiple-choice questions are `choices.py`, turns are `conversation.py`.
"""

from __future__ import annotations

from typing import Any, Final

from medmax_pipeline.errors import RowError

_ODD_BLANKS: Final = dict.fromkeys(map(ord, "\u200b\u200c\u200d\ufeff"))
"""Blanks without width; `str.split` knows the others, U+00A0 and U+200A among them."""


def is_missing(value: Any) -> bool:
    """Whether a value is no value: null or NaN. The strings `N/A`, `None` and `null` are text and not missing."""
    return value is None or value != value


def clean(value: Any) -> str:
    """A value as text with single blanks; numbers are answers too, a missing value is empty.

    Raises:
        RowError: it is a list or an object, which no text column holds.
    """
    if is_missing(value):
        return ""
    if isinstance(value, str | int | float):
        return " ".join(str(value).translate(_ODD_BLANKS).split())
    raise RowError(f"found {type(value).__name__} {str(value)[:80]!r} where a text or a number is expected.")


def lines(value: Any) -> str:
    """As `clean`, but the text keeps its line breaks: chats and reports are written in paragraphs."""
    if not isinstance(value, str):
        return clean(value)
    kept = [" ".join(line.translate(_ODD_BLANKS).split()) for line in value.strip().splitlines()]
    return "\n".join(kept)


def need(row: Any, *names: str) -> tuple[Any, ...]:
    """The values of those columns.

    Raises:
        RowError: one is missing, with the ones that are there.
    """
    absent = [name for name in names if name not in row]
    if absent:
        raise RowError(f"no {', '.join(absent)} in the row; it has {', '.join(map(str, row)) or 'nothing'}.")
    return tuple(row[name] for name in names)
