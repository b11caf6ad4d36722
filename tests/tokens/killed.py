"""Runs of a job, killed at random points: `python -m tests.tokens.killed FOLDER FIRST LAST`.

Loading torch costs seconds and forking nothing: this process has everything loaded and forks each run. FOLDER/<seed>
is there already, with `job.json`; FOLDER/undisturbed too. Prints the seeds whose run was killed before its end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import medmax_pipeline.models.vqgan
import medmax_pipeline.tokens.device  # noqa: F401 - loaded once for all runs
from medmax_pipeline.tokens.__main__ import main


def fork_run(job: Path) -> int:
    """The process id of a run in a session of its own."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = main([str(job)])
    finally:
        os._exit(code)


def run_to_the_end(job: Path) -> float:
    """Seconds that an undisturbed run takes."""
    started = time.monotonic()
    _, status = os.waitpid(fork_run(job), 0)
    assert status == 0, status
    return time.monotonic() - started


def run_killed(job: Path, seed: int, duration: float) -> bool:
    """Whether the run was killed before its end, anywhere within `duration` seconds."""
    process = fork_run(job)
    time.sleep(random.Random(seed).uniform(0, duration))
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1] == signal.SIGKILL


if __name__ == "__main__":
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    taken = run_to_the_end(folder / "undisturbed" / "job.json")
    for seed in range(first, last):
        if run_killed(folder / str(seed) / "job.json", seed, taken):
            print(seed, flush=True)
        run_to_the_end(folder / str(seed) / "job.json")
