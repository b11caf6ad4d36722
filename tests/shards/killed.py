"""Makings of shards, killed at random points: `python -m tests.shards.killed FOLDER FIRST LAST`.

Loading costs a second and forking nothing: this process has everything loaded and forks each making. FOLDER/<seed> and
FOLDER/undisturbed become stores. Prints the seeds whose making was killed before its end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from medmax_pipeline.files import TEMPORARY, sha256_file
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.shards import layout, writer
from medmax_pipeline.steps import Outcome, Run, Step
from tests.shards.packs import entry

PACKS = 60
BLOCKS_PER_SHARD = 2
"""So that there are thirty tars to be killed in."""


def _run(ctx: Run) -> Outcome:
    vars(writer)["BLOCKS_PER_SHARD"] = vars(layout)["BLOCKS_PER_SHARD"] = BLOCKS_PER_SHARD
    writer.write_shards(ctx.out, ([entry(number, 60_000, credentialed=number >= 50)] for number in range(PACKS)))
    return Outcome()


STEP = Step(key="shards/killed", run=_run, code_version="1")


def digests(folder: Path) -> dict[str, str]:
    """Of all that lies whole in a folder of shards; the manifest tells the time and is left out."""
    whole = [path for path in folder.iterdir() if TEMPORARY not in path.name and path.suffix != ".json"]
    return {path.name: sha256_file(path) for path in whole}


def make(store: Path) -> Path:
    """The published folder."""
    made, _ = Ledger(store, "test", store / "landing").execute(STEP)
    return made.folder


def make_killed(store: Path, seconds: float) -> bool:
    """Whether a making was killed before its end."""
    sys.stdout.flush()
    process = os.fork()
    if not process:
        try:
            make(store)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1] == signal.SIGKILL


def main(folder: Path, seeds: range) -> None:
    """Kill, look, make again, compare."""
    started = time.monotonic()
    undisturbed = digests(make(folder / "undisturbed"))
    duration = time.monotonic() - started
    for seed in seeds:
        store = folder / str(seed)
        if make_killed(store, random.Random(seed).uniform(0, duration)):
            print(seed, flush=True)
        for out in store.glob("work/shards/killed/*/out"):
            assert digests(out).items() <= undisturbed.items(), f"{seed}: a tar lies there that is not whole"
        assert digests(make(store)) == undisturbed, seed
        assert not list(store.rglob(f"*{TEMPORARY}*")), f"{seed}: a temporary file was left"
        left = {path.name for path in store.glob("work/**/*") if path.is_file()}
        assert left <= {"lock"}, f"{seed}: {left} was left"  # the lock stays where it was killed after publishing


if __name__ == "__main__":
    main(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))
