"""A job from beginning to end: items in batches, answers kept as they are made, records and pictures laid out.

Stopped at any moment, it goes on with the first batch whose records are not kept, and ends with the same records.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.items import as_items, choose, in_batches
from medmax_pipeline.eval.job import Job, TaskJob
from medmax_pipeline.eval.journal import Journal
from medmax_pipeline.eval.records import COUNTS, IMAGES, ITEMS, ItemRecord, records_to_table
from medmax_pipeline.eval.scorers import Names, named_record
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import digest_of, sha256_bytes, sha256_file, write_bytes, write_json, write_table
from medmax_pipeline.manifest import Lock
from medmax_pipeline.tokens.store import CodeStore

JOURNAL = "records.jsonl"
TIMING = "log/timing.json"

Log = Callable[[str], None]


def run_job(job: Job, log: Log) -> None:
    """Evaluate every task of the job and lay its records out.

    Raises:
        ConfigError: a task is not of the suite.
        StoreError: the samples hold no item of a task.
        WeightsError: a weights folder cannot be loaded.
    """
    tasks = [task(each.task).in_style(each.prompt_style) for each in job.tasks]
    begun = time.monotonic()
    engine = Engine.load(
        Path(job.model),
        Path(job.text_tokenizer),
        Path(job.image_tokenizer),
        device=job.device,
        dtype=job.dtype,
        threads=job.threads,
    )
    codes = CodeStore(Path(job.codes), engine.vocabulary.codes_per_image)
    digest = job.model_digest or digest_of(
        [sha256_file(path) for path in sorted(Path(job.model).glob("*.safetensors"))]
    )
    log(f"{job.model_name}: loaded in {time.monotonic() - begun:.1f} s on {engine.device}")
    for asked, this in zip(job.tasks, tasks, strict=True):
        _run_task(engine, codes, job.model_name, digest, asked, this, log)


def _run_task(engine: Engine, codes: CodeStore, model: str, digest: str, asked: TaskJob, this: Task, log: Log) -> None:
    begun = time.monotonic()
    chosen = choose(map(Path, asked.samples), this, asked.limit, frozenset(asked.without))
    if not chosen.samples:
        raise StoreError(
            f"{this.key}: {', '.join(asked.samples)} hold no evaluation sample of this task "
            f"that is not withdrawn ({len(asked.without)} are). "
            "Leave the task out of the build, or check the source's split."
        )
    batches = in_batches(chosen.samples, this.batch_size)
    names = [[sample.sample_id for sample in batch] for batch in batches]
    identity = digest_of([model, digest, this.key, this.code_version, asked.seed, asked.prompt_style, names])
    work, out = Path(asked.work), Path(asked.out)
    journal = Journal(work / JOURNAL, identity, names)
    kept = len(journal.done)
    for number, batch in enumerate(batches):
        if number not in journal.done:
            answered = this.answer(engine, this, as_items(batch, model, codes, asked.seed))
            for name, data in answered.pictures.items():
                write_bytes(work / IMAGES / f"{name}.png", data)
            journal.append(number, answered.records)
            log(f"{model} {this.key}: batch {number + 1} of {len(batches)}")
    locks = {by: Lock("not asked yet", "") for by in Names._fields}
    _lay_out([named_record(record, this, Names(), locks) for record in journal.records()], work, out)
    write_json(out / COUNTS, {"candidates": chosen.candidates, "items": len(chosen.samples)})
    wall_s = round(time.monotonic() - begun, 3)
    write_json(out / TIMING, {"wall_s": wall_s, "batches": len(batches), "resumed_batches": kept})
    log(f"{model} {this.key}: {len(chosen.samples)} items in {wall_s:.1f} s, {kept} of {len(batches)} batches kept")


def _lay_out(records: list[ItemRecord], work: Path, out: Path) -> None:
    """Records and the pictures they name, from the work folder to the final one."""
    names = {name for record in records for name in (record.generated_image, record.reference_image) if name}
    for name in sorted(names):
        data = (work / IMAGES / f"{name}.png").read_bytes()
        if sha256_bytes(data) != name:
            raise StoreError(
                f"{work / IMAGES / name}.png: has other bytes than when it was drawn. Remove the work folder."
            )
        write_bytes(out / IMAGES / f"{name}.png", data)
    write_table(out / ITEMS, records_to_table(records))
