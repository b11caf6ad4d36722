"""Candidates looked at: small copies made, pairs registered, a verdict each. For `duplicates.py` and `leakage.py`.

Limits are the build's; how they were measured, on which pictures, is in docs/curation.md. How pictures are laid over
each other belongs to `confirm.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.config import Nearness
from medmax_pipeline.curation.confirm import COARSE, FINE, Floats, Registered, refine, register
from medmax_pipeline.curation.greys import Grey, Greys

BATCH_PAIRS: Final = {COARSE: 32, FINE: 8}
"""Pairs registered at a time: what stays in a processor's cache."""
FINE_FROM_PX: Final = 128
"""Shorter side from which both pictures of a pair have something to show at `confirm.FINE`."""
PLAIN: Final = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
"""The map of a picture onto itself."""
CROWD: Final = 3
"""Ours: so many pictures that look alike without being copies make a look common (schematic drawings, radiographs of
one projection); then only the strict limits accuse."""


class Judged(NamedTuple):
    """What was found of P pairs."""

    detail: Floats
    """Correlation of detail, the lesser of the coarse and the fine one where both were taken."""
    tone: Floats
    """Share of the blurred picture that no tone curve explains."""
    copy: npt.NDArray[np.bool_]
    strict: npt.NDArray[np.bool_]
    """Whether it would be a copy by the strict limits too."""
    alike: npt.NDArray[np.bool_]
    """No copy by the strict limits, but more alike than chance: a slice, a frame, the same view of another patient."""


class Nearer:
    """Judges pairs of pictures by id."""

    def __init__(
        self, read: Callable[[str], bytes], order: Callable[[set[str]], Iterable[str]], work: Path, limits: Nearness
    ) -> None:
        """Args:
        read: bytes of a picture by its id.
        order: the order in which pictures are cheapest to read.
        work: where small copies are kept.
        limits: from which measures on pictures are copies.
        """
        self._order = order
        self._limits = limits
        self.coarse = Greys(read, work, COARSE)
        self.fine = Greys(read, work, FINE)

    def greys(self, image_ids: Sequence[str]) -> Grey:
        """Coarse copies of pictures."""
        self.coarse.fill(self._order(set(image_ids)))
        return self.coarse.take(image_ids)

    def judge(
        self,
        first: Sequence[str],
        second: Sequence[str],
        starts: Floats,
        negative: Sequence[bool],
        short: Sequence[int],
    ) -> Judged:
        """A verdict on each pair.

        Args:
            first: image ids.
            second: image ids, as many.
            starts: (P, 2, 3) maps from the second's coordinates to the first's.
            negative: whether the first is to be taken as its negative.
            short: the shorter side of the smaller picture of each pair, in pixels.
        """
        pairs = len(first)
        self.coarse.fill(self._order({*first, *second}))
        maps, detail, tone = starts.astype(np.float32), np.zeros(pairs, np.float32), np.ones(pairs, np.float32)
        for here in _batches(np.arange(pairs), COARSE):
            found = self._look(self.coarse, register, here, first, second, maps, negative)
            maps[here], detail[here], tone[here] = found
        limits = self._limits
        open_still = (detail >= limits.copy_detail) & ((detail < limits.strict_detail) | (tone > limits.strict_tone))
        again = np.flatnonzero(open_still & (np.asarray(short) >= FINE_FROM_PX))
        self.fine.fill(self._order({name for at in again.tolist() for name in (first[at], second[at])}))
        for here in _batches(again, FINE):
            _, fine, finer = self._look(self.fine, refine, here, first, second, maps, negative)
            detail[here], tone[here] = np.minimum(detail[here], fine), np.minimum(tone[here], finer)
        return self._verdicts(detail, tone)

    def _look(
        self,
        greys: Greys,
        how: Callable[[Grey, Grey, Floats], Registered],
        here: npt.NDArray[np.int64],
        first: Sequence[str],
        second: Sequence[str],
        maps: Floats,
        negative: Sequence[bool],
    ) -> Registered:
        ours, theirs = greys.take([first[at] for at in here.tolist()]), greys.take([second[at] for at in here.tolist()])
        turned = np.asarray([negative[at] for at in here.tolist()], np.bool_)
        ours[turned] = 255 - ours[turned]
        return how(ours, theirs, maps[here])

    def _verdicts(self, detail: Floats, tone: Floats) -> Judged:
        limits = self._limits
        copy = (detail >= limits.copy_detail) & (tone <= limits.copy_tone)
        strict = (detail >= limits.strict_detail) & (tone <= limits.strict_tone)
        return Judged(detail, tone, copy, strict, (detail >= limits.alike_detail) & ~strict)


def _batches(places: npt.NDArray[np.int64], side: int) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(places), BATCH_PAIRS[side]):
        yield places[start : start + BATCH_PAIRS[side]]
