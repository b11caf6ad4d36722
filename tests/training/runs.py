"""Runs of a training in this process: whole ones, and ones that stop in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.training import loop
from medmax_pipeline.training.group import ALONE, Group
from medmax_pipeline.training.job import Job


class Stopped(Exception):
    """A run was stopped in the middle."""


def run(job: Job, log: Callable[[str], None] = lambda line: None, group: Group = ALONE) -> None:
    """To its end."""
    loop.train(job, PackReader(Path(job.shards)), log, group)


def stopped_at(job: Job, step: int, group: Group = ALONE) -> list[str]:
    """Run until a step; the lines told."""
    told: list[str] = []
    inside = loop._step

    def stopping(*given: Any) -> None:
        if given[3] == step:
            raise Stopped
        inside(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_step", stopping)
        with pytest.raises(Stopped):
            run(job, told.append, group)
    return told
