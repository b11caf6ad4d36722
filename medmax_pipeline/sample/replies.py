"""Rules that answer in a language model's place in the embedded build, each named for what it is.

They read the very messages that a model would get and write what the same parsers read. They judge by shared words and
know nothing of medicine: what they say is shown under their name and never under a model's. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from medmax_pipeline.eval.judge_prompts import correct_parts, pair_parts
from medmax_pipeline.models.endpoint import Message, Rules
from medmax_pipeline.sample.author import sample_author

ENOUGH: Final = 0.5
"""Share of the reference's words that make an answer good enough for `sample_judge`."""


def sample_judge(messages: Sequence[Message]) -> str:
    """A verdict by shared words, in the form that the message asks for.

    Right or wrong: 1 where at least half of the reference's words stand in the candidate. A pair: each answer gets 1
    to 10 by the share of the words of context and question that it uses.
    """
    asked = messages[-1].text
    single = correct_parts(asked)
    if single is not None:
        return f"Correctness: {int(_share(single.reference, single.candidate) >= ENOUGH)}"
    pair = pair_parts(asked)
    if pair is not None:
        known = f"{pair.context} {pair.question}"
        first, second = (1 + round(9 * _share(known, answer)) for answer in (pair.first, pair.second))
        return f"{first} {second}\nBy the share of the words of context and question that each answer uses."
    return "This is no question that sample_judge has a rule for."


def _share(wanted: str, said: str) -> float:
    """Share of the wanted words that were said."""
    words = _words(wanted)
    return len(words & _words(said)) / len(words) if words else 0.0


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


RULES: Final[Mapping[str, Rules]] = {
    "sample_author": Rules(sample_author, "1"),
    "sample_judge": Rules(sample_judge, "1"),
}
"""By the name that an endpoint of kind `sample` gives as its model. The version is raised when a reply changes."""
