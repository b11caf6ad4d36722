"""What must hold of a published training run: its losses are numbers. How they come about is `loop.py`."""

from __future__ import annotations

import json
import math
from pathlib import Path

METRICS = "log/metrics.jsonl"


def loss_faults(folder: Path) -> list[str]:
    """Steps of `log/metrics.jsonl` whose loss is no finite number; None is a pack without such targets."""
    path = folder / METRICS
    if not path.is_file():
        return [f"{METRICS} is missing"]
    lines = path.read_text(encoding="utf-8").splitlines()
    faults = [] if lines else [f"{METRICS} holds no step"]
    for number, line in enumerate(lines):
        for name, value in json.loads(line).items():
            if "loss" in name and value is not None and not math.isfinite(value):
                faults.append(f"step {number}: {name} is {value}")
    return faults
