"""Statistical figures drawn by a seeded generator: bars, lines, scatter plots and survival curves, with true captions.

Articles carry them beside pictures, and the curation's decision `figures` must find them. They are flagged
`synthetic`, planted into the training side of PMC-derived folders only, and no number in them means anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from medmax_pipeline.sample.pictures import Picture

WIDTH_PX: Final = 300
HEIGHT_PX: Final = 240
PALETTES: Final = (
    ((31, 119, 180), (255, 127, 14), (44, 160, 44)),
    ((0, 0, 0), (110, 110, 110), (180, 180, 180)),
    ((200, 30, 30), (30, 60, 200), (120, 60, 160)),
    ((230, 159, 0), (86, 180, 233), (0, 158, 115)),
)
"""Line and fill colours; the second is that of print journals."""
TRAINED: Final = 0
HELD_OUT: Final = 10_000
PLANTED: Final = 20_000
"""First numbers of the charts that the similarity model learns from, is measured on, and that are planted."""

Colour = tuple[int, int, int]


class Frame(NamedTuple):
    """The inner area of a chart."""

    left: int
    top: int
    right: int
    bottom: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a place given as shares of width and height, from the lower left."""
        return self.left + x * (self.right - self.left), self.bottom - y * (self.bottom - self.top)


def chart(number: int) -> Picture:
    """The chart of that number as a picture of the corpus, the same every time."""
    name = f"drawn_chart_{number:05d}"
    return Picture(name, name, "train", "synthetic", "chart", WIDTH_PX, HEIGHT_PX, render=partial(draw_chart, number))


def chart_caption(number: int) -> str:
    """A caption that is true of the chart by construction."""
    groups = 2 + number % 2
    return {
        "bars": f"Bar chart of the mean score in {groups} groups with error bars.",
        "lines": f"Line graph of the measured level over time in {groups} groups.",
        "scatter": "Scatter plot of two measurements with the regression line.",
        "survival": f"Kaplan-Meier survival curves of {groups} groups.",
    }[kind_of(number)]


def chart_texts(number: int) -> tuple[str, ...]:
    """What else may be said of the chart of that number."""
    short = {
        "bars": "A bar chart.",
        "lines": "A line graph.",
        "scatter": "A scatter plot.",
        "survival": "A survival curve.",
    }[kind_of(number)]
    return chart_caption(number), short, "A statistical figure with axes.", "A chart of measured data."


def kind_of(number: int) -> str:
    """Which of the four kinds the chart of that number is."""
    return tuple(KINDS)[number % len(KINDS)]


def draw_chart(number: int) -> Image.Image:
    """The drawing, mode RGB, 300 x 240; the same number gives the same pixels."""
    chance = random.Random(f"chart {number}")
    paper = chance.choice(((255, 255, 255), (255, 255, 255), (248, 248, 248), (235, 240, 245)))
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), paper)
    pen = ImageDraw.Draw(image)
    left, bottom = chance.randint(32, 48), HEIGHT_PX - chance.randint(30, 44)
    frame = Frame(left, chance.randint(14, 30), WIDTH_PX - chance.randint(8, 24), bottom)
    _axes(pen, frame, chance)
    colours = chance.choice(PALETTES)
    KINDS[kind_of(number)](pen, frame, colours[: 2 + number % 2], chance)
    return image


def _axes(pen: ImageDraw.ImageDraw, frame: Frame, chance: random.Random) -> None:
    grid, boxed = chance.random() < 0.4, chance.random() < 0.5
    steps = chance.randint(4, 6)
    top, far = chance.choice((1, 5, 10, 100, 250)), chance.choice((1, 2, 10))
    for step in range(steps + 1):
        _, y = frame.at(0, step / steps)
        x, _ = frame.at(step / steps, 0)
        if grid:
            pen.line((frame.left, y, frame.right, y), fill=(205, 205, 205))
        pen.line((frame.left - 4, y, frame.left, y), fill=(0, 0, 0))
        pen.line((x, frame.bottom, x, frame.bottom + 4), fill=(0, 0, 0))
        pen.text((4, y - 6), f"{top * step / steps:.3g}", fill=(0, 0, 0))
        pen.text((x - 6, frame.bottom + 6), str(step * far), fill=(0, 0, 0))
    if boxed:
        pen.rectangle(frame, outline=(0, 0, 0))
    pen.line((frame.left, frame.top, frame.left, frame.bottom), fill=(0, 0, 0), width=2)
    pen.line((frame.left, frame.bottom, frame.right, frame.bottom), fill=(0, 0, 0), width=2)
    words = chance.choice(("Time (months)", "Age (years)", "Dose (mg)", "Week"))
    pen.text(((frame.left + frame.right) / 2 - 30, HEIGHT_PX - 16), words, fill=(0, 0, 0))
    pen.text((frame.left, 1), chance.choice(("Score", "Probability", "Level (ng/mL)", "Patients (%)")), fill=(0, 0, 0))


def _bars(pen: ImageDraw.ImageDraw, frame: Frame, colours: tuple[Colour, ...], chance: random.Random) -> None:
    places = chance.randint(2, 4)
    wide = 0.7 / (places * len(colours))
    for place in range(places):
        for rank, colour in enumerate(colours):
            x, high = (place + 0.15) / places + rank * wide, chance.uniform(0.15, 0.85)
            (left, top), (right, bottom) = frame.at(x, high), frame.at(x + wide * 0.9, 0)
            pen.rectangle((left, top, right, bottom), fill=colour, outline=(0, 0, 0))
            middle, spread = (left + right) / 2, chance.uniform(4, 12)
            pen.line((middle, top - spread, middle, top + spread), fill=(0, 0, 0))
            pen.line((middle - 3, top - spread, middle + 3, top - spread), fill=(0, 0, 0))


def _lines(pen: ImageDraw.ImageDraw, frame: Frame, colours: tuple[Colour, ...], chance: random.Random) -> None:
    points = chance.randint(5, 9)
    for colour in colours:
        level, drift = chance.uniform(0.2, 0.7), chance.uniform(-0.06, 0.06)
        heights = [min(0.95, max(0.05, level + drift * n + chance.uniform(-0.08, 0.08))) for n in range(points)]
        path = [frame.at(0.03 + 0.94 * n / (points - 1), high) for n, high in enumerate(heights)]
        pen.line(path, fill=colour, width=2)
        for x, y in path:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


def _scatter(pen: ImageDraw.ImageDraw, frame: Frame, colours: tuple[Colour, ...], chance: random.Random) -> None:
    start, slope = chance.uniform(0.1, 0.6), chance.uniform(-0.4, 0.6)
    for number in range(chance.randint(30, 80)):
        x = chance.uniform(0.03, 0.97)
        across, up = frame.at(x, min(0.97, max(0.03, start + slope * x + chance.gauss(0, 0.09))))
        pen.ellipse((across - 2, up - 2, across + 2, up + 2), fill=colours[number % len(colours)])
    ends = [frame.at(x, min(0.97, max(0.03, start + slope * x))) for x in (0.0, 1.0)]
    pen.line(ends, fill=(0, 0, 0))


def _survival(pen: ImageDraw.ImageDraw, frame: Frame, colours: tuple[Colour, ...], chance: random.Random) -> None:
    for colour in colours:
        x, high, fall = 0.0, 1.0, chance.uniform(0.03, 0.12)
        path = [frame.at(x, high)]
        while x < 1.0:
            x = min(1.0, x + chance.uniform(0.03, 0.12))
            path.append(frame.at(x, high))
            high = max(0.03, high - chance.uniform(0, 2 * fall))
            path.append(frame.at(x, high))
        pen.line(path, fill=colour, width=2)
        for censored in path[3::6]:
            pen.line((censored[0], censored[1] - 4, censored[0], censored[1] + 4), fill=colour)


Drawing = Callable[[ImageDraw.ImageDraw, Frame, tuple[Colour, ...], random.Random], None]
KINDS: Final[Mapping[str, Drawing]] = {"bars": _bars, "lines": _lines, "scatter": _scatter, "survival": _survival}
"""The kinds in the order of their numbers."""
