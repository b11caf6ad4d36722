"""The learning rate of each step: a linear rise, then a half cosine to zero or a plateau. Plain numbers, no torch."""

from __future__ import annotations

import math

from medmax_pipeline.config import Schedule
from medmax_pipeline.errors import ConfigError


def total_steps(schedule: Schedule, packs: int, each: int = 1) -> int:
    """How many steps a run has, of `each` packs.

    Raises:
        ConfigError: there are no packs, or fewer steps than one.
    """
    steps = round(schedule.epochs * packs / each)
    if steps < 1:
        raise ConfigError(f"{schedule.epochs} epochs of {packs} packs are no step at all. Add data or epochs.")
    return steps


def learning_rate(schedule: Schedule, step: int, steps: int) -> float:
    """The rate of `step` (from 0) of `steps`; the peak is reached at the last warm-up step."""
    warmup = math.ceil(schedule.warmup_ratio * steps)
    if step < warmup:
        return schedule.peak_lr * (step + 1) / warmup
    if schedule.decay == "constant":
        return schedule.peak_lr
    done = (step - warmup) / max(1, steps - warmup)
    return schedule.peak_lr * 0.5 * (1.0 + math.cos(math.pi * done))
