"""`python -m medmax_pipeline.eval`: evaluate one model on the tasks of a job file, or of the command line.

    python -m medmax_pipeline.eval JOB.json
    python -m medmax_pipeline.eval --checkpoint DIR --tasks A,B --samples DIR… --image-tokenizer DIR --out DIR

The grammar of the second form is `standalone.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.eval.job import read_job
from medmax_pipeline.eval.runner import run_job


def main(arguments: list[str]) -> int:
    """Run the job; 0 when all its tasks are laid out, 1 with one line of reason, 2 for a wrong call."""
    try:
        if len(arguments) == 1 and arguments[0].endswith(".json"):
            run_job(read_job(Path(arguments[0])), log=_say)
        else:
            _by_hand(arguments)
    except MedmaxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except SystemExit as end:  # argparse, which has said why
        return int(end.code or 0)
    return 0


def _by_hand(arguments: list[str]) -> None:
    from medmax_pipeline.eval.standalone import grammar, job_of, tell_scores

    job = job_of(grammar().parse_args(arguments), _say)
    run_job(job, log=_say)
    tell_scores(job, _say)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
