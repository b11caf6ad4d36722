"""Chats in both dialects of the field, `from/value` and `role/content`, as turns.

Turns must alternate from the user on; a chat that breaks off or holds an empty reply is dropped with a reason and never
mended. Marks of pictures stay where they stand; those that a publisher leaves out go before the first question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Drop, Role, Turn
from medmax_pipeline.sources.text import lines

SPEAKERS: Final[Mapping[str, Role]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
"""Names of speakers in lower case; both dialects write them in any case."""
CONVERSATION_EMPTY: Final = "conversation_empty"
CONVERSATION_BROKEN: Final = "conversation_does_not_alternate"
TURN_EMPTY: Final = "turn_empty"
IMAGES_IN_REPLY: Final = "image_mark_in_reply"


def read_turns(conversation: Any, images: int) -> tuple[Turn, ...] | Drop:
    """A chat about `images` pictures.

    Args:
        conversation: list of `{from, value}` or `{role, content}`.
        images: pictures of the row; where the text marks none, the marks go before the first question.

    Raises:
        RowError: it is no list of such objects, a speaker is unknown, or it marks another number of pictures.
    """
    if not isinstance(conversation, list):
        raise RowError(f"conversation is {type(conversation).__name__}; expected a list of turns.")
    said = [_turn(item) for item in conversation]
    if not said:
        return Drop(CONVERSATION_EMPTY)
    if [turn.role for turn in said] != ["user", "assistant"] * (len(said) // 2):
        return Drop(CONVERSATION_BROKEN, " ".join(turn.role for turn in said[:8]))
    if any(turn.role == "assistant" and IMAGE in turn.text for turn in said):
        return Drop(IMAGES_IN_REPLY)
    if not all(turn.text.replace(IMAGE, "").strip() for turn in said):
        return Drop(TURN_EMPTY)
    marks = sum(turn.text.count(IMAGE) for turn in said)
    if marks not in (0, images):
        raise RowError(f"the chat marks {marks} pictures and its row names {images}.")
    if marks == 0:
        said[0] = Turn("user", IMAGE * images + said[0].text)
    return tuple(said)


def _turn(item: Any) -> Turn:
    if not isinstance(item, Mapping):
        raise RowError(f"a turn is {type(item).__name__}; expected an object with from and value, or role and content.")
    speaker = item.get("from", item.get("role"))
    text = item.get("value", item.get("content"))
    role = SPEAKERS.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise RowError(f"speaker is {speaker!r}; expected one of {', '.join(SPEAKERS)}.")
    if not isinstance(text, str):
        raise RowError(f"a turn's text is {type(text).__name__}; expected a string.")
    words = lines(text)
    for torn in (f"{IMAGE}\n", f"\n{IMAGE}"):
        words = words.replace(torn, IMAGE)
    return Turn(role, words)
