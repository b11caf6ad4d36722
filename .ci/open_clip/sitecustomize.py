"""Lets torchvision be imported beside a torch that it was not compiled for; on PYTHONPATH for open_clip's tests only.

Its compiled operators do not load then, and its own Python code stops at describing two of them that nobody has
declared. They are declared here, with no code behind them: detection only calls them, and open_clip detects nothing.
Declared before torchvision's first import and not at once, so that processes without it load no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

DECLARED: list[object] = []
"""Declarations are taken back when the library object goes."""


class BeforeTorchvision(MetaPathFinder):
    """Declares the operators when torchvision is looked for, and finds nothing itself."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "torchvision" and not DECLARED:
            import torch

            library = torch.library.Library("torchvision", "DEF")
            DECLARED.append(library)
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, BeforeTorchvision())
