"""An evaluation called by hand: folders of this machine in, a job out, and its figures told.

    python -m medmax_pipeline.eval --checkpoint DIR --tasks vqa_rad/closed,slake/open --samples DIR… --out DIR …

Samples are folders that the pipeline published (`<source>/samples`). Pictures without codes are encoded first where the
landing folders are at hand. Called again, it goes on where it stopped, and asks nothing twice. What a job does is
`runner.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medmax_pipeline.config import Endpoint
from medmax_pipeline.errors import ConfigError, WeightsError
from medmax_pipeline.eval.job import Job, SimilarityJob, TaskJob
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import TASKS, task
from medmax_pipeline.files import write_json, write_table

if TYPE_CHECKING:
    from medmax_pipeline.eval.scores import Score

WORK = ".work"
"""Folder below OUT: resumable state, answers of endpoints, and codes where no store is named."""
SCORES = "scores.json"
PUBLIC = Endpoint(kind="openai", model="")
"""An endpoint's defaults."""
Log = Callable[[str], None]


def grammar() -> argparse.ArgumentParser:
    """The arguments of `python -m medmax_pipeline.eval`."""
    made = argparse.ArgumentParser(
        "python -m medmax_pipeline.eval",
        description="Evaluate a checkpoint on rows of the suite: one record an item, then the figures with intervals. "
        "Called again with the same arguments, it goes on where it stopped.",
        epilog=f"Rows: {', '.join(TASKS)}. `python -m medmax_pipeline.eval JOB.json` runs a job file instead.",
    )
    made.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="a transformers folder, or model/ in it"
    )
    made.add_argument("--tasks", required=True, metavar="A,B", help="rows of the suite, or `all` that SAMPLES have")
    made.add_argument(
        "--samples", type=Path, nargs="+", required=True, metavar="DIR", help="published <source>/samples"
    )
    made.add_argument("--image-tokenizer", type=Path, required=True, metavar="DIR", help="a VQGAN with its decoder")
    made.add_argument("--text-tokenizer", type=Path, metavar="DIR", help="default: the checkpoint's own")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets a folder for each row")
    made.add_argument("--landing", type=Path, metavar="DIR", help="root of the landing folders, where the pictures lie")
    made.add_argument("--codes", type=Path, metavar="DIR", help="codes of this image tokenizer; default: below OUT")
    made.add_argument("--name", help="what answers are filed under; default: the checkpoint folder's name")
    made.add_argument("--limit", type=int, metavar="N", help="items of a row at most, by sample id; default all")
    made.add_argument("--seed", type=int, default=0, help="of what is sampled; default 0")
    made.add_argument("--prompt-style", choices=("sft", "chameleon"), default="sft", help="default sft")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    made.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="default float32")
    made.add_argument("--threads", type=int, default=1, help="CPU threads; default 1, which depends on no machine")
    made.add_argument("--similarity", type=Path, metavar="DIR", help="a similarity model with its similarity.json")
    made.add_argument(
        "--judge", metavar="MODEL", help="a pinned model behind --judge-url; default: judged figures stay locked"
    )
    made.add_argument("--judge-url", default=PUBLIC.url, metavar="URL", help="default %(default)s")
    made.add_argument("--judge-key", default=PUBLIC.key, metavar="VARIABLE", help="holds its key; default %(default)s")
    return made


def job_of(asked: argparse.Namespace, log: Log) -> Job:
    """The job that the arguments ask for; its pictures have codes then, as far as their bytes are here.

    Raises:
        ConfigError: a row is unknown, or none of the samples are its.
        WeightsError: a folder is not what it should be.
    """
    model = asked.checkpoint / "model" if (asked.checkpoint / "model").is_dir() else asked.checkpoint
    if not (model / "config.json").is_file():
        raise WeightsError(
            f"{asked.checkpoint}: no config.json in it or in its model/; expected a transformers folder."
        )
    tables = _tables(asked.samples)
    suite = _suite(asked.tasks, tables)
    codes = asked.codes or asked.out / WORK / "codes"
    name = asked.name or asked.checkpoint.resolve().name
    job = Job(
        model_name=name,
        model=str(model),
        text_tokenizer=str(asked.text_tokenizer or model),
        image_tokenizer=str(asked.image_tokenizer),
        codes=str(codes),
        landing=str(asked.landing or ""),
        judge=_judge(asked),
        replies=str(asked.out / WORK / "replies"),
        similarity=_similarity(asked.similarity),
        device=asked.device,
        dtype=asked.dtype,
        threads=asked.threads,
        tasks=tuple(_task_job(asked, this, _table_of(this, tables)) for this in suite),
    )
    if asked.landing is not None:
        _encode(job, [_table_of(this, tables) for this in suite], asked.out / WORK / "encoding", log)
    return job


def _tables(folders: Sequence[Path]) -> dict[str, Path]:
    """`samples.parquet` files by the source whose samples they hold."""
    from medmax_pipeline.arrow import read_samples

    found: dict[str, Path] = {}
    for folder in folders:
        path = folder / "samples.parquet" if folder.is_dir() else folder
        if not path.is_file():
            raise ConfigError(f"--samples {folder}: no samples.parquet there; expected a published <source>/samples.")
        first = next(iter(read_samples(path)), None)
        if first is None:
            raise ConfigError(f"--samples {folder}: holds no sample.")
        if first.source in found:
            raise ConfigError(
                f"--samples: {found[first.source]} and {path} both hold {first.source}; give one of them."
            )
        found[first.source] = path
    return found


def _suite(wanted: str, tables: dict[str, Path]) -> list[Task]:
    if wanted == "all":
        return [this for this in TASKS.values() if tables.keys() & this.rows.keys()]
    return [task(key.strip()) for key in dict.fromkeys(wanted.split(","))]


def _table_of(this: Task, tables: dict[str, Path]) -> Path:
    """The samples that a row is asked of: of its first source that is given."""
    for source in this.rows:
        if source in tables:
            return tables[source]
    raise ConfigError(
        f"{this.key}: asks samples of {' or '.join(this.rows)}, --samples gives {', '.join(tables)}. Add such a folder."
    )


def _task_job(asked: argparse.Namespace, this: Task, samples: Path) -> TaskJob:
    images, out = samples.with_name("images.parquet"), asked.out / this.key
    return TaskJob(
        task=this.key,
        samples=(str(samples),),
        images=(str(images),) if images.is_file() else (),
        seed=asked.seed,
        limit=asked.limit,
        prompt_style=asked.prompt_style,
        work=str(asked.out / WORK / this.key),
        out=str(out),
        previous=str(out) if out.is_dir() else "",
    )


def _judge(asked: argparse.Namespace) -> Endpoint | None:
    if not asked.judge:
        return None
    return Endpoint(kind="openai", model=asked.judge, url=asked.judge_url, key=asked.judge_key)


def _similarity(folder: Path | None) -> SimilarityJob | None:
    if folder is None:
        return None
    from medmax_pipeline.models.similarity_files import read_card

    return SimilarityJob(name=read_card(folder).name, folder=str(folder))


def _encode(job: Job, tables: Sequence[Path], results: Path, log: Log) -> None:
    """Give the pictures of the samples codes where they have none yet."""
    import pyarrow as pa

    from medmax_pipeline.arrow import read_samples
    from medmax_pipeline.ingest.reader import ImageReader
    from medmax_pipeline.tokens import job as encoding
    from medmax_pipeline.tokens.run import run_job

    wanted: dict[str, encoding.Wanted] = {}
    for path in dict.fromkeys(tables):
        for sample in read_samples(path):
            for image in sample.images if sample.split == "eval" else ():
                secret = sample.credentialed or (image in wanted and wanted[image].credentialed)
                wanted[image] = encoding.Wanted(image, sample.source, secret)
    rows = [{name: getattr(wanted[key], name) for name in encoding.PICTURE_SCHEMA.names} for key in sorted(wanted)]
    write_table(results / "pictures.parquet", pa.Table.from_pylist(rows, schema=encoding.PICTURE_SCHEMA))
    images = tuple(str(path) for table in tables if (path := table.with_name("images.parquet")).is_file())
    pictures = encoding.Job(
        tokenizer=job.image_tokenizer,
        codes=job.codes,
        landing=job.landing,
        pictures=str(results / "pictures.parquet"),
        images=tuple(dict.fromkeys(images)),
        results=str(results),
        device=job.device,
    )
    with ImageReader(Path(job.landing), [Path(path) for path in pictures.images]) as reader:
        run_job(pictures, reader, log)


def tell_scores(job: Job, log: Log) -> None:
    """Write `scores.json` beside each row's records and say its figures in a line each."""
    from dataclasses import asdict

    from medmax_pipeline.eval.publish import scorers_told
    from medmax_pipeline.eval.records import ITEMS, read_records
    from medmax_pipeline.eval.scorers import bound
    from medmax_pipeline.eval.scores import score_task

    for asked in job.tasks:
        out = Path(asked.out)
        scores = score_task(bound(task(asked.task), *scorers_told(out)), read_records(out / ITEMS))
        write_json(out / SCORES, [asdict(score) for score in scores])
        for score in scores:
            log("  ".join(word for word in (asked.task, score.metric, score.part, _words(score)) if word))


def _words(score: Score) -> str:
    if score.value is None:
        return f"{score.status}: {score.reason}"
    spread = f" [{score.low:.3f}, {score.high:.3f}]" if score.low is not None and score.high is not None else ""
    return f"{score.value:.3f}{spread}  {score.n_scored} of {score.n} items"
