"""What a score is: a mean with an interval that knows which items share a picture, and paired gains between models.

Items that show the same picture are no independent trials, so pictures are resampled, not items (cluster bootstrap:
Field and Welsh, J. R. Stat. Soc. B 69 (2007) 369; for language models Miller, arXiv 2411.00640). Which items count and
what is right about an answer was decided when the records were made.

I items, C clusters (pictures), K classes (1 for a plain mean), R resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.eval import LEVEL, RESAMPLES

CHUNK = 250
"""Resamples held at once; bounds memory at C x 250 counts."""

Floats = npt.NDArray[np.float64]


class NothingScored(MedmaxError):
    """A mean over no items was asked for; it is unknown, not zero."""


class Estimate(NamedTuple):
    """A value and its 95 % interval; the ends are None where one cluster alone gives no spread."""

    value: float
    low: float | None
    high: float | None
    clusters: int


@dataclass(frozen=True)
class Sums:
    """A score as sums over clusters: the mean over K classes of numerator / denominator."""

    numerators_KC: Floats
    denominators_KC: Floats

    def value(self) -> float:
        """The score over all clusters."""
        return float(np.mean(self.numerators_KC.sum(axis=1) / self.denominators_KC.sum(axis=1)))

    def resampled(self, weights_RC: Floats) -> Floats:
        """(R,) the score of each resample; NaN where a class is absent from it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios_RK = (weights_RC @ self.numerators_KC.T) / (weights_RC @ self.denominators_KC.T)
        return np.asarray(ratios_RK.mean(axis=1), dtype=np.float64)


def sums(values: Sequence[float], clusters: Sequence[Hashable], classes: Sequence[Hashable] | None = None) -> Sums:
    """Collect items by cluster, in the order of first occurrence.

    Args:
        values: one an item, e.g. 1.0 for right and 0.0 for wrong.
        clusters: what the items share, one an item: the picture.
        classes: one an item; given, the score is the mean over classes (balanced accuracy when they are the
            reference answers). None: the plain mean over items.

    Raises:
        NothingScored: there is no item.
        ValueError: the sequences differ in length.
    """
    if not values:
        raise NothingScored("no item was scored, so there is no mean; expected at least one. See the records' reasons.")
    column = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    labels = classes if classes is not None else [None] * len(values)
    row = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    numerators = np.zeros((len(row), len(column)))
    denominators = np.zeros_like(numerators)
    for value, cluster, label in zip(values, clusters, labels, strict=True):
        numerators[row[label], column[cluster]] += value
        denominators[row[label], column[cluster]] += 1.0
    return Sums(numerators, denominators)


def estimate(score: Sums, seed: int) -> Estimate:
    """The score with its percentile interval over resampled clusters; the same seed gives the same interval."""
    count = score.numerators_KC.shape[1]
    if count < 2:
        return Estimate(score.value(), None, None, count)
    low, high = _interval([score], seed)
    return Estimate(score.value(), low, high, count)


def paired_gain(tuned: Sums, base: Sums, seed: int) -> Estimate:
    """Tuned minus base over the same items, resampled together.

    Raises:
        ValueError: the two were not collected over the same clusters and classes.
    """
    _check_pair(tuned, base)
    count = tuned.numerators_KC.shape[1]
    value = tuned.value() - base.value()
    if count < 2:
        return Estimate(value, None, None, count)
    low, high = _interval([tuned, base], seed)
    return Estimate(value, low, high, count)


def average(scores: Sequence[Sums], seed: int) -> Estimate:
    """The unweighted mean of several tasks' scores; each task's clusters are resampled by themselves.

    Raises:
        NothingScored: there is no score.
    """
    return _averaged(scores, [None] * len(scores), seed)


def average_gain(tuned: Sequence[Sums], base: Sequence[Sums], seed: int) -> Estimate:
    """The unweighted mean of several tasks' paired gains.

    Raises:
        NothingScored: there is no score.
        ValueError: two of a pair were not collected over the same clusters and classes.
    """
    for mine, theirs in zip(tuned, base, strict=True):
        _check_pair(mine, theirs)
    return _averaged(tuned, base, seed)


def _averaged(scores: Sequence[Sums], others: Sequence[Sums | None], seed: int) -> Estimate:
    if not scores:
        raise NothingScored("no task was scored, so there is no average; expected at least one.")
    pairs = list(zip(scores, others, strict=True))
    value = float(np.mean([mine.value() - (theirs.value() if theirs else 0.0) for mine, theirs in pairs]))
    counts = [mine.numerators_KC.shape[1] for mine in scores]
    if min(counts) < 2:
        return Estimate(value, None, None, sum(counts))
    drawn = [_draws([each for each in pair if each], seed + place) for place, pair in enumerate(pairs)]
    low, high = _ends(np.mean(drawn, axis=0))
    return Estimate(value, low, high, sum(counts))


def _check_pair(tuned: Sums, base: Sums) -> None:
    if tuned.denominators_KC.shape != base.denominators_KC.shape or not np.array_equal(
        tuned.denominators_KC, base.denominators_KC
    ):
        raise ValueError("paired scores need the same items in the same order")


def _interval(scores: Sequence[Sums], seed: int) -> tuple[float | None, float | None]:
    """Ends of the interval of the first score, or of the first minus the second."""
    return _ends(_draws(scores, seed))


def _draws(scores: Sequence[Sums], seed: int) -> Floats:
    """(R,) the first score of each resample, or the first minus the second; NaN where a class is absent."""
    rng = np.random.default_rng(seed)
    count = scores[0].numerators_KC.shape[1]
    even = np.full(count, 1.0 / count)
    draws = []
    for start in range(0, RESAMPLES, CHUNK):
        weights_RC = rng.multinomial(count, even, size=min(CHUNK, RESAMPLES - start)).astype(np.float64)
        first = scores[0].resampled(weights_RC)
        draws.append(first - scores[1].resampled(weights_RC) if len(scores) > 1 else first)
    return np.concatenate(draws)


def _ends(drawn: Floats) -> tuple[float | None, float | None]:
    drawn = drawn[~np.isnan(drawn)]
    if drawn.size == 0:
        return None, None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def majority(references: Sequence[str]) -> float:
    """Share of the most frequent reference answer: what always giving that one answer would score.

    Raises:
        NothingScored: there is no item.
    """
    if not references:
        raise NothingScored("no item was scored, so there is no majority answer; expected at least one.")
    return Counter(references).most_common(1)[0][1] / len(references)
