"""The loops of `resize.py`, compiled: integers of 32 bits, many rows or columns at once.

Both passes are one loop: a sample is a weighted sum of whole rows of bytes, which a processor does 8 bytes at a time.
Going across, 64 rows are turned on their side first, four bytes with four others at a time, and turned back after.
Needs numba (the extra `fast`); nothing else imports it, and without it the pixels are the same. Loops are compiled
once and kept beside this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit, types

from medmax_pipeline.tokens.geometry import Placement
from medmax_pipeline.tokens.resize import BITS, Band, Integers, Pixels, band, down_first

Loop = TypeVar("Loop", bound=Callable[..., Any])

LANES: Final = 64
"""Rows turned at once: 4 x 4 x 4."""
HALF: Final = 1 << (BITS - 1)
BYTES: Final = types.Array(types.uint8, 2, "C")
BYTES_READ: Final = types.Array(types.uint8, 2, "C", readonly=True)
STARTS: Final = types.Array(types.int32, 1, "C", readonly=True)
WEIGHTS: Final = types.Array(types.int32, 2, "C", readonly=True)


def compiled(*arguments: Any) -> Callable[[Loop], Loop]:
    """Compile a loop: with types of arguments now, without when another loop calls it. Arrays may be read-only."""
    signature = types.void(*arguments) if arguments else None

    def compile_loop(loop: Loop) -> Loop:
        made: Loop
        try:
            made = njit(signature, cache=True, nogil=True)(loop)
        except RuntimeError:  # neither this folder nor the user's may be written to: compiled in every process
            made = njit(signature, nogil=True)(loop)
        return made

    return compile_loop


def by_loops(pixels: Pixels, placement: Placement) -> Pixels:
    """As `resize.by_products`, by compiled loops."""
    across, down = band(placement.across), band(placement.down)
    whole = np.ascontiguousarray(pixels)
    if down_first(placement):
        return _scale_across(_scale_down(whole, down), across)
    return _scale_down(_scale_across(whole[down.low : down.high], across), down._replace(low=0))


def _scale_across(pixels: Pixels, side: Band) -> Pixels:
    """(H, W[, C]) to (H, n[, C]); `pixels` are contiguous."""
    height, width = pixels.shape[:2]
    if not side.weights.shape[1]:
        return np.ascontiguousarray(pixels[:, side.low : side.high])
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    out = np.empty((height + -height % LANES, len(side.weights) * channels), np.uint8)
    rows = pixels.reshape(height, width * channels)
    _across(rows, side.low, side.high, channels, side.start, _grouped(side.weights), out)
    return out[:height].reshape(height, len(side.weights), *pixels.shape[2:])


def _scale_down(pixels: Pixels, side: Band) -> Pixels:
    """(H, W[, C]) to (n, W[, C]); `pixels` are contiguous."""
    if not side.weights.shape[1]:
        return pixels[side.low : side.low + len(side.weights)]
    rows = pixels[side.low :].reshape(len(pixels) - side.low, -1)
    out = np.empty((len(side.weights), rows.shape[1]), np.uint8)
    _sum_rows(rows, side.start, _grouped(side.weights), out)
    return out.reshape(len(side.weights), *pixels.shape[1:])


def _grouped(weights: Integers) -> Integers:
    """(n, taps) filled up with zeros to whole groups of four."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4)))


@compiled()
def _weave(a: npt.NDArray[Any], b: npt.NDArray[Any], c: npt.NDArray[Any], d: npt.NDArray[Any], out: Any) -> None:
    """a0 b0 c0 d0 a1 b1 ..."""
    for x in range(a.shape[0]):
        out[4 * x] = a[x]
        out[4 * x + 1] = b[x]
        out[4 * x + 2] = c[x]
        out[4 * x + 3] = d[x]


@compiled()
def _unweave(woven: npt.NDArray[Any], a: Any, b: Any, c: Any, d: Any) -> None:
    """The inverse of `_weave`."""
    for x in range(a.shape[0]):
        a[x] = woven[4 * x]
        b[x] = woven[4 * x + 1]
        c[x] = woven[4 * x + 2]
        d[x] = woven[4 * x + 3]


@compiled()
def _turn(rows: Pixels, top: int, low: int, high: int, fours: Pixels, sixteens: Any, turned: Any) -> None:
    """Bytes `low` to `high` of rows `top` to `top + 64` as columns, of 64 bytes each. The last row stands for those
    behind it."""
    last = rows.shape[0] - 1
    for g in range(16):
        y = top + 4 * g
        a, b = rows[min(y, last)][low:high], rows[min(y + 1, last)][low:high]
        c, d = rows[min(y + 2, last)][low:high], rows[min(y + 3, last)][low:high]
        _weave(a, b, c, d, fours[g])
    for g in range(4):
        f = 4 * g
        _weave(
            fours[f].view(np.uint32),
            fours[f + 1].view(np.uint32),
            fours[f + 2].view(np.uint32),
            fours[f + 3].view(np.uint32),
            sixteens[g],
        )
    for g in range(4):
        part = sixteens[g].view(np.uint64)
        for x in range(turned.shape[0]):
            turned[x, 2 * g] = part[2 * x]
            turned[x, 2 * g + 1] = part[2 * x + 1]


@compiled()
def _turn_back(made: Any, sixteens: Any, fours: Pixels, top: int, out: Pixels) -> None:
    """The inverse of `_turn`, into rows `top` to `top + 64` of `out`."""
    for g in range(4):
        part = sixteens[g].view(np.uint64)
        for x in range(made.shape[0]):
            part[2 * x] = made[x, 2 * g]
            part[2 * x + 1] = made[x, 2 * g + 1]
    for g in range(4):
        f = 4 * g
        _unweave(
            sixteens[g],
            fours[f].view(np.uint32),
            fours[f + 1].view(np.uint32),
            fours[f + 2].view(np.uint32),
            fours[f + 3].view(np.uint32),
        )
    for g in range(16):
        y = top + 4 * g
        _unweave(fours[g], out[y], out[y + 1], out[y + 2], out[y + 3])


@compiled(BYTES_READ, STARTS, WEIGHTS, BYTES)
def _sum_rows(rows: Pixels, start: Integers, weights: Integers, out: Pixels) -> None:
    """`out[i]` = levels of sum over k of `weights[i, k] * rows[start[i] + k]`; rows behind the last have no weight."""
    last = rows.shape[0] - 1
    width = rows.shape[1]
    sums = np.empty(width, np.int32)
    for i in range(weights.shape[0]):
        for v in range(width):
            sums[v] = HALF
        for k in range(0, weights.shape[1], 4):
            first = start[i] + k
            r0, r1 = rows[min(first, last)], rows[min(first + 1, last)]
            r2, r3 = rows[min(first + 2, last)], rows[min(first + 3, last)]
            w0, w1, w2, w3 = weights[i, k], weights[i, k + 1], weights[i, k + 2], weights[i, k + 3]
            for v in range(width):
                sums[v] += w0 * np.int32(r0[v]) + w1 * np.int32(r1[v]) + w2 * np.int32(r2[v]) + w3 * np.int32(r3[v])
        levels = out[i]
        for v in range(width):
            levels[v] = min(max(sums[v] >> BITS, np.int32(0)), np.int32(255))


@compiled(BYTES_READ, types.int64, types.int64, types.int64, STARTS, WEIGHTS, BYTES)
def _across(rows: Pixels, low: int, high: int, channels: int, start: Integers, weights: Integers, out: Pixels) -> None:
    """`out[y]` = levels of the weighted sums along pixels `low` to `high` of row `y`. `out` has whole strips of rows;
    surplus ones mean nothing."""
    width, samples = (high - low) * channels, out.shape[1]
    turned, made = np.empty((width, 64), np.uint8), np.empty((samples, 64), np.uint8)
    fours, fours_back = np.empty((16, 4 * width), np.uint8), np.empty((16, 4 * samples), np.uint8)
    sixteens, sixteens_back = np.empty((4, 4 * width), np.uint32), np.empty((4, 4 * samples), np.uint32)
    columns = turned.reshape(width // channels, channels * 64)
    levels = made.reshape(samples // channels, channels * 64)
    for top in range(0, rows.shape[0], 64):
        _turn(rows, top, low * channels, high * channels, fours, sixteens, turned.view(np.uint64))
        _sum_rows(columns, start, weights, levels)
        _turn_back(made.view(np.uint64), sixteens_back, fours_back, top, out)
