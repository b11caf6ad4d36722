"""Judge and similarity model for tests of families: the real classes, small and without a network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from medmax_pipeline.config import Endpoint
from medmax_pipeline.errors import ImageError
from medmax_pipeline.eval.items import Item, as_items
from medmax_pipeline.eval.judge import Judge, JudgedPair, Verdict
from medmax_pipeline.eval.scorers import Scorers
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.endpoint import Chat, Message, Rules
from medmax_pipeline.models.similarity import Similarity, open_similarity
from medmax_pipeline.records import Sample
from medmax_pipeline.sample.replies import sample_judge
from medmax_pipeline.tokens.store import CodeStore
from tests.eval.conftest import CODES, World
from tests.models.clips import lay_clip, png

LOCK = Lock("absent", "get it")


class Recording(Judge):
    """A judge that keeps what it was asked."""

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat)
        self.asked: list[tuple[bool, list[JudgedPair]]] = []

    def compare(self, items: Sequence[JudgedPair], both_orders: bool) -> list[Verdict]:
        """As ever."""
        self.asked.append((both_orders, list(items)))
        return super().compare(items, both_orders)


def judge_by(
    at: Path, rule: Callable[[Sequence[Message]], str] = sample_judge, *, may_see_credentialed: bool = False
) -> Recording:
    """A judge that answers by a rule."""
    endpoint = Endpoint(kind="sample", model="rule", may_see_credentialed=may_see_credentialed)
    return Recording(Chat(endpoint, at, print, rules=Rules(rule, "1"), backoff_s=0.0))


@cache
def similarity() -> Similarity:
    """A CLIP of no training."""
    with tempfile.TemporaryDirectory() as folder:
        return open_similarity(lay_clip(Path(folder) / "tiny_clip"))


def source_picture(image_id: str) -> bytes:
    """The picture of an image id."""
    return png(40, 36, seed=int(image_id[:8], 16))


def no_picture(image_id: str) -> bytes:
    """Where a source's pictures are not to be had."""
    raise ImageError("image_not_here", image_id)


def scorers(
    *,
    judge: Judge | Lock = LOCK,
    by: Similarity | Lock = LOCK,
    picture: Callable[[str], bytes] = source_picture,
    drawn: Mapping[str, bytes] | None = None,
) -> Scorers:
    """Scorers, locked unless given."""
    return Scorers(judge, by, picture, (drawn or {}).__getitem__)


def cosine(one: bytes, other: bytes | str) -> float:
    """Of a picture with a picture or text, straight from the similarity model."""
    model = similarity()
    mine = model.images([one])
    theirs = model.texts([other]) if isinstance(other, str) else model.images([other])
    return float(np.sum(mine * theirs))


def items(world: World, samples: Sequence[Sample]) -> list[Item]:
    """Samples as one model's items."""
    return as_items(samples, "tiny", CodeStore(world.codes, CODES), 0)
