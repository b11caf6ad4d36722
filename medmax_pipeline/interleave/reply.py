"""An author's reply as a question and a three-part answer with one picture; what cannot be read is told by name.

Untrusted text: one JSON object with exactly the fields of the prompt, each a text within its bounds, and nothing in it
that could pass for a picture's mark, for another part's heading or for one of the model's special words. Nothing is
mended or filled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from medmax_pipeline.models.reply_json import NotJson, read_object
from medmax_pipeline.records import IMAGE, Turn

NOT_JSON: Final = "reply_not_json"
WRONG_FIELDS: Final = "reply_wrong_fields"
OUT_OF_BOUNDS: Final = "reply_out_of_bounds"
FORBIDDEN_TEXT: Final = "reply_forbidden_text"
CUT_OFF: Final = "reply_cut_off"
LONGEST: Final = 20_000
"""Ours: characters of a reply; the fields together have 10,500 at most."""
_FORBIDDEN = re.compile(r"<[a-z/|][^<>]{0,40}>|^\s*#|\x00", re.IGNORECASE | re.MULTILINE)
"""Tags (the picture's mark and special words are written so) and lines that would be headings."""


class Bounds(NamedTuple):
    """Characters that a field may have."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Written:
    """What the author wrote; the fields are those of the prompt."""

    question: str
    interpretation: str
    analogy: str
    significance: str
    related: str
    reference: str
    next_steps: str


BOUNDS: Final[Mapping[str, Bounds]] = {
    "question": Bounds(10, 600),
    "interpretation": Bounds(20, 5000),
    "analogy": Bounds(10, 2500),
    "significance": Bounds(3, 600),
    "related": Bounds(3, 600),
    "reference": Bounds(3, 600),
    "next_steps": Bounds(3, 600),
}
"""Ours: wide enough for what the prompt asks, too narrow for a reply that rambles."""


class Unreadable(NamedTuple):
    """Why a reply is not used."""

    reason: str
    detail: str = ""


def read_reply(text: str, *, complete: bool = True) -> Written | Unreadable:
    """The author's reply, checked.

    Args:
        text: as it came.
        complete: whether the model ended by itself.
    """
    if not complete:
        return Unreadable(CUT_OFF, f"after {len(text)} characters")
    if len(text) > LONGEST:
        return Unreadable(OUT_OF_BOUNDS, f"{len(text)} characters, at most {LONGEST} are read")
    try:
        value = read_object(text)
    except NotJson as error:
        return Unreadable(NOT_JSON, str(error)[:200])
    return _checked(value)


def _checked(value: Mapping[str, Any]) -> Written | Unreadable:
    names = {item.name for item in fields(Written)}
    if value.keys() != names:
        odd = sorted(str(name)[:40] for name in value.keys() ^ names)
        return Unreadable(WRONG_FIELDS, f"missing or unknown: {', '.join(odd[:8])}")
    said: dict[str, str] = {}
    for name, bounds in BOUNDS.items():
        if not isinstance(value[name], str):
            return Unreadable(WRONG_FIELDS, f"{name} is {type(value[name]).__name__}, expected a text")
        said[name] = value[name].strip()
        if not bounds.least <= len(said[name]) <= bounds.most:
            return Unreadable(
                OUT_OF_BOUNDS, f"{name} has {len(said[name])} characters, not {bounds.least} to {bounds.most}"
            )
        found = _FORBIDDEN.search(said[name])
        if found:
            return Unreadable(FORBIDDEN_TEXT, f"{name} holds {found.group()!r}")
        try:
            said[name].encode()
        except UnicodeEncodeError:
            return Unreadable(FORBIDDEN_TEXT, f"{name} holds half a character")
    return Written(**said)


def turns(written: Written) -> tuple[Turn, Turn]:
    """The sample's two turns: the question, and the answer in three parts with the picture at the second."""
    points = (
        ("Significance", written.significance),
        ("Related conditions", written.related),
        ("What is normal", written.reference),
        ("Next steps", written.next_steps),
    )
    answer = "\n".join(
        (
            "#### a) Interpretation",
            written.interpretation,
            f"#### b) Picture {IMAGE}",
            written.analogy,
            "#### c) Key points",
            *(f"- **{name}:** {' '.join(text.split())}" for name, text in points),
        )
    )
    return Turn("user", written.question), Turn("assistant", answer)
