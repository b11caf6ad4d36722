"""The command: `python -m medmax_pipeline.training JOB.json`, or a recipe's TOML with four folders. Prints its log.

The last line is the report as one JSON object. Exit code 1: something to mend, said on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from medmax_pipeline.errors import ConfigError, MedmaxError
from medmax_pipeline.training.job import Job, job_of, read_job, shard_cache

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
"""Read when torch is loaded. Threads that wait spin by default: with other work on the machine two of them then took
20 times as long a step as one (measured on two busy cores: 4.2 s, 0.22 s; waiting quietly 0.32 s)."""
FOLDERS = ("shards", "base", "out", "work")


def read_arguments(arguments: Sequence[str]) -> Job:
    """The job that the command line names.

    Raises:
        ConfigError: folders with a JSON job, or a recipe without them.
    """
    parser = argparse.ArgumentParser(prog="python -m medmax_pipeline.training", description="Tune one model.")
    parser.add_argument("job", type=Path, help="JOB.json, or a recipe's TOML")
    for name in FOLDERS:
        kind = str if name == "shards" else Path  # an address is no path
        parser.add_argument(f"--{name}", type=kind, metavar="DIR", help="with a TOML only")
    known = parser.parse_args(arguments)
    named = {name: getattr(known, name) for name in FOLDERS if getattr(known, name) is not None}
    path: Path = known.job
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
    try:
        job = read_arguments(sys.argv[1:] if arguments is None else arguments)
        from medmax_pipeline.shards.reader import open_packs
        from medmax_pipeline.training.loop import train

        packs = open_packs(job.shards, shard_cache(job))
        packs.fetch()  # before the first step, which a tar on its way would hold up
        report = train(job, packs, lambda line: print(line, flush=True))
    except MedmaxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    print(json.dumps(report), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
