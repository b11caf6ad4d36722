"""Radiographs drawn by a seeded generator: chests for the invented patients, limbs for variety. All are synthetic.

A drawing follows its record to the letter, so that a report written from the record is true to the picture. The grey
scale is the radiologist's: air dark, bone bright. The right of a frontal picture is the patient's left. Who the
patients are and what their reports say is in `mimic_cxr.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Plane = npt.NDArray[np.floating[Any]]
"""(H, W) brightness, about 0-255."""
View = Literal["PA", "AP", "LATERAL"]
Side = Literal["", "left", "right", "both"]
"""The patient's side; empty where there is none."""
Zone = Literal["upper", "middle", "lower"]

SIDE_PX = 256
"""Height and width of a drawing."""
LARGE_HEART = 0.55
"""Heart over chest width from which the report calls the heart enlarged; radiology's usual line is 0.5."""


@dataclass(frozen=True, slots=True)
class Chest:
    """What is drawn of a chest."""

    view: View
    heart_ratio: float
    """Width of the heart over the inner width of the chest, 0.4-0.7."""
    effusion: Side = ""
    opacity: Side = ""
    """Side of a hazy opacity (never both), empty for none."""
    zone: Zone = "lower"
    """Height of the opacity."""
    device: bool = False
    """A pacemaker box with its lead, on the patient's left."""
    seed: int = 0
    """Noise and anatomy within their ranges."""


def draw_chest(chest: Chest) -> Image.Image:
    """The drawing, mode L, 256 x 256; the same record gives the same pixels."""
    generator = np.random.default_rng([7, chest.seed])
    plane = _lateral(chest, generator) if chest.view == "LATERAL" else _frontal(chest, generator)
    return _finish(plane, generator, blur=1.6)


def draw_limb(seed: int) -> Image.Image:
    """A limb with two long bones, 256 x 256, mode L; the same seed gives the same pixels."""
    generator = np.random.default_rng([11, seed])
    x, y = _grid()
    lean, middle = generator.uniform(-0.12, 0.12), generator.uniform(-0.15, 0.15)
    narrow = generator.uniform(0.3, 0.55) * (1 - generator.uniform(-0.25, 0.25) * y)
    along = x - middle - lean * y
    plane = np.full_like(x, generator.uniform(4, 20))
    flesh = _soft(1 - np.abs(along) / narrow, 12)
    plane += flesh * generator.uniform(70, 130)
    for place, thick in ((-0.12, generator.uniform(0.1, 0.16)), (0.2, generator.uniform(0.04, 0.08))):
        thickness = thick * (1 + generator.uniform(0.3, 0.9) * y**4)
        across = np.abs(along - place * narrow / 0.45) / thickness
        bone = _soft(1 - across, 14)
        marrow = _soft(0.62 - across, 14)
        plane += bone * generator.uniform(60, 90) - marrow * generator.uniform(25, 45)
    if generator.random() < 0.5:
        plane += 120 * _soft(x - generator.uniform(0.8, 0.92), 40)
    return _finish(plane, generator, blur=1.2)


def _frontal(chest: Chest, generator: np.random.Generator) -> Plane:
    x, y = _grid()
    wide = generator.uniform(0.72, 0.8)
    plane = np.full_like(x, 18)
    plane += 150 * _soft(1 - (np.abs(x) / (wide + 0.18)) ** 4 - np.maximum(-y - 0.62, 0) * 2.5, 9)
    floor = 0.52 + 0.03 * generator.standard_normal()
    air = np.zeros_like(x)
    for side in (-1, 1):
        shape = 1 - ((x - side * wide * 0.5) / (wide * 0.42)) ** 2 - ((y + 0.1) / 0.72) ** 2
        dome = floor + 0.05 * (side > 0) - 0.18 * np.cos((x - side * wide * 0.5) * 3.2)
        air = np.maximum(air, _soft(shape, 8) * _soft(dome - y + 0.12, 18))
    plane -= 105 * air
    ribs = np.zeros_like(x)
    for number in range(8):
        height = -0.72 + number * 0.17 + 0.32 * (np.abs(x) / wide) ** 2
        ribs += np.exp(-(((y - height) / 0.022) ** 2))
    plane += 26 * ribs * _soft(wide - np.abs(x), 20) * _soft(0.55 - y, 12)
    plane += 42 * _soft(0.085 - np.abs(x), 40)
    plane += 30 * np.exp(-(((y + 0.78 - 0.1 * np.abs(x)) / 0.03) ** 2)) * _soft(0.66 - np.abs(x), 20)
    half = chest.heart_ratio * wide
    heart = 1 - ((x - 0.22 * half) / half) ** 2 - ((y - 0.2) / (0.3 + 0.25 * half)) ** 2
    plane += 85 * _soft(heart, 9) * (0.35 + 0.65 * air)
    if chest.view == "AP":
        plane += 22 * _soft(np.abs(x) - 0.5, 10) * _soft(0.1 - y, 10)
    for name, side in (("right", -1), ("left", 1)):
        if chest.effusion in (name, "both"):
            level = 0.18 - 0.42 * np.maximum(side * x - 0.35, 0)
            plane += 100 * _soft(y - level, 14) * _soft(side * x - 0.08, 14) * air
        if chest.opacity == name:
            centre = {"upper": -0.45, "middle": -0.1, "lower": 0.22}[chest.zone]
            blob = ((x - side * 0.42) / 0.2) ** 2 + ((y - centre) / 0.16) ** 2
            plane += 85 * np.exp(-blob) * (0.3 + 0.7 * air)
    return _with_device(plane, x, y) if chest.device else plane


def _lateral(chest: Chest, generator: np.random.Generator) -> Plane:
    x, y = _grid()
    deep = generator.uniform(0.6, 0.68)
    plane = np.full_like(x, 16)
    plane += 140 * _soft(1 - (np.abs(x) / (deep + 0.16)) ** 4 - np.maximum(-y - 0.66, 0) * 2.0, 9)
    slope = 0.42 + 0.28 * x
    air = _soft(1 - (x / deep) ** 2 - ((y + 0.1) / 0.75) ** 2, 8) * _soft(slope - y, 16)
    plane -= 95 * air
    plane += 55 * _soft(0.13 - np.abs(x - deep * 0.78 - 0.08 * y**2), 26)
    for number in range(10):
        disc = -0.8 + number * 0.17
        plane -= 22 * np.exp(-(((y - disc) / 0.018) ** 2)) * _soft(0.12 - np.abs(x - deep * 0.78), 26)
    half = chest.heart_ratio * deep
    heart = 1 - ((x + deep * 0.38) / half) ** 2 - ((y - 0.18) / (0.24 + 0.25 * half)) ** 2
    plane += 75 * _soft(heart, 9) * (0.3 + 0.7 * air)
    if chest.effusion:
        plane += 95 * _soft(y - 0.32 + 0.5 * np.maximum(x, 0), 16) * _soft(x, 10) * air
    if chest.opacity:
        centre = {"upper": -0.45, "middle": -0.1, "lower": 0.22}[chest.zone]
        plane += 80 * np.exp(-((x / 0.2) ** 2) - ((y - centre) / 0.16) ** 2) * (0.3 + 0.7 * air)
    return _with_device(plane, x, y) if chest.device else plane


def _with_device(plane: Plane, x: Plane, y: Plane) -> Plane:
    box = _soft(0.11 - np.abs(x - 0.5), 60) * _soft(0.09 - np.abs(y + 0.52), 60)
    lead = np.exp(-(((x - 0.12 - 0.3 * np.maximum(-y, 0)) / 0.014) ** 2)) * _soft(0.35 - np.abs(y + 0.1), 40)
    lit: Plane = plane + 110 * box + 90 * lead
    return lit


def _grid() -> tuple[Plane, Plane]:
    line = np.linspace(-1, 1, SIDE_PX, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def _soft(distance: Plane, sharpness: float) -> Plane:
    """0 outside (negative), 1 inside, a smooth edge between."""
    edge: Plane = 1 / (1 + np.exp(np.clip(-sharpness * distance, -40, 40)))
    return edge


def _finish(plane: Plane, generator: np.random.Generator, blur: float) -> Image.Image:
    gain, lift = generator.uniform(0.85, 1.15), generator.uniform(-12, 12)
    grain = generator.normal(0, 4, plane.shape)
    pixels = np.clip(np.rint(plane * gain + lift + grain), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur))
