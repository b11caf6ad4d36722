"""Descriptions of charts and of medical pictures that the decision `figures` compares pictures with, in named lists.

Imports nothing that works, since the graph reads it. The decision is `figures.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from medmax_pipeline.errors import ConfigError

SCORER: Final = "similarity_model"
"""Key of the asset that scores."""


class Prompts(NamedTuple):
    """Descriptions that pictures are compared with."""

    figure: tuple[str, ...]
    medical: tuple[str, ...]


PROMPTS: Final[Mapping[str, Prompts]] = MappingProxyType(
    {
        "v1": Prompts(
            figure=(
                "A bar chart.",
                "A line graph.",
                "A scatter plot.",
                "Kaplan-Meier survival curves.",
                "A statistical figure with axes.",
                "A chart of measured data.",
            ),
            medical=(
                "A radiograph.",
                "A chest radiograph.",
                "A CT image.",
                "An MRI image.",
                "An ultrasound image.",
                "A histology section.",
                "A microscopy image.",
                "A fundus photograph.",
                "A nuclear medicine image.",
                "A clinical photograph.",
                "An endoscopy image.",
            ),
        )
    }
)
"""Lists by name. A list stays as it is for good; other words are another list."""


def prompts_named(name: str) -> Prompts:
    """The list of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in PROMPTS:
        raise ConfigError(f"curation.figures_prompts is {name!r}; known: {', '.join(PROMPTS)}.")
    return PROMPTS[name]
