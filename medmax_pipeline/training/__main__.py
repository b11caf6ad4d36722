"""The command: `python -m medmax_pipeline.training JOB.json`, or a recipe's TOML with four folders. Prints its log.

Starts one process a device where there are several, unless `torchrun` started it. The last line is the report as one
JSON object. Exit code 1: it ended badly, said on stderr and as `{"failed": reason, "message": …}` in the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmax_pipeline.errors import ConfigError, DiskFull, MedmaxError
from medmax_pipeline.files import FULL
from medmax_pipeline.training.job import Job, job_of, read_job, shard_cache

if TYPE_CHECKING:
    from medmax_pipeline.training.group import Group

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
"""Read when torch is loaded. Threads that wait spin by default: with other work on the machine two of them then took
20 times as long a step as one (measured on two busy cores: 4.2 s, 0.22 s; waiting quietly 0.32 s)."""
FOLDERS = ("shards", "base", "out", "work")
MODULE = "medmax_pipeline.training"


def read_arguments(arguments: Sequence[str]) -> Job:
    """The job that the command line names.

    Raises:
        ConfigError: folders with a JSON job, or a recipe without them.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Tune one model.")
    parser.add_argument("job", type=Path, help="JOB.json, or a recipe's TOML")
    for name in FOLDERS:
        kind = str if name == "shards" else Path  # an address is no path
        parser.add_argument(f"--{name}", type=kind, metavar="DIR", help="with a TOML only")
    parser.add_argument("--processes", type=int, help="how many train together; default: one a CUDA device")
    parser.add_argument("--parallel", choices=("ddp", "fsdp"), help="whole models side by side, or one spread over all")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"))
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--tracker", action="append", choices=("trackio", "wandb"), dest="trackers")
    known = vars(parser.parse_args(arguments))
    path: Path = known.pop("job")
    given = {name: value for name, value in known.items() if value is not None}
    named = {name: given.pop(name) for name in FOLDERS if name in given}
    if "trackers" in given:
        given["trackers"] = tuple(given["trackers"])
    return replace(_job(path, named), **given)


def _job(path: Path, named: dict[str, Any]) -> Job:
    if path.suffix == ".json":
        if named:
            raise ConfigError(f"{path.name} names its folders itself; leave out {', '.join('--' + n for n in named)}.")
        return read_job(path)
    absent = [f"--{name}" for name in FOLDERS if name not in named]
    if absent:
        raise ConfigError(f"{path.name}: a recipe needs {', '.join(absent)} too.")
    return job_of(path, **named)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; the process's exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        job = read_arguments(given)
        from medmax_pipeline.training.group import become_group, joined, wanted_processes

        processes = wanted_processes(job.processes, job.recipe.packs_per_step, job.device)
        if processes > 1 and "WORLD_SIZE" not in os.environ:
            become_group(processes, MODULE, given)
        with joined(job.device) as group:
            report = run(job, group)
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever watches is told its name
        return _failed(error)
    if report:
        print(json.dumps(report), flush=True)
    return 0


def run(job: Job, group: Group) -> dict[str, Any]:
    """One of the processes; the first one's report."""
    from medmax_pipeline.shards.reader import open_packs
    from medmax_pipeline.training.loop import train
    from medmax_pipeline.training.refusals import refuse

    refuse(job)
    packs = open_packs(job.shards, shard_cache(job))
    if group.leads:
        packs.fetch()  # before the first step, which a tar on its way would hold up
    group.wait()
    return train(job, packs, lambda line: print(line, flush=True), group)


def reason_of(error: BaseException) -> str:
    """What an ending is called by whoever watches: out_of_memory, diverged, disk_full or failed."""
    from torch import OutOfMemoryError

    from medmax_pipeline.training.loop import TrainingDiverged

    if isinstance(error, TrainingDiverged):
        return "diverged"
    if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in FULL):
        return "disk_full"
    cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if cpu or isinstance(error, OutOfMemoryError | MemoryError):
        return "out_of_memory"
    return "failed"


CURES = {
    "out_of_memory": " Lower packing.token_budget, set recompute = true in the recipe, or spread the model "
    "(--parallel fsdp).",
}


def _failed(error: Exception) -> int:
    reason = reason_of(error)
    if not isinstance(error, MedmaxError):
        traceback.print_exception(error)
    message = f"{type(error).__name__}: {error}{CURES.get(reason, '')}"
    print(message, file=sys.stderr, flush=True)
    print(json.dumps({"failed": reason, "message": message}), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
