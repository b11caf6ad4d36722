"""A language model as a judge of answers: whole batches in, one verdict an item out, in their order.

A verdict is what was read, or None with a reason: nothing is guessed and nothing is left out. A reply that cannot be
read is asked for once more, then the item stays unscored. What is asked and how replies are read is `judge_prompts.py`;
sending, keeping and paying is `models/endpoint.py`; which items are judged belongs to the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from medmax_pipeline.config import Endpoint
from medmax_pipeline.eval.judge_prompts import (
    ASK_CORRECT_AGAIN,
    ASK_PAIR_AGAIN,
    PROMPTS_VERSION,
    CorrectParts,
    PairParts,
    Scores,
    correct_messages,
    pair_messages,
    read_correct,
    read_correct_compat,
    read_scores,
    read_scores_compat,
)
from medmax_pipeline.files import Json
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.endpoint import Chat, Message, Refused, Reply, Request, identity_of, open_chat

CUT: Final = "judge_cut"
"""The reply ended at the endpoint's `max_tokens`."""
NO_JUDGE: Final = Lock(
    "This build names no judge.",
    "Name an endpoint under [endpoints] and set evaluation.judge to its name.",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAnswer:
    """An answer to an open question, beside its reference."""

    item_id: str
    question: str
    reference: str
    candidate: str
    """As the model wrote it; its case is kept."""
    credentialed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """An answer to be compared with a reference answer, with what a judge may know of the picture."""

    item_id: str
    question: str
    context: str
    reference: str
    candidate: str
    credentialed: bool


class Verdict(NamedTuple):
    """What was read of a judge's replies. None is unknown, never zero."""

    value: float | None
    """Strict. `correct`: 0.0 or 1.0. `compare`: the candidate's score in percent of the reference's, the mean of both
    orders."""
    compat: float | None
    """By the reference implementation's reading of the first reply; of the order with the reference first."""
    reason: str
    """Why `value` is None, by name; empty where it is known."""
    replies: tuple[str, ...]
    """All that the judge said, in the order in which it was asked."""


class _Read(NamedTuple):
    """What came of one question: the replies, the strict reading or its fault, and the first reply."""

    replies: tuple[str, ...]
    value: Scores | float | None
    reason: str


class Judge:
    """A judge that can be asked; made by `open_judge`."""

    name: str
    """The judge's model, under which its scores are filed."""
    identity: dict[str, Json]
    """All that a verdict depends on but the item: model, its settings, version of the prompts."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.name = chat.name
        self.identity = {**chat.identity, "prompts": PROMPTS_VERSION}

    def correct(self, items: Sequence[JudgedAnswer]) -> list[Verdict]:
        """Whether each answer is right (1.0) or wrong (0.0).

        Raises:
            EndpointError: the judge is out of order; no item is called unscored for that.
        """
        asked = [
            Request(correct_messages(CorrectParts(item.question, item.reference, item.candidate)), item.credentialed)
            for item in items
        ]
        found = self._ask(asked, read_correct, ASK_CORRECT_AGAIN)
        return [
            Verdict(
                value=read.value if isinstance(read.value, float) else None,
                compat=read_correct_compat(read.replies[0]) if read.replies else None,
                reason=read.reason,
                replies=read.replies,
            )
            for read in found
        ]

    def compare(self, items: Sequence[JudgedPair], both_orders: bool) -> list[Verdict]:
        """How good each answer is in percent of its reference, which stands first; with `both_orders` second too.

        Raises:
            EndpointError: as `correct`.
        """
        forward = [self._pair(item, item.reference, item.candidate) for item in items]
        turned = [self._pair(item, item.candidate, item.reference) for item in items] if both_orders else []
        found = self._ask([*forward, *turned], read_scores, ASK_PAIR_AGAIN)
        verdicts = []
        for place in range(len(items)):
            orders = found[place :: len(items)]
            shares = [
                _share(read.value, number) for number, read in enumerate(orders) if isinstance(read.value, Scores)
            ]
            verdicts.append(
                Verdict(
                    value=sum(shares) / len(shares) if len(shares) == len(orders) else None,
                    compat=_compat(orders[0].replies),
                    reason=next((read.reason for read in orders if read.reason), ""),
                    replies=tuple(reply for read in orders for reply in read.replies),
                )
            )
        return verdicts

    def _pair(self, item: JudgedPair, first: str, second: str) -> Request:
        return Request(pair_messages(PairParts(item.context, item.question, first, second)), item.credentialed)

    def _ask(self, requests: Sequence[Request], read: Callable[[str], T | str], again: str) -> list[_Read]:
        """Ask, and ask once more what could not be read."""
        first = self.chat.ask_all(requests)
        found = [_read(said, read, ()) for said in first]
        unread = [place for place, one in enumerate(found) if one.reason and one.replies]
        reminded = [
            Request(
                (*requests[place].messages, Message("assistant", found[place].replies[0]), Message("user", again)),
                requests[place].credentialed,
                attempt=1,
            )
            for place in unread
        ]
        for place, said in zip(unread, self.chat.ask_all(reminded), strict=True):
            found[place] = _read(said, read, found[place].replies)
        return found


def _read(said: Reply | Refused, read: Callable[[str], object], before: tuple[str, ...]) -> _Read:
    if isinstance(said, Refused):
        return _Read(before, None, f"judge_{said.reason}")
    replies = (*before, said.text)
    value = CUT if not said.complete else read(said.text)
    if isinstance(value, str):
        return _Read(replies, None, value)
    assert isinstance(value, float | Scores)
    return _Read(replies, value, "")


def _share(scores: Scores, turned: int) -> float:
    """The candidate's score in percent of the reference's."""
    return 100 * (scores.first / scores.second if turned else scores.second / scores.first)


def _compat(replies: Sequence[str]) -> float | None:
    scores = read_scores_compat(replies[0]) if replies else None
    return None if scores is None else _share(scores, 0)


def judge_identity(endpoint: Endpoint) -> dict[str, Json]:
    """What a judge's `identity` would be, told without opening it: an endpoint that is locked has one too.

    Raises:
        ConfigError: the endpoint's table cannot be meant.
    """
    return {**identity_of(endpoint), "prompts": PROMPTS_VERSION}


def open_judge(endpoint: Endpoint | None, cache: Path, log: Callable[[str], None]) -> Judge | Lock:
    """The build's judge, or why there is none here.

    Args:
        endpoint: the one that the build names as its judge; None: it names none.
        cache: folder of the endpoint's answers.
        log: gets the estimate before the first request, and whatever goes wrong.

    Raises:
        ConfigError: the endpoint's table cannot be meant.
    """
    if endpoint is None:
        return NO_JUDGE
    chat = open_chat(endpoint, cache, log)
    return Judge(chat) if isinstance(chat, Chat) else chat
