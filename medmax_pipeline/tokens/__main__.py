"""`python -m medmax_pipeline.tokens JOB.json`: encode the pictures that a job names."""

from __future__ import annotations

import sys
from pathlib import Path

from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.tokens.encode import make_deterministic, read_job, run_job


def main(arguments: list[str]) -> int:
    """Run one job; 0 when it ended well, 2 when the user's world was at fault, with one line on standard error."""
    if len(arguments) != 1:
        print("usage: python -m medmax_pipeline.tokens JOB.json", file=sys.stderr)
        return 2
    try:
        job = read_job(Path(arguments[0]))
        make_deterministic()
        with ImageReader(Path(job.landing), [Path(path) for path in job.images]) as reader:
            run_job(job, reader, lambda line: print(line, flush=True))
    except MedmaxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
