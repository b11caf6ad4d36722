"""A job from beginning to end, in two phases: the model answers the items of all tasks, then scorers look at answers.

Stopped at any moment, it goes on with the first batch whose records are not kept, and ends with the same records.
Answers of an earlier run stay where the same items would be asked of the same model, so that another judge, or a new
list of leaked items, costs no generation; a job without a single open batch loads no model. The second phase is
`scoring.py`, what is kept while it runs `journal.py`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medmax_pipeline.errors import StoreError, WeightsError
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.items import Chosen, as_items, choose, in_batches
from medmax_pipeline.eval.job import Job, TaskJob
from medmax_pipeline.eval.journal import Journal
from medmax_pipeline.eval.records import (
    COUNTS,
    GENERATED,
    IMAGES,
    ITEMS,
    ItemRecord,
    read_records,
    records_to_table,
)
from medmax_pipeline.eval.scoring import score_all
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import (
    Json,
    digest_of,
    read_json,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_json,
    write_table,
)
from medmax_pipeline.records import Sample
from medmax_pipeline.tokens.store import GEOMETRY, CodeStore

JOURNAL = "records.jsonl"
TIMING = "log/timing.json"

Log = Callable[[str], None]


@dataclass(eq=False)
class Running:
    """One task of a job on its way."""

    task: Task
    asked: TaskJob
    chosen: Chosen
    batches: list[tuple[Sample, ...]]
    generation: str
    """Digest of everything that decides the answers."""
    journal: Journal | None
    """None where all answers are an earlier run's."""
    wall_s: float = 0.0

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The items in the order in which they are asked."""
        return self.chosen.samples

    @property
    def work(self) -> Path:
        """Resumable state."""
        return Path(self.asked.work)

    def open_batches(self) -> Iterator[tuple[int, tuple[Sample, ...]]]:
        """Batches whose answers are not kept yet."""
        for number, batch in enumerate(self.batches):
            if self.journal is not None and number not in self.journal.done:
                yield number, batch

    def answers(self) -> list[ItemRecord]:
        """What the model said, in the order of `samples`."""
        records = self.journal.records() if self.journal is not None else _answers(Path(self.asked.previous))
        by_id = {record.item_id: record for record in records}
        return [by_id[sample.sample_id] for sample in self.samples]

    def drawn(self, name: str) -> bytes:
        """A picture of these answers.

        Raises:
            StoreError: it is not there, or has been changed.
        """
        root = self.work if self.journal is not None else Path(self.asked.previous)
        path = root / IMAGES / f"{name}.png"
        data = path.read_bytes() if path.is_file() else b""
        if sha256_bytes(data) != name:
            raise StoreError(f"{path}: has other bytes than when it was drawn. Remove {root} and evaluate again.")
        return data


def run_job(job: Job, log: Log) -> None:
    """Evaluate every task of the job and lay its records out.

    Raises:
        ConfigError: a task is not of the suite, or the judge's endpoint cannot be meant.
        StoreError: the samples hold no item of a task.
        WeightsError: a weights folder cannot be loaded.
    """
    tasks = [task(asked.task).in_style(asked.prompt_style) for asked in job.tasks]
    digest = job.model_digest or weights_digest(job)
    codes = CodeStore(Path(job.codes), _codes_per_image(job))
    runs = [_begin(job, digest, codes, asked, this, log) for asked, this in zip(job.tasks, tasks, strict=True)]
    if any(True for run in runs for _ in run.open_batches()):
        _generate(job, codes, runs, log)
        gc.collect()
        _empty_device()
    finished = score_all(job, runs, log)
    for run, records in zip(runs, finished, strict=True):
        _lay_out(run, records)
        log(f"{job.model_name} {run.task.key}: {len(records)} items in {run.wall_s:.1f} s")


def weights_digest(job: Job) -> str:
    """Digest of the bytes of model and tokenizers.

    Raises:
        WeightsError: a folder is missing or empty.
    """
    paths = []
    for folder in map(Path, (job.model, job.text_tokenizer, job.image_tokenizer)):
        found = [path for path in sorted(folder.glob("*")) if path.is_file()]
        if not found:
            raise WeightsError(f"{folder}: no folder with files in it; expected weights or a tokenizer.")
        paths += found
    return digest_of([[path.name, sha256_file(path)] for path in paths])


def _codes_per_image(job: Job) -> int:
    """As the code store says; where it is still empty, as the tokenizers do."""
    path = Path(job.codes) / GEOMETRY
    if path.exists():
        return int(read_json(path)["codes_per_image"])
    from medmax_pipeline.tokens.vocabulary import vocabulary_of

    return vocabulary_of(Path(job.text_tokenizer), Path(job.image_tokenizer)).codes_per_image


def _begin(job: Job, digest: str, codes: CodeStore, asked: TaskJob, this: Task, log: Log) -> Running:
    """Choose the items of a task and find what of their answers is kept."""
    chosen = choose(map(Path, asked.samples), this, asked.limit, frozenset(asked.without))
    if not chosen.samples:
        raise StoreError(
            f"{this.key}: {', '.join(asked.samples)} hold no evaluation sample of this task that is not withdrawn "
            f"({len(asked.without)} are). Leave the task out of the build, or check the source's split."
        )
    batches = in_batches(chosen.samples, this.batch_size)
    names = [[sample.sample_id for sample in batch] for batch in batches]
    shown = sorted({image for sample in chosen.samples for image in sample.images})
    items = [asdict(sample) for sample in chosen.samples]
    how: list[Json] = [job.model_name, digest, job.dtype, asked.prompt_style, asked.seed, this.generation_version]
    generation = digest_of([this.key, how, items, sorted(codes.missing(shown)), names])
    if asked.previous and _generation(Path(asked.previous)) == generation:
        log(f"{job.model_name} {this.key}: all {len(chosen.samples)} answers are the earlier run's")
        return Running(this, asked, chosen, batches, generation, None)
    journal = Journal(Path(asked.work) / JOURNAL, generation, names)
    log(f"{job.model_name} {this.key}: {len(journal.done)} of {len(batches)} batches kept")
    return Running(this, asked, chosen, batches, generation, journal)


def _generation(previous: Path) -> str:
    """Which generation the records of an earlier output are; empty where it does not say."""
    path = previous / COUNTS
    return str(read_json(path).get("generation", "")) if path.is_file() else ""


def _answers(previous: Path) -> list[ItemRecord]:
    """What the model said, before any scorer did."""
    path = previous / GENERATED
    return read_records(path if path.is_file() else previous / ITEMS)


def _generate(job: Job, codes: CodeStore, runs: Sequence[Running], log: Log) -> None:
    """Load the model once and have it answer every open batch."""
    begun = time.monotonic()
    engine = Engine.load(
        Path(job.model),
        Path(job.text_tokenizer),
        Path(job.image_tokenizer),
        device=job.device,
        dtype=job.dtype,
        threads=job.threads,
    )
    log(f"{job.model_name}: loaded in {time.monotonic() - begun:.1f} s on {engine.device}")
    for run in runs:
        begun = time.monotonic()
        for number, batch in run.open_batches():
            answered = run.task.answer(engine, run.task, as_items(batch, job.model_name, codes, run.asked.seed))
            for name, data in answered.pictures.items():
                write_bytes(run.work / IMAGES / f"{name}.png", data)
            assert run.journal is not None
            run.journal.append(number, answered.records)
            log(f"{job.model_name} {run.task.key}: batch {number + 1} of {len(run.batches)}")
        run.wall_s += time.monotonic() - begun


def _empty_device() -> None:
    """Give the device's memory back, for scorers that want it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _lay_out(run: Running, records: Sequence[ItemRecord]) -> None:
    """Records and the pictures they name, to the final folder."""
    out = Path(run.asked.out)
    if run.asked.leaked:
        found = _leaked(Path(run.asked.leaked))
        records = [replace(record, leaked=record.item_id in found) for record in records]
    pictures = {name for record in records for name in record.pictures}
    for name in sorted(pictures - {""}):
        write_bytes(out / IMAGES / f"{name}.png", run.drawn(name))
    if run.task.score is not None:
        write_table(out / GENERATED, records_to_table(run.answers()))
    write_table(out / ITEMS, records_to_table(records))
    counts = {"candidates": run.chosen.candidates, "items": len(records), "generation": run.generation}
    write_json(out / COUNTS, counts)
    carried = run.journal is None
    write_json(out / TIMING, {"wall_s": round(run.wall_s, 3), "batches": len(run.batches), "carried_over": carried})


def _leaked(path: Path) -> frozenset[str]:
    """Ids of evaluation samples that were found in training data."""
    import pyarrow.parquet as pq

    return frozenset(pq.read_table(path, columns=["sample_id"])["sample_id"].to_pylist())
