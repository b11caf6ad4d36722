"""`python -m medmax_pipeline.tokens JOB.json`: encode the pictures that a job names.

JOB.json                    everything, on every device of this machine, and the summary
JOB.json --plan             cut the job into chunks and print how many there are
JOB.json --chunk N          one chunk, for engines that hand out work; JOB.json afterwards gathers the summary
JOB.json --check            encode pictures that have codes again, and compare (`recheck.py`)
JOB.json --serve DEVICE     chunks whose numbers come on standard input; what `run.py` starts for each device
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.ingest.progress import Progress
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.tokens.encode import make_deterministic
from medmax_pipeline.tokens.job import Job, Reader, plan_of, read_job
from medmax_pipeline.tokens.recheck import recheck
from medmax_pipeline.tokens.run import devices_of, open_store, run_job, serve


def main(arguments: list[str]) -> int:
    """Run one job; 0 when it ended well, 2 when the user's world was at fault, with one line on standard error."""
    grammar = argparse.ArgumentParser("python -m medmax_pipeline.tokens", description="Encode the pictures of a job.")
    grammar.add_argument("job", type=Path)
    what = grammar.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="cut the job into chunks and print how many there are")
    what.add_argument("--chunk", type=int, metavar="N", help="encode this chunk only")
    what.add_argument("--check", action="store_true", help="encode pictures that have codes again, and compare")
    what.add_argument("--serve", metavar="DEVICE", help="encode the chunks whose numbers come on standard input")
    try:
        asked = grammar.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        job = read_job(asked.job)
        with ImageReader(Path(job.landing), [Path(path) for path in job.images]) as reader:
            _run(job, reader, asked)
    except MedmaxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def _run(job: Job, reader: Reader, asked: argparse.Namespace) -> None:
    if asked.plan:
        print(len(plan_of(job, open_store(job), reader)))
        return
    make_deterministic()
    if asked.check:
        recheck(job, reader, _say)
    elif asked.serve:
        serve(
            job, reader, asked.serve, _handed(), lambda more: _report("pictures", more), lambda n: _report("chunk", n)
        )
    elif asked.chunk is not None:
        progress = Progress(f"chunk {asked.chunk}", "pictures", _say)
        serve(job, reader, devices_of(job)[0], [asked.chunk], progress.add, lambda number: progress.end())
    else:
        run_job(job, reader, _say)


def _handed() -> Iterator[int | None]:
    """Numbers from standard input until it ends; None whenever none has come yet."""
    waiting: SimpleQueue[int | None] = SimpleQueue()

    def read() -> None:
        for line in io.FileIO(0, closefd=False):  # unbuffered: a daemon may wait in it while the process ends
            waiting.put(int(line))
        waiting.put(None)

    Thread(target=read, daemon=True).start()
    while True:
        if waiting.empty():
            yield None
        number = waiting.get()
        if number is None:
            return
        yield number


def _say(line: str) -> None:
    print(line, flush=True)


def _report(name: str, number: int) -> None:
    _say(json.dumps({name: number}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
