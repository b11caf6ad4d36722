"""Whether two pictures are one: laid over each other as well as an affine map can, then compared in their detail.

A perceptual hash sees a picture from afar, where all chest radiographs are alike. So candidates are registered on small
grey copies (inverse compositional Gauss-Newton on six parameters, S. Baker and I. Matthews, *Lucas-Kanade 20 Years On*,
2004, with gain and offset taken out), and then two things are asked. *Detail*: what lies between two blurs is
correlated; other patients share no edges and no texture. *Tone*: after the best smooth tone curve, how much of the
blurred pictures stays different; slices of a volume and frames of a cine share texture and outline, but something has
moved, and neither rescaling nor recompression touches what is blurred. Which pictures are candidates, and what follows
from a verdict, belongs to `duplicates.py` and `leakage.py`; how the limits were measured is in docs/curation.md.

P pairs; S side of the copies in pixels; maps are (P, 2, 3), from the second picture's coordinates to the first's, both
-1 to 1 from edge to edge.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Greys = npt.NDArray[np.uint8]

COARSE: Final = 96
"""Side of the copies that all candidates are registered on."""
FINE: Final = 192
"""Side of the copies that are looked at again where both pictures have as many pixels: neighbours differ there."""
START_LEAST: Final = 0.5
"""Correlation of the pictures at 32 pixels, after its steps, under which a pair is not looked at further. Ours: copies
have 0.8 and more."""
STEPS: Final = (10, 5)
"""Gauss-Newton steps at 32 and at 96 pixels."""
FINE_STEPS: Final = 3
COVER_LEAST: Final = 0.55
"""Share of each picture that the other must cover. Ours: 15 % off both sides leave 72 %, a 10 % frame leaves 69 %."""
EDGE_PX: Final = 3
"""Left out along the edge of what both show."""
FLAT: Final = 1.0
"""Root mean square detail, in grey levels, under which a picture has nothing to compare: glass, air, a blank page."""
TONE_BLUR: Final = 3
"""Passes of the filter before tones are compared."""
TONE_SIDE: Final = 48
_STEP_LIMIT: Final = 0.1
_DAMPING: Final = 1e-3
_BLURS: Final = (1, 8)
"""Passes of the (1 2 1)/4 filter between which detail lies: waves of some 4 to 15 pixels."""


class Registered(NamedTuple):
    """How pairs lie over each other, and how alike they are then."""

    maps: Floats
    detail: Floats
    """(P,): correlation of detail, -1 to 1; 0 where it was not looked at, or where there is nothing to compare."""
    tone: Floats
    """(P,): what no tone curve explains, as a share of the blurred picture's spread, 0 to 1; 1 where detail is 0."""


def _grid(side: int) -> tuple[Floats, Floats]:
    line = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    return np.broadcast_to(line[None, :], (side, side)), np.broadcast_to(line[:, None], (side, side))


def warped(first: Floats, maps: Floats) -> tuple[Floats, Floats]:
    """(P, S, S) the first pictures in the second's coordinates, bilinear, and 1 where there is a picture, else 0."""
    pairs, side, _ = first.shape
    u, v = _grid(side)
    x, y = (
        (maps[:, row, 0, None, None] * u + maps[:, row, 1, None, None] * v + maps[:, row, 2, None, None] + 1)
        * (side / 2)
        - np.float32(0.5)
        for row in (0, 1)
    )
    inside = (x >= -0.5) & (x <= side - 0.5) & (y >= -0.5) & (y <= side - 0.5)
    np.clip(x, 0, side - 1.001, out=x)
    np.clip(y, 0, side - 1.001, out=y)
    left, top = x.astype(np.int32), y.astype(np.int32)
    x -= left
    y -= top
    place = (np.arange(pairs, dtype=np.int32) * (side * side))[:, None, None] + top * side + left
    flat = first.reshape(-1)
    above = flat[place] * (1 - x) + flat[place + 1] * x
    below = flat[place + side] * (1 - x) + flat[place + side + 1] * x
    return (above * (1 - y) + below * y).astype(np.float32), inside.astype(np.float32)


def _unit(values: Floats, mask: Floats) -> Floats:
    """Mean 0 and norm 1 under the mask."""
    mean = (values * mask).sum((1, 2)) / np.maximum(mask.sum((1, 2)), 1)
    centred = (values - mean[:, None, None]) * mask
    found: Floats = centred / np.sqrt((centred * centred).sum((1, 2)) + 1e-6)[:, None, None]
    return found


def _descend(first: Floats, second: Floats, maps: Floats, steps: int) -> tuple[Floats, Floats]:
    """The maps after some steps, and the correlation (P,) before the last of them."""
    pairs, side, _ = second.shape
    u, v = _grid(side)
    whole = _unit(second, np.ones_like(second))
    down, across = np.gradient(whole, axis=(1, 2))
    across, down = across * (side / 2), down * (side / 2)
    slopes = np.stack([across * u, across * v, across, down * u, down * v, down], 1).reshape(pairs, 6, -1)
    flat = whole.reshape(pairs, -1, 1)
    slopes -= (slopes @ flat) * flat.transpose(0, 2, 1)  # what a gain would explain is no movement
    bends = (slopes @ slopes.transpose(0, 2, 1)).astype(np.float64)
    weight = np.trace(bends, axis1=1, axis2=2) / 6
    bends += np.eye(6) * (_DAMPING * weight + 1e-8)[:, None, None]
    inverse = np.linalg.inv(bends)
    alike = np.zeros(pairs, np.float32)
    for _ in range(steps):
        moved, mask = warped(first, maps)
        ours, theirs = _unit(moved, mask), _unit(second, mask)
        alike = (ours * theirs).sum((1, 2))
        error = (ours - theirs).reshape(pairs, -1, 1)
        change = np.clip((inverse @ (slopes @ error))[..., 0], -_STEP_LIMIT, _STEP_LIMIT)
        maps = _compose(maps, change)
    return maps, alike


def _compose(maps: Floats, change: npt.NDArray[np.float64]) -> Floats:
    """The maps after the inverse of a small one, given as its difference from the identity."""
    small = np.tile(np.eye(3), (len(maps), 1, 1))
    small[:, :2] += change.reshape(-1, 2, 3)
    whole = np.tile(np.eye(3), (len(maps), 1, 1))
    whole[:, :2] = maps
    found: Floats = (whole @ np.linalg.inv(small))[:, :2].astype(np.float32)
    return found


def _pooled(values: Floats, times: int) -> Floats:
    side = values.shape[-1] // times
    found: Floats = values.reshape(-1, side, times, side, times).mean((2, 4), dtype=np.float32)
    return found


def _blurred(values: Floats, passes: int) -> Floats:
    for _ in range(passes):
        wide = np.pad(values, ((0, 0), (1, 1), (0, 0)), mode="edge")
        values = ((wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4).astype(np.float32)
        wide = np.pad(values, ((0, 0), (0, 0), (1, 1)), mode="edge")
        values = ((wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]) / 4).astype(np.float32)
    return values


def _detail(values: Floats) -> Floats:
    fine = _blurred(values, _BLURS[0])
    return fine - _blurred(fine, _BLURS[1] - _BLURS[0])


def _shrunk(mask: Floats) -> Floats:
    """The mask without its outermost pixels."""
    for _ in range(EDGE_PX):
        wide = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
        mask = np.minimum.reduce(
            [wide[:, 1:-1, 1:-1], wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]]
        )
    return mask


def _alike(first: Floats, second: Floats, maps: Floats) -> Registered:
    """How alike pairs are over what both show."""
    moved, mask = warped(first, maps)
    cover = mask.mean((1, 2))
    size = np.abs(maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0])
    inner = _shrunk(mask)
    ours, theirs = _detail(moved) * inner, _detail(second) * inner
    area = np.maximum(inner.sum((1, 2)), 1)
    power = np.stack([(ours * ours).sum((1, 2)), (theirs * theirs).sum((1, 2))])
    detail = (ours * theirs).sum((1, 2)) / np.sqrt(power[0] * power[1] + 1e-6)
    shown = (np.sqrt(power / area) >= FLAT).all(0) & (np.minimum(cover, cover * size) >= COVER_LEAST)
    tone = _untold(_blurred(moved, TONE_BLUR), _blurred(second, TONE_BLUR), inner)
    return Registered(maps, np.where(shown, detail, 0).astype(np.float32), np.where(shown, tone, 1).astype(np.float32))


def _untold(ours: Floats, theirs: Floats, mask: Floats) -> npt.NDArray[np.float64]:
    """(P,) spread of what the best cubic of one picture leaves of the other, over the other's spread."""
    step = max(1, mask.shape[-1] // TONE_SIDE)  # what is blurred can be told from fewer pixels
    ours, theirs, mask = (each[:, ::step, ::step] for each in (ours, theirs, mask))
    weight = mask.reshape(len(mask), -1).astype(np.float64)
    count = np.maximum(weight.sum(1, keepdims=True), 1)
    level, wanted = (each.reshape(len(mask), -1).astype(np.float64) for each in (ours, theirs))
    level, wanted = ((each - (each * weight).sum(1, keepdims=True) / count) * weight for each in (level, wanted))
    level /= np.sqrt((level**2).sum(1, keepdims=True) / count) + 1e-9
    powers = np.stack([weight, level, level**2, level**3], 2)
    normal = powers.transpose(0, 2, 1) @ powers + 1e-9 * np.eye(4)
    fitted = powers @ np.linalg.solve(normal, powers.transpose(0, 2, 1) @ wanted[..., None])
    left = ((wanted - fitted[..., 0]) ** 2).sum(1)
    found: npt.NDArray[np.float64] = np.sqrt(left / np.maximum((wanted**2).sum(1), 1e-9))
    return found


def register(first: Greys, second: Greys, start: Floats) -> Registered:
    """Lay pairs over each other on their copies of `COARSE` pixels.

    Args:
        first: (P, COARSE, COARSE).
        second: (P, COARSE, COARSE).
        start: (P, 2, 3) maps to begin with; within about 5 % of the right ones they arrive.
    """
    ours, theirs = first.astype(np.float32), second.astype(np.float32)
    maps, alike = _descend(_pooled(ours, 3), _pooled(theirs, 3), start.astype(np.float32), STEPS[0])
    found = Registered(maps, np.zeros(len(ours), np.float32), np.ones(len(ours), np.float32))
    going = np.flatnonzero(alike >= START_LEAST)
    if len(going):
        ours, theirs = ours[going], theirs[going]
        for held, learnt in zip(
            found, _alike(ours, theirs, _descend(ours, theirs, maps[going], STEPS[1])[0]), strict=True
        ):
            held[going] = learnt
    return found


def refine(first: Greys, second: Greys, maps: Floats) -> Registered:
    """Look again, from the maps that `register` found, on copies of `FINE` pixels."""
    ours, theirs = first.astype(np.float32), second.astype(np.float32)
    maps, _ = _descend(ours, theirs, maps, FINE_STEPS)
    return _alike(ours, theirs, maps)
