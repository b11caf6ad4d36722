"""The ways in which a copy may show an evaluation picture, and the perceptual hash of each, from one small grey copy.

Cut, framed, flipped left to right, turned a little, or as its negative: a copy's hash lies near that of one of these
views, and the view's map is where `confirm.py` begins. Evaluation sets are small beside training sets, so all views are
made of their side. A crop, a frame or a flip acts on the two axes apart and the hash's transform is linear, so the
lowest frequencies of all of them are two small matrix products a picture.

P pictures, V views; S = `confirm.COARSE` pixels.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.curation.confirm import COARSE, Floats, Greys, warped
from medmax_pipeline.curation.neighbours import Hashes
from medmax_pipeline.ingest.phash import CELLS, LOWEST

Matrix = npt.NDArray[Any]

CUT_STEP: Final = 0.0375
"""Ours: a hash stays within 6 bits up to about 2 % more or less at an edge, so the next view is never further."""
CUT_STEPS: Final = 4
"""Up to 15 % off a side in all."""
FRAMES: Final = (0.0, 0.015, 0.03, 0.045, 0.06, 0.08)
"""Width of a black or white frame at either end, as a share of the side."""
TURNS: Final = (-4.5, -3.5, -2.5, -1.5, 1.5, 2.5, 3.5, 4.5)
"""Degrees; the corners that a turn opens may be black, white or drawn out from the edge."""


class View(NamedTuple):
    """One way to show a picture again."""

    change: str
    """In words, for tables: `as it is`, `cut`, `framed`, `turned`, with `, flipped` behind it; or `negative`."""
    flipped: bool
    across: tuple[float, float]
    """Share of the width left out at the left and at the right; below 0 where a frame is added."""
    down: tuple[float, float]
    turn: float
    negative: bool

    def map(self, aspect: float) -> Floats:
        """(2, 3) from the copy's coordinates to the picture's, both -1 to 1.

        Args:
            aspect: the picture's width over its height.
        """
        u = (1 - sum(self.across)) * (-1 if self.flipped else 1)
        v = 1 - sum(self.down)
        angle = np.radians(self.turn)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        turn = np.array([[cos, -sin / aspect], [sin * aspect, cos]])
        moved = [[self.across[0] - self.across[1]], [self.down[0] - self.down[1]]]
        return np.hstack([turn @ np.diag([u, v]), moved]).astype(np.float32)


_PARTS: Final = [
    (near * CUT_STEP, far * CUT_STEP)
    for near, far in product(range(CUT_STEPS + 1), repeat=2)
    if near + far <= CUT_STEPS
]
_SIGNS: Final = np.where(np.arange(LOWEST) % 2, -1.0, 1.0)
"""What a flip does to the frequencies across."""
_FILLS: Final = (0.0, 255.0)


@cache
def _low(near: float, far: float) -> Matrix:
    """(LOWEST, COARSE): the lowest frequencies of the cells over a part of a side; outside it lie zeros."""
    edges = (near + (1 - near - far) * np.arange(CELLS + 1) / CELLS) * COARSE
    pixels = np.arange(COARSE)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    cells = np.maximum(shared, 0) / np.diff(edges)[:, None]
    waves = np.cos(np.pi / CELLS * np.outer(np.arange(LOWEST), np.arange(CELLS) + 0.5))
    found: Matrix = waves @ cells
    return found


def _bits(low: Matrix) -> Hashes:
    """(...,) hashes of (..., LOWEST, LOWEST) frequencies."""
    flat = low.reshape(*low.shape[:-2], LOWEST * LOWEST)
    middle = np.partition(flat, (31, 32), axis=-1)[..., 31:33].sum(-1, keepdims=True)
    packed = np.packbits(2 * flat > middle, axis=-1)
    return packed.view(">u8")[..., 0].astype(np.uint64)


@cache
def views() -> tuple[View, ...]:
    """Every view, in the order of `view_hashes`."""
    found = []
    for flipped in (False, True):
        tail = ", flipped" if flipped else ""
        for down, across in product(_PARTS, _PARTS):
            plain = not any((*down, *across))
            found.append(View(("as it is" if plain else "cut") + tail, flipped, across, down, 0, False))
        for _, high, wide in product(_FILLS, FRAMES, FRAMES):
            found.append(View("framed" + tail, flipped, (-wide, -wide), (-high, -high), 0, False))
        found += [View("turned" + tail, flipped, (0, 0), (0, 0), turn, False) for turn in TURNS for _ in range(3)]
        found.append(View("negative" + tail, flipped, (0, 0), (0, 0), 0, True))
    return tuple(found)


def view_hashes(greys: Greys, aspects: npt.NDArray[np.float64]) -> Hashes:
    """(P, V) perceptual hashes of all views.

    Args:
        greys: (P, S, S) copies of the pictures.
        aspects: (P,) width over height of each.
    """
    plain = greys.astype(np.float32)
    parts = np.stack([_low(*part) for part in _PARTS]).astype(np.float32)
    frames = np.stack([_low(-frame, -frame) for frame in FRAMES]).astype(np.float32)
    whole = _low(0, 0).astype(np.float32)
    made = [_product(parts, plain, parts)]
    made += [_product(frames, plain - fill, frames) for fill in _FILLS]
    turned = _turned(plain, aspects)
    low_turned = whole @ turned @ whole.T
    negative = -(whole @ plain @ whole.T)[:, None]
    negative[..., 0, 0] *= -1  # the constant stays the largest, whatever the picture
    low = np.concatenate([*made, low_turned, negative], 1)
    return np.concatenate([_bits(low), _bits(low * _SIGNS)], 1)


def _product(weights: Matrix, pictures: Floats, other: Matrix) -> Matrix:
    """(P, W * W, LOWEST, LOWEST): every choice down with every choice across."""
    count = len(weights)
    rows = weights.reshape(-1, COARSE) @ pictures
    both = rows @ other.reshape(-1, COARSE).T
    split = both.reshape(len(pictures), count, LOWEST, count, LOWEST)
    return split.transpose(0, 1, 3, 2, 4).reshape(len(pictures), count * count, LOWEST, LOWEST)


def _turned(pictures: Floats, aspects: npt.NDArray[np.float64]) -> Floats:
    """(P, turns * 3, S, S): each turn with its corners drawn out, black and white."""
    made = []
    for turn in TURNS:
        view = View("", False, (0, 0), (0, 0), turn, False)
        drawn, mask = warped(pictures, np.stack([view.map(aspect) for aspect in aspects]))
        made += [drawn, drawn * mask, drawn * mask + 255 * (1 - mask)]
    return np.stack(made, 1)
