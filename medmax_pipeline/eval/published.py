"""Scores that others have published for the suite, each with where it was read. Nothing here was measured by us.

Accuracies and judged answers are in percent, similarities are cosines. A figure that was read off a chart says how far
off it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

TABLE: Final = "MedMax (arXiv 2412.12661), main table, as on the authors' website"
FIGURE_7: Final = "MedMax (arXiv 2412.12661), figure 7, bars measured in pixels: within 0.005"
FIGURE_8: Final = "MedMax (arXiv 2412.12661), figure 8, bars measured in pixels: within 0.2 points or 0.005"
FIGURE_9: Final = "MedMax (arXiv 2412.12661), figure 9, bars measured in pixels: within 0.2 points"
PERCENT: Final = "percent"
COSINE: Final = "cosine"


@dataclass(frozen=True, slots=True)
class Published:
    """One published figure."""

    model: str
    task: str
    """A row of the suite, or `average`; `mm_out` where both of its rows are taken together."""
    value: float
    unit: str
    origin: str
    metric: str = ""
    """What was measured, where a row has more than one figure."""


_ORDER: Final = (
    "average",
    "vqa_rad/closed",
    "slake/closed",
    "pathvqa/closed",
    "quilt_vqa/closed",
    "vqa_rad/open",
    "slake/open",
    "pathvqa/open",
    "quilt_vqa/open",
    "pmc_vqa/mcq",
    "omnimed_vqa/mcq",
    "path_mmu/mcq",
    "probmed/closed",
)
_ACCURACIES: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "Chameleon-7B": (39.4, 48.6, 59.1, 58.9, 71.4, 32.0, 5.3, 18.0, 15.3, 31.0, 45.7, 34.5, 52.8),
        "LLaVA-Med v1.5-7B": (36.6, 61.0, 48.7, 62.7, 63.0, 23.0, 25.1, 6.2, 17.2, 18.9, 28.7, 29.8, 58.5),
        "GPT-4o-mini": (38.5, 55.8, 50.4, 48.7, 38.5, 13.0, 49.3, 7.3, 28.0, 39.6, 45.1, 35.6, 50.6),
        "GPT-4o": (42.0, 54.2, 50.1, 59.2, 44.6, 17.6, 63.7, 9.1, 36.1, 40.8, 40.9, 39.1, 48.3),
        "HuatuoGPT-Vision-7B": (52.4, 74.5, 70.7, 65.9, 55.7, 19.0, 53.3, 6.0, 22.2, 51.6, 75.6, 55.4, 78.7),
        "MedMax-7B": (65.5, 75.3, 88.4, 91.8, 61.2, 46.5, 82.2, 40.6, 26.0, 49.0, 99.5, 49.3, 75.8),
    }
)
_CLIP: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "image_captioning/pmc_oa": (0.33, 0.25, 0.37),
        "image_captioning/quilt": (0.31, 0.24, 0.32),
        "image_captioning/report": (0.40, 0.36, 0.41),
    }
)
_DRAWN: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "image_generation/pmc_oa": (0.10, 0.20),
        "image_generation/quilt": (0.21, 0.24),
        "image_generation/report": (0.20, 0.30),
    }
)
_CHAT: Final[Mapping[str, float]] = MappingProxyType(
    {
        "Chameleon-7B": 26.4,
        "LLaVA-Med-1-7B": 50.0,
        "HuatuoGPT-Vision-7B": 60.3,
        "LLaVA-Med v1.5-7B": 62.3,
        "MedMax-7B": 60.2,
    }
)


def _all() -> list[Published]:
    rows = [
        Published(model, task, value, PERCENT, TABLE)
        for model, values in _ACCURACIES.items()
        for task, value in zip(_ORDER, values, strict=True)
    ]
    for task, (truth, before, after) in _CLIP.items():
        rows.append(Published("reference captions", task, truth, COSINE, FIGURE_7))
        rows += [Published(m, task, v, COSINE, FIGURE_7) for m, v in (("Chameleon-7B", before), ("MedMax-7B", after))]
    for task, (before, after) in _DRAWN.items():
        rows += [Published(m, task, v, COSINE, FIGURE_7) for m, v in (("Chameleon-7B", before), ("MedMax-7B", after))]
    rows += [Published(model, "visual_chat", value, PERCENT, FIGURE_9) for model, value in _CHAT.items()]
    for model, text, picture in (("Chameleon-7B", 75.2, 0.35), ("MedMax-7B", 94.2, 0.46)):
        rows.append(Published(model, "mm_out", text, PERCENT, FIGURE_8, "relative_score"))
        rows.append(Published(model, "mm_out", picture, COSINE, FIGURE_8, "image_similarity"))
    return rows


PUBLISHED: Final = tuple(_all())
"""Every published figure. The average printed for LLaVA-Med v1.5 is 36.6, the mean of its twelve figures 36.9; a later
version of the paper is said to give 47.2 for GPT-4o's."""
