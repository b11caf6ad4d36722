"""The `eval/<model>/<task>` and `scores/<recipe>` steps.

What happens in an evaluation is `runner.py`, in a launched process; this module writes its job and reads what it laid
out. It loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from medmax_pipeline.config import Evaluation
from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.eval.job import Job, TaskJob
from medmax_pipeline.eval.records import COUNTS, ITEMS, ItemRecord, read_records
from medmax_pipeline.eval.scores import Score, locked_scores, score_task, scores_to_table
from medmax_pipeline.eval.statistics import LEVEL, RESAMPLES
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import Json, read_json, write_json, write_table
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.store import code_folder

SCORES_VERSION = "1"
"""Raise when statistics or the columns of scores change."""
BASE = "base"
OVER_LIMIT = "over_limit"
SCORES = "scores.json"
WEIGHTS_INPUTS = ("image_tokenizer", "text_tokenizer", "image_codes")


def eval_step(model_name: str, model_key: str, key: str, evaluation: Evaluation, sources: Sequence[str]) -> Step:
    """The step that asks one model the items of one task.

    Args:
        model_name: a recipe, or `base`.
        model_key: the asset that holds the model.
        key: the task's row.
        evaluation: limits and seed.
        sources: what the build has.

    Raises:
        ConfigError: there is no such task, or the build lacks its source.
    """
    this = task(key)
    if this.source not in sources:
        raise ConfigError(f"task {key}: asks samples of {this.source}, which the build has no source for. Add it.")
    samples = f"{this.source}/samples"
    name = f"eval/{model_name}/{key}"
    return Step(
        key=name,
        run=lambda run: run_together({name: run})[name],
        code_version=this.code_version,
        needs=tuple(Need(each) for each in (model_key, *WEIGHTS_INPUTS, samples)),
        params={
            "task": key,
            "model_name": model_name,
            "model_key": model_key,
            "samples": samples,
            "limit": evaluation.limit.get(key),
            "seed": evaluation.seed,
        },
        group="evaluation",
        description=f"Each item of {key} asked of {model_name}: one record an item.",
    )


def run_together(runs: Mapping[str, Run]) -> Mapping[str, Outcome]:
    """Evaluate several tasks; those of one model in one launched process, which loads the model once."""
    by_model: dict[str, list[Run]] = {}
    for run in runs.values():
        by_model.setdefault(str(run.params["model_name"]), []).append(run)
    for group in by_model.values():
        path = group[0].work / "job.json"
        write_json(path, _job(group).to_json())
        group[0].launch(["medmax_pipeline.eval", str(path)])
    return {key: _outcome(run) for key, run in runs.items()}


def _job(runs: Sequence[Run]) -> Job:
    first = runs[0]
    model = first.inputs[str(first.params["model_key"])]
    folder = model.folder / "model"
    image_tokenizer = first.inputs["image_tokenizer"].folder
    codes = code_folder(first.store, tokenizer_digest(image_tokenizer, preprocessing=PREPROCESSING))
    return Job(
        model_name=str(first.params["model_name"]),
        model=str(folder if folder.is_dir() else model.folder),
        model_digest=model.manifest.digest,
        text_tokenizer=str(first.inputs["text_tokenizer"].folder),
        image_tokenizer=str(image_tokenizer),
        codes=str(codes),
        tasks=tuple(_task_job(run) for run in runs),
    )


def _task_job(run: Run) -> TaskJob:
    limit, seed = run.params["limit"], run.params["seed"]
    assert limit is None or isinstance(limit, int)
    assert isinstance(seed, int)
    return TaskJob(
        task=str(run.params["task"]),
        samples=(str(run.inputs[str(run.params["samples"])].folder / "samples.parquet"),),
        limit=limit,
        seed=seed,
        work=str(run.work),
        out=str(run.out),
    )


def _outcome(run: Run) -> Outcome:
    records = read_records(run.out / ITEMS)
    counts = read_json(run.out / COUNTS)
    left = int(counts["candidates"]) - len(records)
    this = task(str(run.params["task"]))
    summary: dict[str, Json] = {"items": len(records)}
    for score in score_task(this, records):
        summary[f"{score.metric}_status"] = score.status
        if score.value is not None:
            summary[score.metric] = round(score.value, 4)
            summary[f"{score.metric}_scored"] = score.n_scored
    return Outcome(
        counts=Counts(taken=int(counts["candidates"]), kept=len(records), dropped={OVER_LIMIT: left} if left else {}),
        summary=summary,
    )


def scores_step(recipe: str, tasks: Sequence[str], base: bool) -> Step:
    """The step that turns the records of one recipe, and of the base beside it, into scores with intervals."""
    models = [recipe, BASE] if base else [recipe]
    suite = [task(key) for key in tasks]
    return Step(
        key=f"scores/{recipe}",
        run=lambda run: _make_scores(run, recipe, suite, base),
        code_version=SCORES_VERSION,
        needs=tuple(Need(f"eval/{model}/{key}") for model in models for key in tasks),
        params={
            "tasks": list(tasks),
            "base": base,
            "resamples": RESAMPLES,
            "level": LEVEL,
            "metrics": {each.key: _metrics(each) for each in suite},
        },
        locks_on=(),
        group="evaluation",
        description=f"Every metric of {recipe} with its interval over pictures, and its gain over the base.",
    )


def _metrics(this: Task) -> list[Json]:
    """What a task reports, as far as it shapes scores: a metric that is added or unlocked makes them anew."""
    return [[each.name, each.scorer, each.lock.reason if each.lock else None] for each in this.metrics]


def _make_scores(run: Run, recipe: str, suite: Sequence[Task], base: bool) -> Outcome:
    rows: list[Score] = []
    for this in suite:
        before = _records(run, BASE, this) if base else None
        rows += _rows(run, recipe, this, before)
        if base:
            rows += _rows(run, BASE, this, None)
    write_json(run.out / SCORES, [asdict(row) for row in rows])
    write_table(run.out / "scores.parquet", scores_to_table(rows))
    summary: dict[str, Json] = {"locked": sum(row.status == "locked" for row in rows)}
    for row in rows:
        if row.headline and row.value is not None and row.model == recipe:
            name = f"{row.task.replace('/', '_')}_{row.metric}"
            summary[name] = round(row.value, 4)
            summary |= {f"{name}_gain": round(row.gain, 4)} if row.gain is not None else {}
    return Outcome(counts=Counts(taken=len(rows), kept=len(rows)), summary=summary)


def _records(run: Run, model: str, this: Task) -> list[ItemRecord] | None:
    """A model's records of a task; None where the evaluation is locked."""
    artifact = run.inputs[f"eval/{model}/{this.key}"]
    return None if artifact.locked else read_records(artifact.folder / ITEMS)


def _rows(run: Run, model: str, this: Task, base: Sequence[ItemRecord] | None) -> list[Score]:
    lock = run.inputs[f"eval/{model}/{this.key}"].manifest.lock
    records = _records(run, model, this)
    if records is None:
        if lock is None:
            raise StoreError(f"eval/{model}/{this.key}: is locked without a reason; remove it and build again.")
        return locked_scores(this, model, lock)
    return score_task(this, records, base)


def read_scores(folder: Path) -> list[Score]:
    """The rows of a published `scores/<recipe>`."""
    return [Score(**row) for row in read_json(folder / SCORES)]
