"""Drawings follow their record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from medmax_pipeline.sample.drawn import SIDE_PX, Chest, Side, Zone, draw_chest, draw_limb

PLAIN = Chest("PA", 0.45, seed=3)


def _difference(chest: Chest) -> npt.NDArray[np.float64]:
    without = np.asarray(draw_chest(replace(chest, effusion="")), dtype=np.float64)
    return np.asarray(draw_chest(chest), dtype=np.float64) - without


def test_the_same_record_gives_the_same_pixels() -> None:
    assert draw_chest(PLAIN).tobytes() == draw_chest(PLAIN).tobytes()
    assert draw_limb(5).tobytes() == draw_limb(5).tobytes()


def test_other_seeds_give_other_pixels() -> None:
    assert draw_limb(5).tobytes() != draw_limb(6).tobytes()
    assert draw_chest(PLAIN).tobytes() != draw_chest(replace(PLAIN, seed=4)).tobytes()


@pytest.mark.parametrize(("side", "lit"), [("left", slice(SIDE_PX // 2, None)), ("right", slice(None, SIDE_PX // 2))])
def test_an_effusion_brightens_the_patients_side(side: Side, lit: slice) -> None:
    difference = _difference(replace(PLAIN, effusion=side))
    dark = slice(None, SIDE_PX // 2) if side == "left" else slice(SIDE_PX // 2, None)
    assert difference[:, lit].mean() > 4
    assert abs(difference[:, dark].mean()) < 0.5


@pytest.mark.parametrize(("zone", "row"), [("upper", 70), ("middle", 115), ("lower", 156)])
def test_an_opacity_lies_in_its_zone(zone: Zone, row: int) -> None:
    plain = np.asarray(draw_chest(PLAIN), dtype=float)
    hazy = np.asarray(draw_chest(replace(PLAIN, opacity="left", zone=zone)), dtype=float)
    assert abs(int((hazy - plain).sum(axis=1).argmax()) - row) < 20


def test_a_larger_heart_is_wider() -> None:
    small = np.asarray(draw_chest(PLAIN), dtype=float)
    large = np.asarray(draw_chest(replace(PLAIN, heart_ratio=0.65)), dtype=float)
    assert (large - small)[140:170].mean() > 3


def test_a_device_is_drawn_on_the_patients_left() -> None:
    plain = np.asarray(draw_chest(PLAIN), dtype=float)
    paced = np.asarray(draw_chest(replace(PLAIN, device=True)), dtype=float)
    row, column = np.unravel_index(int((paced - plain).argmax()), plain.shape)
    assert column > SIDE_PX // 2
    assert row < SIDE_PX // 2
