"""The command: `python -m medmax_pipeline.training.tokenizer JOB.json`. Prints its log, then the card as one JSON line.

Starts one process a device where there are several. Exit code 1: something to mend, said on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.training.tokenizer.job import read_job


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune; the process's exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        print("usage: python -m medmax_pipeline.training.tokenizer JOB.json", file=sys.stderr)
        return 2
    try:
        job = read_job(Path(given[0]))
        from medmax_pipeline.training.group import become_group, joined, wanted_processes

        processes = wanted_processes(job.processes, job.tuning.batch, job.device)
        if processes > 1 and "WORLD_SIZE" not in os.environ:
            become_group(processes, "medmax_pipeline.training.tokenizer", given)
        from medmax_pipeline.ingest.reader import ImageReader
        from medmax_pipeline.training.tokenizer.loop import tune

        with joined(job.device) as group, ImageReader(Path(job.landing), [Path(path) for path in job.images]) as reader:
            card = tune(job, reader, group, lambda line: print(line, flush=True) if group.leads else None)
    except MedmaxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    if card:
        print(json.dumps(card), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
