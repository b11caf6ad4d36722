"""One perceptual hash of a picture: that of the library ImageHash (`imagehash.phash`), computed in whole numbers.

The DCT hash of pHash (C. Zauner, *Implementation and Benchmarking of Perceptual Image Hash Functions*, 2010): what a
picture looks like from afar is in its low frequencies. Luma (ITU-R 601-2) of 32 x 32 cells, each the average over its
area, rounded to 8 bits; a DCT-II; of the 8 x 8 lowest frequencies each a 1 where it lies above their median. On those
cells `imagehash.phash` gives the same 64 bits, which a test holds. Ours differs from it in two ways: whole numbers, so
that equal pixels give equal bits on any machine, flat and symmetric pictures included; and averages in the place of a
Lanczos filter over the whole picture, at a fourth to a fortieth of the cost. Pictures that look alike differ in a few
bits; how few is decided in `curation/`. Flips and turns are not seen through.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

CELLS: Final = 32
LOWEST: Final = 8
GAP: Final = 2.0
"""How many times finer than the cells whole pixels are averaged first; it halves the cost of large pictures and moves
cells by less than a level."""
STRIP_ROWS: Final = 256
"""Rows of a deep picture that are scaled at a time, in float64."""
_ANGLES: Final = np.pi / CELLS * np.outer(np.arange(LOWEST), np.arange(CELLS) + 0.5)
_DCT: Final = np.rint(np.cos(_ANGLES) * (1 << 21)).astype(np.int64)
"""(8, 32): the lowest frequencies, scaled by 2^21 and rounded, so that 64 bits hold every sum; every row but the first
sums to 0 exactly."""
_WEIGHTS: Final = np.left_shift(np.uint64(1), np.arange(63, -1, -1, dtype=np.uint64))
"""The first frequency, the constant, is the highest bit."""


def perceptual_hash(flat: Image.Image) -> int:
    """The hash of a picture, 0 to 2^64 - 1; where all cells are alike 2^63, or 0 where they are black.

    Args:
        flat: mode L or RGB, or a deep grey one (`images.DEEP_MODES`), which is scaled to its own smallest and
            largest value.
    """
    cells = grey_cells(flat, CELLS)
    low = (_DCT @ cells @ _DCT.T).reshape(-1)
    bits = 2 * low > np.partition(low, (31, 32))[31:33].sum()
    return int(_WEIGHTS[bits].sum())


def grey_cells(flat: Image.Image, side: int) -> npt.NDArray[np.int64]:
    """(side, side) averages of a picture's luma over cells of equal shape, 0-255; `flat` as in `perceptual_hash`."""
    if flat.mode not in ("L", "RGB"):
        return _deep_cells(flat, side)
    small = flat.convert("L").resize((side, side), Image.Resampling.BOX, reducing_gap=GAP)
    return np.asarray(small, dtype=np.int64)


def _deep_cells(deep: Image.Image, side: int) -> npt.NDArray[np.int64]:
    """Cells of a deep picture; values that are no number count as the smallest."""
    values = np.asarray(deep)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros((side, side), dtype=np.int64)
    some = values.flat[int(finite.argmax())]
    low = float(values.min(where=finite, initial=some))
    high = float(values.max(where=finite, initial=some))
    span = max(high / 2 - low / 2, np.finfo(np.float64).tiny)
    scaled = np.zeros(values.shape, np.float32)
    for top in range(0, len(values), STRIP_ROWS):
        strip = slice(top, top + STRIP_ROWS)
        level = np.where(finite[strip], values[strip], low) / 2 - low / 2
        scaled[strip] = (level / span).astype(np.float32) * 255
    small = np.asarray(Image.fromarray(scaled).resize((side, side), Image.Resampling.BOX))
    cells: npt.NDArray[np.int64] = np.rint(small).astype(np.int64)
    return cells
