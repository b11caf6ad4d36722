"""`sample_author`: rules that write in a language model's place for the embedded build's interleaved set.

It repeats the caption in the form that the prompt asks for and knows no medicine; what it writes is shown under its
name. It reads the very messages that a model would get and its replies go through the same parser. Which rules there
are is `replies.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medmax_pipeline.interleave.prompt import CAPTION_LINE

if TYPE_CHECKING:
    from medmax_pipeline.models.endpoint import Message

WORDS_SHOWN: Final = 24
CHARACTERS_SHOWN: Final = 200
"""Of a caption that are repeated, so that a sequence fits the embedded recipe."""


def sample_author(messages: Sequence[Message]) -> str:
    """The caption as a question and three parts, as one JSON object; a refusal in words where there is no caption."""
    _, marked, caption = messages[-1].text.partition(CAPTION_LINE)
    said = " ".join(re.sub(r"[<>#]", " ", caption).split()[:WORDS_SHOWN])[:CHARACTERS_SHOWN]
    if not marked or len(said) < 3:
        return "There is no caption that sample_author could repeat."
    topic = " ".join(said.split()[:6]).rstrip(".,;:")
    return json.dumps(
        {
            "question": f"What would one see of this: {topic}?",
            "interpretation": f"The caption says: {said}",
            "analogy": "Read the picture as a map of these words.",
            "significance": "It is what the caption names.",
            "related": "The caption names none besides.",
            "reference": "The caption gives no range.",
            "next_steps": "Compare picture and words.",
        }
    )
