"""All pairs of 64-bit hashes that differ in few bits: exact, in memory that the number of pairs does not raise.

Four bands of 16 bits. Of hashes that differ in at most 7 bits, some band differs in at most one (four bands with two
each would be eight), so it is enough to look into the buckets of each band's value and of the 16 values one bit away;
a pair is given by the first band that finds it. What equal or near hashes mean belongs to `duplicates.py` and
`leakage.py`; a caller that has many equal hashes hands over each once (`np.unique`), else their pairs are as many as
the square of their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

BANDS: Final = 4
BAND_BITS: Final = 16
MAX_BITS: Final = 7
"""Further apart, a pair could be missed."""
CHUNK_PAIRS: Final = 1 << 21
"""Pairs compared at a time: some 100 MB."""
_MASK: Final = np.uint64((1 << BAND_BITS) - 1)


class Pairs(NamedTuple):
    """Pairs of positions, as many in each array."""

    left: Numbers
    right: Numbers
    bits: npt.NDArray[np.uint8]
    """In how many bits their hashes differ."""


class _Band(NamedTuple):
    """Hashes sorted by one band's value."""

    number: int
    order: Numbers
    """Positions of the hashes, as given."""
    hashes: Hashes
    starts: Numbers
    """(65,537,): where the hashes of each value begin."""


def _values(hashes: Hashes, band: int) -> npt.NDArray[np.int64]:
    return ((hashes >> np.uint64(band * BAND_BITS)) & _MASK).astype(np.int64)


def _band(hashes: Hashes, number: int) -> _Band:
    values = _values(hashes, number)
    order = np.argsort(values, kind="stable")
    starts = np.searchsorted(values[order], np.arange((1 << BAND_BITS) + 1))
    return _Band(number, order, hashes[order], starts)


def _first_band(difference: Hashes, band: int) -> npt.NDArray[np.bool_]:
    """Whether no earlier band differs in at most one bit, and so has given the pair already."""
    fresh = np.ones(len(difference), np.bool_)
    for earlier in range(band):
        part = (difference >> np.uint64(earlier * BAND_BITS)) & _MASK
        fresh &= np.bitwise_count(part) > 1
    return fresh


def _compare(
    hashes: Hashes, places: Numbers, first: Numbers, last: Numbers, band: _Band, bits: int
) -> Iterator[tuple[Numbers, Numbers, npt.NDArray[np.uint8]]]:
    """Each hash against the band's sorted hashes from `first` up to `last`: its place, theirs, and the bits."""
    lengths = np.maximum(last - first, 0)
    busy = np.flatnonzero(lengths)
    ends = np.cumsum(lengths[busy])
    at = 0
    while at < len(busy):
        done = int(ends[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, done + CHUNK_PAIRS, "right")))
        some, counts = busy[at:stop], lengths[busy[at:stop]]
        begins = np.cumsum(counts) - counts
        theirs = np.arange(int(counts.sum())) - np.repeat(begins - first[some], counts)
        difference = np.repeat(hashes[some], counts) ^ band.hashes[theirs]
        distance: npt.NDArray[np.uint8] = np.bitwise_count(difference)
        near = np.flatnonzero(distance <= bits)
        near = near[_first_band(difference[near], band.number)]
        yield np.repeat(places[some], counts)[near], theirs[near], distance[near]
        at = stop


def _check(bits: int) -> None:
    assert 0 <= bits <= MAX_BITS, f"{bits} bits: pairs further apart than {MAX_BITS} could be missed"


def pairs_within(hashes: Hashes, bits: int) -> Iterator[Pairs]:
    """Every pair of the hashes once, left before right, that differs in at most `bits` bits.

    Args:
        hashes: (N,), best each value once.
        bits: 0 to `MAX_BITS`.
    """
    _check(bits)
    places = np.arange(len(hashes))
    for number in range(BANDS):
        band = _band(hashes, number)
        values = _values(band.hashes, number)
        ranges = [(places + 1, band.starts[values + 1])]
        for bit in range(BAND_BITS):  # of two values one bit apart, the lower one looks for the higher
            other = values | (1 << bit)
            lower = other != values
            ranges.append((band.starts[other], np.where(lower, band.starts[other + 1], 0)))
        for first, last in ranges:
            for ours, theirs, distance in _compare(band.hashes, places, first, last, band, bits):
                left, right = band.order[ours], band.order[theirs]
                yield Pairs(np.minimum(left, right), np.maximum(left, right), distance)


class Table:
    """Hashes that many queries are looked up in."""

    def __init__(self, hashes: Hashes) -> None:
        """Args: hashes: (N,), best each value once."""
        self._bands = [_band(hashes, number) for number in range(BANDS)]

    def near(self, queries: Hashes, bits: int) -> Iterator[Pairs]:
        """Every pair of a query (left) and a hash of the table (right) that differs in at most `bits` bits, once."""
        _check(bits)
        places = np.arange(len(queries))
        for band in self._bands:
            values = _values(queries, band.number)
            for flip in (0, *(1 << bit for bit in range(BAND_BITS))):
                other = values ^ flip
                found = _compare(queries, places, band.starts[other], band.starts[other + 1], band, bits)
                for ours, theirs, distance in found:
                    yield Pairs(ours, band.order[theirs], distance)


def gathered(found: Iterator[Pairs]) -> Pairs:
    """All pairs as one."""
    parts = list(found)
    if not parts:
        none: npt.NDArray[Any] = np.zeros(0, np.int64)
        return Pairs(none, none, none.astype(np.uint8))
    return Pairs(*(np.concatenate([part[field] for part in parts]) for field in range(3)))
