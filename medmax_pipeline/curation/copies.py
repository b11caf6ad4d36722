"""Training pictures that show an evaluation picture again, changed: candidates by hash, a verdict each by looking.

All views of an evaluation picture are looked up among the hashes of the training pictures, and every candidate is
registered (`nearness.py`). Where many training pictures look like one evaluation picture without being copies, its look
is common and only what meets the strict limits is accused. What follows from a copy belongs to `leakage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.config import Nearness
from medmax_pipeline.curation.confirm import Greys
from medmax_pipeline.curation.nearness import CROWD, Judged, Nearer
from medmax_pipeline.curation.neighbours import Hashes, Table, gathered
from medmax_pipeline.curation.views import view_hashes, views

Numbers = npt.NDArray[np.int64]
CHUNK_PICTURES: Final = 64
"""Evaluation pictures whose views are made at a time: some 100 MB."""
CHUNK_PAIRS: Final = 4096
FLAT_LEVELS: Final = 3.0
"""Standard deviation under which an evaluation picture is blank, and everything would look like it."""


class Looked(NamedTuple):
    """Pictures on one side of a search, by image id."""

    ids: Sequence[str]
    width: npt.NDArray[np.int64]
    height: npt.NDArray[np.int64]


class Candidates(NamedTuple):
    """Pairs that a hash suggests: positions of both, the view that came nearest, and the bits it is away."""

    first: Numbers
    second: Numbers
    view: Numbers
    bits: npt.NDArray[np.uint8]


class Copy(NamedTuple):
    """A pair that was looked at."""

    first: int
    """Position of the evaluation picture."""
    second: int
    """Position of the training picture."""
    bits: int
    change: str
    detail: float
    tone: float
    accused: bool
    """Else it is alike only: a neighbour."""


def suggest(greys: Greys, aspects: npt.NDArray[np.float64], table: Table, bits: int) -> Candidates:
    """The hashes of `table` that some view of some picture comes near to, each pair once."""
    found = view_hashes(greys, aspects)
    blank = greys.reshape(len(greys), -1).std(1) < FLAT_LEVELS
    pairs = gathered(table.near(found.reshape(-1), bits))
    first, view = np.divmod(pairs.left, found.shape[1])
    order = np.lexsort((view, pairs.bits, pairs.right, first))
    order = order[~blank[first[order]]]
    key = np.stack([first[order], pairs.right[order]])
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (key[:, 1:] != key[:, :-1]).any(0)
    order = order[fresh]
    return Candidates(first[order], pairs.right[order], view[order], pairs.bits[order])


class Searched:
    """Training pictures, ready to be searched for copies of evaluation pictures."""

    def __init__(self, pictures: Looked, hashes: Hashes, nearer: Nearer, limits: Nearness) -> None:
        """Args:
        pictures: what is searched.
        hashes: their perceptual hashes.
        nearer: looks at candidates.
        limits: of the build.
        """
        self._pictures = pictures
        self._nearer = nearer
        self._limits = limits
        values, group = np.unique(hashes, return_inverse=True)
        self._members = np.argsort(group, kind="stable")
        self._starts = np.searchsorted(group[self._members], np.arange(len(values) + 1))
        self._table = Table(values)

    def near(self, sought: Looked, crowded: bool = True) -> Iterator[Copy]:
        """Every pair that was found alike or a copy, in the order of the evaluation pictures.

        Args:
            sought: evaluation pictures.
            crowded: whether many that look alike make a look common; not so among many copies of one picture.
        """
        for start in range(0, len(sought.ids), CHUNK_PICTURES):
            here = np.arange(start, min(start + CHUNK_PICTURES, len(sought.ids)))
            greys = self._nearer.greys([sought.ids[at] for at in here.tolist()])
            aspects = sought.width[here] / np.maximum(sought.height[here], 1)
            found = self._spread(suggest(greys, aspects, self._table, self._limits.hash_bits))
            yield from self._judged(found._replace(first=found.first + start), sought, crowded)

    def _spread(self, found: Candidates) -> Candidates:
        """Pairs with a hash as pairs with each picture that has it."""
        counts = self._starts[found.second + 1] - self._starts[found.second]
        begins = np.cumsum(counts) - counts
        inside = np.arange(int(counts.sum())) - np.repeat(begins - self._starts[found.second], counts)
        return Candidates(
            np.repeat(found.first, counts),
            self._members[inside],
            np.repeat(found.view, counts),
            np.repeat(found.bits, counts),
        )

    def _judged(self, found: Candidates, sought: Looked, crowded: bool) -> Iterator[Copy]:
        parts = []
        for start in range(0, len(found.first), CHUNK_PAIRS):
            here = slice(start, start + CHUNK_PAIRS)
            some = Candidates(found.first[here], found.second[here], found.view[here], found.bits[here])
            parts.append(self._look(some, sought))
        if not parts:
            return
        judged = Judged(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        crowds = np.bincount(found.first[judged.alike & ~judged.copy], minlength=len(sought.ids))
        accused = judged.strict | (judged.copy & ((crowds[found.first] < CROWD) | (not crowded)))
        for at in np.flatnonzero(accused | judged.alike).tolist():
            yield Copy(
                int(found.first[at]),
                int(found.second[at]),
                int(found.bits[at]),
                views()[int(found.view[at])].change,
                round(float(judged.detail[at]), 4),
                round(float(judged.tone[at]), 4),
                bool(accused[at]),
            )

    def _look(self, some: Candidates, sought: Looked) -> Judged:
        pictures, first, second = self._pictures, some.first, some.second
        chosen = [views()[view] for view in some.view.tolist()]
        aspects = sought.width[first] / np.maximum(sought.height[first], 1)
        starts = np.stack([view.map(aspect) for view, aspect in zip(chosen, aspects.tolist(), strict=True)])
        sides = (sought.width[first], sought.height[first], pictures.width[second], pictures.height[second])
        return self._nearer.judge(
            [sought.ids[at] for at in first.tolist()],
            [pictures.ids[at] for at in second.tolist()],
            starts,
            [view.negative for view in chosen],
            np.minimum.reduce(sides).tolist(),
        )
