"""What there is to look at of the decision `figures`: the distribution of scores, and pictures of both sides.

Drawn with Pillow alone, into the folder that no digest looks at. Scores come from `figures.py`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

from PIL import Image, ImageDraw

from medmax_pipeline.curation.examples import SIDE_PX, small_copy
from medmax_pipeline.ingest.reader import ImageReader

COLUMNS: Final = 8
WIDTH_PX: Final = 560
HEIGHT_PX: Final = 200
MARGIN_PX: Final = 24
BARS: Final = 56
DROPPED: Final = (196, 78, 82)
KEPT: Final = (76, 114, 176)


def drawn(
    reader: ImageReader, open_scores: Mapping[str, float], scores: Sequence[float], threshold: float
) -> dict[str, bytes]:
    """PNG files by name.

    Args:
        reader: of the pictures.
        open_scores: scores by image id of the pictures that anybody may see.
        scores: all scores.
        threshold: what parts the sides.

    Returns:
        `figure_scores.png`, and where there are pictures `figures_dropped.png` and `figures_kept.png`: upper row the
        surest of that side, lower row those nearest to the threshold.
    """
    sheets = {"figure_scores.png": histogram(scores, threshold)} if scores else {}
    above = sorted((image for image, score in open_scores.items() if score > threshold), key=lambda i: -open_scores[i])
    below = sorted((image for image, score in open_scores.items() if score <= threshold), key=lambda i: open_scores[i])
    for name, side in (("figures_dropped.png", above), ("figures_kept.png", below)):
        if side:
            sheets[name] = _sheet(reader, side[:COLUMNS], side[: COLUMNS - 1 : -1][:COLUMNS])
    return sheets


def histogram(scores: Sequence[float], threshold: float) -> bytes:
    """Bars of how many pictures score how much, red above the threshold; heights by the root, so that few are seen."""
    low, high = min(*scores, threshold) - 0.01, max(*scores, threshold) + 0.01
    counts = [0] * BARS
    for score in scores:
        counts[int((score - low) / (high - low) * BARS)] += 1
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "white")
    pen = ImageDraw.Draw(image)
    floor, tallest = HEIGHT_PX - MARGIN_PX, max(counts) ** 0.5

    def at(score: float) -> float:
        return MARGIN_PX + (score - low) / (high - low) * (WIDTH_PX - 2 * MARGIN_PX)

    for place, count in enumerate(counts):
        start = low + place * (high - low) / BARS
        top = floor - count**0.5 / tallest * (floor - MARGIN_PX)
        colour = DROPPED if start + (high - low) / BARS / 2 > threshold else KEPT
        if count:
            pen.rectangle((at(start), top, at(start + (high - low) / BARS) - 1, floor), fill=colour)
    pen.line((MARGIN_PX, floor, WIDTH_PX - MARGIN_PX, floor), fill="black")
    pen.line((at(threshold), MARGIN_PX / 2, at(threshold), floor), fill="black")
    pen.text((at(threshold) + 3, 4), f"threshold {threshold:g}", fill="black")
    for score in (low, high):
        pen.text((at(score) - 14, floor + 6), f"{score:.2f}", fill="black")
    pen.text((MARGIN_PX, 4), f"{len(scores):,} pictures", fill="black")
    return _png(image)


def _sheet(reader: ImageReader, *rows: Sequence[str]) -> bytes:
    sheet = Image.new("RGB", (COLUMNS * SIDE_PX, sum(bool(row) for row in rows) * SIDE_PX), "white")
    for at, row in enumerate(row for row in rows if row):
        for place, image_id in enumerate(row):
            copy = small_copy(reader, image_id)
            if copy is not None:
                sheet.paste(copy, (place * SIDE_PX, at * SIDE_PX))
    return _png(sheet)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
