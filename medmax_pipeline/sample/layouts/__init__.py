"""The sample's landing folders: one file a folder, each ending in `LAYOUT = Layout(...)`.

A layout turns pictures into the files that a publisher ships, quirks and faults included; the folder is the registry.
Which pictures a layout gets is decided in `corpus.py`, writing the files belongs to `layout.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from medmax_pipeline.sample.layout import Tree
from medmax_pipeline.sample.pictures import Picture


class Pool(NamedTuple):
    """The pictures that a layout is made of."""

    own: tuple[Picture, ...]
    """Nobody else's; `picture.split` is the side on which a picture must be placed."""
    asked: tuple[Picture, ...]
    """Those of the sample's VQA-RAD, for planting copies across sources."""

    def of(self, split: str) -> tuple[Picture, ...]:
        """Its own pictures of one split."""
        return tuple(picture for picture in self.own if picture.split == split)


class Layout(NamedTuple):
    """How one landing folder comes about."""

    folder: str
    """Name of the landing folder and of the module."""
    lay: Callable[[Pool], Tree]
    """Deterministic for the same pictures; must do with few or none, where packages are missing."""
    train: int = 0
    """Own views of training pictures that it asks for."""
    held_out: int = 0
    """Own views of held-out pictures that it asks for."""


@lru_cache(maxsize=1)
def layouts() -> Mapping[str, Layout]:
    """Every layout of this folder, sorted by name."""
    found: dict[str, Layout] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        layout = importlib.import_module(f"{__name__}.{name}").LAYOUT
        assert isinstance(layout, Layout), f"sample/layouts/{name}.py ends in LAYOUT = Layout(...)"
        assert layout.folder == name, f"sample/layouts/{name}.py lays out {layout.folder!r}"
        found[name] = layout
    return MappingProxyType(found)


def spread(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """At most `count` pictures at even distances."""
    count = min(count, len(pictures))
    return [pictures[place * len(pictures) // count] for place in range(count)]
