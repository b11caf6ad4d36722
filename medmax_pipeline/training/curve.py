"""The loss curve as a picture, drawn with Pillow alone. Numbers are `metrics.jsonl`; this is for a glance."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

SIZE_PX = (880, 440)
MARGIN_PX = 52
INK, GRID, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
COLOURS: Mapping[str, tuple[int, int, int]] = {"text_loss": (31, 119, 180), "image_loss": (214, 96, 20)}
LABELS = {"text_loss": "text", "image_loss": "image codes"}
WINDOW_SHARE = 0.02
"""Each point is the mean over this share of all steps up to it."""


class Axes(NamedTuple):
    """From steps and nats to pixels."""

    steps: int
    top: float

    def at(self, step: int, loss: float) -> tuple[float, float]:
        """The pixel of a point."""
        width, height = SIZE_PX[0] - 2 * MARGIN_PX, SIZE_PX[1] - 2 * MARGIN_PX
        x = MARGIN_PX + width * step / max(1, self.steps)
        return x, MARGIN_PX + height * (1 - min(loss, self.top) / self.top)


def loss_curve(records: Sequence[Mapping[str, Any]]) -> bytes:
    """PNG of text and image loss (nats a token) over steps.

    Args:
        records: the lines of `metrics.jsonl`; a loss is None where a step had no such target.
    """
    picture = Image.new("RGB", SIZE_PX, PAPER)
    draw = ImageDraw.Draw(picture)
    losses = [record[name] for record in records for name in COLOURS if record[name] is not None]
    axes = Axes(records[-1]["step"], float(math.ceil(max(losses, default=1.0))) or 1.0)
    _grid(draw, axes)
    for number, (name, colour) in enumerate(COLOURS.items()):
        points = [axes.at(step, loss) for step, loss in _smoothed(records, name)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        draw.text((SIZE_PX[0] - MARGIN_PX - 130, 14 + 14 * number), f"— {LABELS[name]}", fill=colour)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _grid(draw: ImageDraw.ImageDraw, axes: Axes) -> None:
    for quarter in range(5):
        loss, step = axes.top * quarter / 4, axes.steps * quarter // 4
        x, y = axes.at(step, loss)
        draw.line([(MARGIN_PX, y), (SIZE_PX[0] - MARGIN_PX, y)], fill=GRID)
        draw.text((12, y - 6), f"{loss:.2f}", fill=INK)
        draw.text((x - 8, SIZE_PX[1] - MARGIN_PX + 8), str(step), fill=INK)
    draw.text((MARGIN_PX, 14), "training loss, nats a token, by step", fill=INK)


def _smoothed(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Running mean of a loss over the steps that have it."""
    known = [(record["step"], record[name]) for record in records if record[name] is not None]
    window = max(1, round(WINDOW_SHARE * len(known)))
    smooth = []
    for place in range(len(known)):
        recent = [loss for _, loss in known[max(0, place + 1 - window) : place + 1]]
        smooth.append((known[place][0], sum(recent) / len(recent)))
    return smooth
