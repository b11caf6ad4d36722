"""Runs of a small suite, killed at seeded random points: `python -m tests.eval.killed FOLDER FIRST LAST`.

FOLDER holds `undisturbed` and a folder a seed, each with its `job.json`. Loading torch costs seconds and forking
nothing: this process has everything imported and forks each run. A run is killed at one of its durable writes, before
or after it; there are some sixty, and between two of them nothing is kept. Then it is run again to its end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import medmax_pipeline.eval.judge
import medmax_pipeline.models.chameleon
import medmax_pipeline.models.similarity
import medmax_pipeline.models.vqgan  # noqa: F401 - loaded once for all runs
from medmax_pipeline.eval import runner, scoring
from medmax_pipeline.eval.__main__ import main
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import read_json


def in_small_batches(key: str) -> Task:
    """The task with batches of two, so that there is something to be killed between."""
    return replace(task(key), batch_size=2)


def run(folder: Path, before_write: Callable[[int], None], after_write: Callable[[int], None]) -> int:
    """The status of a forked run, which calls back with the number of each durable write."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    code, sync, count = 1, os.fsync, 0

    def counted(handle: int) -> None:
        nonlocal count
        count += 1
        before_write(count)
        sync(handle)
        after_write(count)

    try:
        vars(runner)["task"], vars(scoring)["BATCH"] = in_small_batches, 2
        vars(os)["fsync"] = counted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = main([str(folder / "job.json")])
        (folder / "writes").write_text(str(count))
    finally:
        os._exit(code)


def nothing(number: int) -> None:
    """Let it go on."""


def killing(at: int) -> Callable[[int], None]:
    """Kill this process at the write of that number, as a kill -9 would."""

    def kill(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def run_killed(folder: Path, seed: int, writes: int) -> bool:
    """Whether a run was killed; what it laid out is removed, as the ledger does before it runs a step again."""
    chance = random.Random(seed)
    kill = killing(chance.randint(1, writes))
    hooks = (kill, nothing) if chance.random() < 0.5 else (nothing, kill)
    status = run(folder, *hooks)
    for asked in read_json(folder / "job.json")["tasks"]:
        shutil.rmtree(asked["out"], ignore_errors=True)
    return status == signal.SIGKILL


if __name__ == "__main__":
    root, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    assert run(root / "undisturbed", nothing, nothing) == 0
    count = int((root / "undisturbed" / "writes").read_text())
    for each in range(first, last):
        if run_killed(root / str(each), each, count):
            print(each, flush=True)
        assert run(root / str(each), nothing, nothing) == 0, each
