"""Lanczos scaling to the same pixels everywhere: those of Pillow 10 to 12, whatever Pillow is installed.

The published algorithm in whole numbers: weights of 22 bits, one direction after the other, rounded to 8 bits after
each. Only the window that is kept is computed. Sums of integers are exact in any order, so that products of float64
matrices (here), compiled loops (`kernels.py`, where numba is installed; three to eight times as fast, and slow to load)
and a device (`device.py`) agree to the bit. What is kept of a picture is `geometry.py`.

Legend: H, W rows and columns, C channels (a grey picture has no axis for them), n samples of a span, taps weights each.
"""

from __future__ import annotations

import importlib.util
import math
import time
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.tokens.geometry import PAD_LEVEL, Placement, Span

Pixels = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

BITS: Final = 22
"""Bits behind the point of a weight; Pillow's for 8-bit pictures."""
LOBES: Final = 3.0
"""Half the width of the Lanczos window, in samples of the coarser grid."""
UNSURE: Final = 1e-6
"""Distance from a rounding edge within which a weight is computed again, in Pillow's order of operations. Errors of
float64 are below 1e-8 here."""
TALL: Final = 100
"""Pictures this many times as high as wide are scaled down before across, as Pillow did to save time."""
SAMPLES: Final = 16
"""Samples made by one matrix product: more multiply more zeros. Ours: 8, 16, 32, 64 measured, 2026-11."""
ROWS: Final = 64
"""Rows worked on at once, which stay in the processor's cache."""
COMPILED: Final = importlib.util.find_spec("numba") is not None
"""Whether the loops of `kernels.py` can be used."""
LOADING_S: Final = 0.7
"""Seconds of a processor that loading them takes. A process loads them when it has scaled for as long without: who has
few pictures, or small ones, never pays for them, and who has many loses one such time."""


_scaled_s = 0.0
"""How long this process has scaled without them."""


class Band(NamedTuple):
    """How the samples of a span come out of pixels `low` to `high` of a side."""

    low: int
    high: int
    start: Integers
    """(n,): pixel, counted from `low`, of each sample's first weight."""
    weights: Integers
    """(n, taps), in units of 2 ** -22, zeros behind. No taps: the side keeps its length, pixels are copied."""


class Block(NamedTuple):
    """Some of a band's samples as a small dense matrix."""

    first: int
    last: int
    """Pixels `first` to `last`, counted from `low`."""
    matrix: Floats
    """(samples, pixels), weights between -1 and 2, each a multiple of 2 ** -22."""


@lru_cache(maxsize=512)
def band(span: Span) -> Band:
    """The weights of a span. The cache holds some 100 MB at most, unless pictures are far larger than usual."""
    if span.side == span.scaled:
        return Band(span.first, span.first + span.length, np.zeros(0, np.int32), np.zeros((span.length, 0), np.int32))
    scale = span.side / span.scaled
    reach = LOBES * max(scale, 1.0)
    centre = (np.arange(span.first, span.first + span.length) + 0.5) * scale
    start = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    taps = np.minimum((centre + reach + 0.5).astype(np.int64), span.side) - start
    tap = np.arange(taps.max())
    values = _lanczos((tap + start[:, None] - centre[:, None] + 0.5) * (1.0 / max(scale, 1.0)))
    values[tap >= taps[:, None]] = 0.0
    total = values.sum(axis=1, keepdims=True)
    exact = np.divide(values, total, out=values, where=total != 0.0) * (1 << BITS)
    rounded = np.rint(exact)
    weights = rounded.astype(np.int32)
    for row in np.nonzero((np.abs(exact - rounded) > 0.5 - UNSURE).any(axis=1))[0].tolist():
        weights[row, : taps[row]] = one_by_one(float(centre[row]), int(start[row]), int(taps[row]), scale)
    low, high = int(start.min()), int((start + taps).max())
    return Band(low, high, (start - low).astype(np.int32), weights)


def _lanczos(x: Floats) -> Floats:
    """sinc(x) sinc(x / 3) by one sine a value: sin(3 a) = sin(a) (3 - 4 sin(a) ** 2)."""
    angle = x * (math.pi / LOBES)
    square = np.sin(angle) ** 2
    values = np.divide(square * (3.0 - 4.0 * square), 3.0 * angle**2, out=np.ones_like(x), where=angle != 0.0)
    return np.where((x >= -LOBES) & (x < LOBES), values, 0.0)


def one_by_one(centre: float, start: int, taps: int, scale: float) -> list[int]:
    """One sample's weights in Pillow's order of operations, for the few that lie on a rounding edge.

    Args:
        centre: the sample's place on the side, in pixels.
        start: its first pixel.
        taps: how many pixels it is made of.
        scale: pixels a sample.
    """

    def sinc(x: float) -> float:
        return math.sin(x * math.pi) / (x * math.pi) if x != 0.0 else 1.0

    step = 1.0 / max(scale, 1.0)
    places = [(tap + start - centre + 0.5) * step for tap in range(taps)]
    values = [sinc(x) * sinc(x / LOBES) if -LOBES <= x < LOBES else 0.0 for x in places]
    total = 0.0
    for value in values:
        total += value
    if total != 0.0:
        values = [value / total for value in values]
    return [int(value * (1 << BITS) + math.copysign(0.5, value)) for value in values]


def resize(pixels: Pixels, placement: Placement, resolution: int) -> Pixels:
    """The window of a scaled picture, in its square.

    Args:
        pixels: (H, W) grey or (H, W, C) uint8.
        placement: what `geometry.place` says for its size.
        resolution: of the square.

    Returns:
        (resolution, resolution) or (resolution, resolution, C) uint8; white where the picture does not reach.
    """
    window = scaled(pixels, placement)
    across, down = placement
    if (across.length, down.length) == (resolution, resolution):
        return window
    square = np.full((resolution, resolution, *pixels.shape[2:]), PAD_LEVEL, np.uint8)
    square[down.at : down.at + down.length, across.at : across.at + across.length] = window
    return square


def cut(pixels: Pixels, placement: Placement) -> Pixels:
    """The pixels of a picture that its window is made of, as a view."""
    across, down = band(placement.across), band(placement.down)
    return pixels[down.low : down.high, across.low : across.high]


def down_first(placement: Placement) -> bool:
    """Whether the vertical direction comes first. The order changes pixels, since they are rounded in between."""
    across, down = placement
    return down.side > TALL * across.side and down.scaled < down.side


def scaled(pixels: Pixels, placement: Placement) -> Pixels:
    """The window of a scaled picture: by the compiled loops where there are any and they pay, else `by_products`."""
    global _scaled_s
    if not COMPILED or _scaled_s < LOADING_S:
        begun = time.thread_time()
        made = by_products(pixels, placement)
        _scaled_s += time.thread_time() - begun
        return made
    from medmax_pipeline.tokens.kernels import by_loops

    return by_loops(pixels, placement)


def by_products(pixels: Pixels, placement: Placement) -> Pixels:
    """Scaling by products of float64 matrices, in which all these numbers are exact.

    Args:
        pixels: (H, W) or (H, W, C) uint8.
        placement: what `geometry.place` says for its size.

    Returns:
        (n, n) or (n, n, C) uint8.
    """
    used = cut(pixels, placement)
    planes = used[None] if used.ndim == 2 else used.transpose(2, 0, 1)
    across, down = band(placement.across), band(placement.down)
    planes = _across(_down(planes, down), across) if down_first(placement) else _down(_across(planes, across), down)
    return np.ascontiguousarray(planes[0] if used.ndim == 2 else planes.transpose(1, 2, 0))


def blocks(side: Band) -> list[Block]:
    """A band in small matrices, `SAMPLES` rows each, in order."""
    found, taps = [], side.weights.shape[1]
    for first in range(0, len(side.weights), SAMPLES):
        start, weights = side.start[first : first + SAMPLES], side.weights[first : first + SAMPLES]
        low, high = int(start.min()), min(int(start.max()) + taps, side.high - side.low)
        matrix = np.zeros((len(start), int(start.max()) - low + taps))
        np.put_along_axis(matrix, start[:, None] - low + np.arange(taps), weights * 2.0**-BITS, axis=1)
        found.append(Block(low, high, matrix[:, : high - low]))
    return found


def _across(planes: Pixels, side: Band) -> Pixels:
    """(C, H, W) to (C, H, n)."""
    if not side.weights.shape[1]:
        return planes
    channels, height, width = planes.shape
    parts = blocks(side)
    levels = np.empty((channels, height, len(side.weights)), np.uint8)
    values, sums = np.empty((channels, ROWS, width)), np.empty((channels, ROWS, len(side.weights)))
    for top in range(0, height, ROWS):
        rows = min(ROWS, height - top)
        values[:, :rows] = planes[:, top : top + rows]
        for number, part in enumerate(parts):
            out = sums[:, :rows, number * SAMPLES : number * SAMPLES + len(part.matrix)]
            np.matmul(values[:, :rows, part.first : part.last], part.matrix.T, out=out)
        levels[:, top : top + rows] = _rounded(sums[:, :rows])
    return levels


def _down(planes: Pixels, side: Band) -> Pixels:
    """(C, H, W) to (C, n, W)."""
    if not side.weights.shape[1]:
        return planes
    levels = np.empty((planes.shape[0], len(side.weights), planes.shape[2]), np.uint8)
    for number, part in enumerate(blocks(side)):
        values = planes[:, part.first : part.last].astype(np.float64)
        rows = slice(number * SAMPLES, number * SAMPLES + len(part.matrix))
        levels[:, rows] = _rounded(part.matrix @ values)
    return levels


def _rounded(sums: Floats) -> Floats:
    """Weighted sums as numbers that lose their fraction when they become uint8: half up, clipped; works in place."""
    sums += 0.5
    return np.clip(sums, 0.0, 255.0, out=sums)
