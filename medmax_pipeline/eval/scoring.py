"""The second phase of a job: the build's judge and similarity model look at what the model said.

The model is gone from memory by then. Each task's `score` gets its items in batches, and each batch is kept as it is
made; what an endpoint answered is kept too the moment it arrives (`models/endpoint.py`), so that a killed run pays for
nothing twice. A scorer that is locked leaves its metrics unknown, by name, and stops nothing. What scorers are called
is `scorers.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmax_pipeline.errors import ImageError, WeightsError
from medmax_pipeline.eval.items import in_batches
from medmax_pipeline.eval.job import Job
from medmax_pipeline.eval.journal import Journal
from medmax_pipeline.eval.records import SCORERS, ItemRecord
from medmax_pipeline.eval.scorers import Names, Scorers, named_record, scorers_of
from medmax_pipeline.files import Json, digest_of, write_json
from medmax_pipeline.manifest import Lock

if TYPE_CHECKING:
    from medmax_pipeline.eval.judge import Judge
    from medmax_pipeline.eval.runner import Running
    from medmax_pipeline.ingest.reader import ImageReader
    from medmax_pipeline.models.similarity import Similarity

SCORED = "scored.jsonl"
BATCH = 128
"""Items scored and kept at once; part of no figure."""
NO_SCORER = Lock("No task of this job needs it.", "Nothing to do.")

Log = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Opened:
    """The scorers of a job, opened once, and only those that its tasks ask."""

    judge: Judge | Lock
    similarity: Similarity | Lock

    @property
    def locks(self) -> dict[str, Lock]:
        """Why a scorer cannot be asked."""
        both = {"judge": self.judge, "similarity": self.similarity}
        return {by: scorer for by, scorer in both.items() if isinstance(scorer, Lock)}

    def identity(self, by: str) -> Json:
        """What a scorer's words depend on; None where it is locked."""
        scorer: Any = self.judge if by == "judge" else self.similarity
        return None if isinstance(scorer, Lock) else dict(scorer.identity)


def names_of(job: Job) -> Names:
    """What the job's scorers are called."""
    return Names(job.judge.model if job.judge else "", job.similarity.name if job.similarity else "")


def score_all(job: Job, runs: Sequence[Running], log: Log) -> list[list[ItemRecord]]:
    """The records of every task with all their metrics under their scorers' names, in the order of its items.

    Raises:
        ConfigError: the judge's endpoint cannot be meant.
        WeightsError: the similarity model cannot be loaded.
    """
    asked = {by for run in runs for by in scorers_of(run.task)}
    opened = Opened(
        _open_judge(job, log) if "judge" in asked else NO_SCORER,
        _open_similarity(job) if "similarity" in asked else NO_SCORER,
    )
    with ExitStack() as stack:
        picture = _pictures(job, runs, stack)
        return [_score(job, run, opened, picture, log) for run in runs]


def _score(job: Job, run: Running, opened: Opened, picture: Callable[[str], bytes], log: Log) -> list[ItemRecord]:
    """The finished records of one task."""
    begun, this, answers, names = time.monotonic(), run.task, run.answers(), names_of(job)
    asked = scorers_of(this)
    if this.score is not None and not asked <= opened.locks.keys():
        batches = in_batches(run.samples, BATCH)
        ids = [[sample.sample_id for sample in batch] for batch in batches]
        told = [opened.identity(by) for by in sorted(asked)]
        journal = Journal(run.work / SCORED, digest_of([run.generation, this.scoring_version, told]), ids)
        scorers = Scorers(opened.judge, opened.similarity, picture, run.drawn)
        for number, batch in enumerate(batches):
            if number not in journal.done:
                first = number * BATCH
                journal.append(number, this.score(scorers, this, batch, answers[first : first + len(batch)]))
                log(f"{job.model_name} {this.key}: scored {first + len(batch)} of {len(answers)}")
        by_id = {record.item_id: record for record in journal.records()}
        answers = [by_id[record.item_id] for record in answers]
    if asked:
        write_json(Path(run.asked.out) / SCORERS, _told(asked, names, opened))
    run.wall_s += time.monotonic() - begun
    return [named_record(record, this, names, opened.locks) for record in answers]


def _told(asked: frozenset[str], names: Names, opened: Opened) -> dict[str, Json]:
    """Who scored, or why nobody did."""
    told: dict[str, Json] = {}
    for by in sorted(asked):
        lock = opened.locks.get(by)
        locked: Json = [lock.reason, lock.cure] if lock else None
        told[by] = {"name": getattr(names, by), "identity": opened.identity(by), "lock": locked}
    return told


def _open_judge(job: Job, log: Log) -> Judge | Lock:
    from medmax_pipeline.eval.judge import open_judge

    return open_judge(job.judge, Path(job.replies), log)


def _open_similarity(job: Job) -> Similarity | Lock:
    given = job.similarity
    if given is None:
        return Lock("The build has no similarity model.", "Give the build a table [similarity_model].")
    if not given.folder:
        return Lock(given.reason, given.cure)
    import torch

    from medmax_pipeline.models.similarity import open_similarity

    torch.set_num_threads(job.threads)
    place = ("cuda" if torch.cuda.is_available() else "cpu") if job.device == "auto" else job.device
    similarity = open_similarity(Path(given.folder), place)
    if similarity.name != given.name:
        raise WeightsError(
            f"{given.folder}: calls itself {similarity.name!r}, the build {given.name!r}; metrics carry that name."
        )
    return similarity


def _pictures(job: Job, runs: Sequence[Running], stack: ExitStack) -> Callable[[str], bytes]:
    """Reads pictures of the tasks' sources by image id; where they lie is looked up when the first one is wanted."""
    paths = sorted({path for run in runs for path in run.asked.images})

    @cache
    def reader() -> ImageReader:
        from medmax_pipeline.ingest.reader import ImageReader

        return stack.enter_context(ImageReader(Path(job.landing), [Path(path) for path in paths]))

    def read(image_id: str) -> bytes:
        if not job.landing or not paths:
            raise ImageError("image_not_here", f"{image_id}: the job names no landing folder and no images.parquet.")
        return reader().read(image_id)

    return read
