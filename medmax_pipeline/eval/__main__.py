"""`python -m medmax_pipeline.eval JOB.json`: evaluate one model on the tasks of a job file."""

from __future__ import annotations

import sys
from pathlib import Path

from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.eval.job import read_job
from medmax_pipeline.eval.runner import run_job


def main(arguments: list[str]) -> int:
    """Run the job; 0 when all its tasks are laid out, 1 with one line of reason, 2 for a wrong call."""
    if len(arguments) != 1:
        print("usage: python -m medmax_pipeline.eval JOB.json", file=sys.stderr)
        return 2
    try:
        run_job(read_job(Path(arguments[0])), log=lambda line: print(line, flush=True))
    except MedmaxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
