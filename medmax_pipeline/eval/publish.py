"""What evaluations and scores do when they run: a job for the launched process, then records into counts and scores.

What happens in an evaluation is `runner.py`; keys, inputs and parameters are `steps.py`. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from medmax_pipeline.config import Endpoint
from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.averages import average_scores
from medmax_pipeline.eval.job import Job, SimilarityJob, TaskJob
from medmax_pipeline.eval.records import COUNTS, ITEMS, SCORERS, ItemRecord, read_records
from medmax_pipeline.eval.scorers import Names, bound
from medmax_pipeline.eval.scores import Score, locked_scores, score_task, scores_to_table
from medmax_pipeline.eval.steps import BASE, EVALUATED, LEAKAGE, SIMILARITY
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import Json, digest_of, read_json, write_json, write_table
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.replies_cache import REPLIES
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Outcome, Run
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.store import code_folder
from medmax_pipeline.withdrawal import PARAMETER, left_out

OVER_LIMIT = "over_limit"
SCORES = "scores.json"


def evaluate(runs: Mapping[str, Run], judge: Endpoint | None = None) -> Mapping[str, Outcome]:
    """Evaluate several tasks; those of one model in one launched process, which loads the model once.

    Args:
        runs: by key.
        judge: the build's, for the tasks that are judged.
    """
    by_model: dict[str, list[Run]] = {}
    for run in runs.values():
        by_model.setdefault(str(run.params["model_name"]), []).append(run)
    for group in by_model.values():
        path = group[0].work / "job.json"
        write_json(path, _job(group, judge).to_json())
        group[0].launch(["medmax_pipeline.eval", str(path)])
    return {key: _outcome(run) for key, run in runs.items()}


def _job(runs: Sequence[Run], judge: Endpoint | None) -> Job:
    first = runs[0]
    tokenizers = [first.inputs[name].manifest.digest for name in ("text_tokenizer", "image_tokenizer")]
    model = first.inputs[str(first.params["model_key"])]
    folder = model.folder / "model"
    image_tokenizer = first.inputs["image_tokenizer"].folder
    codes = code_folder(first.store, tokenizer_digest(image_tokenizer, preprocessing=PREPROCESSING))
    return Job(
        model_name=str(first.params["model_name"]),
        model=str(folder if folder.is_dir() else model.folder),
        model_digest=digest_of([model.manifest.digest, *tokenizers]),
        text_tokenizer=str(first.inputs["text_tokenizer"].folder),
        image_tokenizer=str(image_tokenizer),
        codes=str(codes),
        tasks=tuple(_task_job(run) for run in runs),
        landing=str(first.landing),
        judge=judge,
        replies=str(first.store / REPLIES),
        similarity=next((found for run in runs if (found := _similarity(run)) is not None), None),
    )


def _similarity(run: Run) -> SimilarityJob | None:
    """The build's similarity model as the launched process gets it; None where the task asks none."""
    artifact = run.inputs.get(SIMILARITY)
    if artifact is None:
        return None
    name, lock = str(run.params["similarity"]), artifact.manifest.lock
    if lock is not None:
        return SimilarityJob(name=name, reason=f"{SIMILARITY} is locked: {lock.reason}", cure=lock.cure)
    return SimilarityJob(name=name, folder=str(artifact.folder))


def _task_job(run: Run) -> TaskJob:
    limit, seed = run.params["limit"], run.params["seed"]
    assert limit is None or isinstance(limit, int)
    assert isinstance(seed, int)
    samples = _samples(run)
    return TaskJob(
        task=str(run.params["task"]),
        samples=(str(samples / "samples.parquet"),),
        without=tuple(sorted(_withdrawn(run))),
        limit=limit,
        seed=seed,
        prompt_style=run.params["prompt_style"],  # type: ignore[arg-type]  # written by eval_step
        work=str(run.work),
        out=str(run.out),
        images=(str(samples / "images.parquet"),),
        leaked=_leaked(run),
        previous="" if run.previous is None or run.previous.locked else str(run.previous.folder),
    )


def _withdrawn(run: Run) -> Mapping[str, str]:
    """The task's samples that are not asked since they are withdrawn."""
    chosen = task(str(run.params["task"])).rows[str(run.params["source"])]
    return left_out(_samples(run), run.params, "eval", chosen)


def _leaked(run: Run) -> str:
    """The file that names evaluation samples found in training data; empty where nobody looked."""
    artifact = run.inputs.get(LEAKAGE)
    return "" if artifact is None or artifact.locked else str(artifact.folder / f"{EVALUATED}.parquet")


def _samples(run: Run) -> Path:
    return run.inputs[f"{run.params['source']}/samples"].folder


def _outcome(run: Run) -> Outcome:
    records = read_records(run.out / ITEMS)
    counts = read_json(run.out / COUNTS)
    gone = len(_withdrawn(run))
    left = int(counts["candidates"]) - gone - len(records)
    dropped = {OVER_LIMIT: left, PARAMETER: gone}
    this = bound(task(str(run.params["task"])), *scorers_told(run.out))
    summary: dict[str, Json] = {"items": len(records)}
    for score in score_task(this, records):
        summary[f"{score.metric}_status"] = score.status
        if score.value is not None:
            summary[score.metric] = round(score.value, 4)
            summary[f"{score.metric}_scored"] = score.n_scored
    return Outcome(
        counts=Counts(
            taken=int(counts["candidates"]),
            kept=len(records),
            dropped={name: count for name, count in dropped.items() if count},
        ),
        summary=summary,
    )


def scorers_told(folder: Path) -> tuple[Names, Mapping[str, Lock]]:
    """Who scored an evaluation, and which scorer could not."""
    path = folder / SCORERS
    told = read_json(path) if path.is_file() else {}
    names = Names(**{by: entry["name"] for by, entry in told.items()})
    return names, {by: Lock(*entry["lock"]) for by, entry in told.items() if entry["lock"]}


def make_scores(run: Run, recipe: str, suite: Sequence[Task], base: bool, names: Names) -> Outcome:
    """Write `scores.json` and `scores.parquet` of one recipe."""
    rows: list[Score] = []
    answers = {
        name: {this.key: _records(run, name, this) for this in suite} for name in ([recipe, BASE] if base else [recipe])
    }
    before = answers.get(BASE)
    for this in suite:
        rows += _rows(run, recipe, this, names, answers[recipe][this.key], before[this.key] if before else None)
        if before:
            rows += _rows(run, BASE, this, names, before[this.key], None)
    for name, given in answers.items():
        locks = _locks(run, name, suite)
        known = [bound(this, names, locks) for this in suite]
        rows += average_scores(known, name, given, before if name != BASE else None)
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


def _locks(run: Run, model: str, suite: Sequence[Task]) -> dict[str, Lock]:
    """Scorers that could not be asked for one task or another of a model."""
    found: dict[str, Lock] = {}
    for this in suite:
        found |= scorers_told(run.inputs[f"eval/{model}/{this.key}"].folder)[1]
    return found


def _rows(
    run: Run,
    model: str,
    this: Task,
    names: Names,
    records: Sequence[ItemRecord] | None,
    base: Sequence[ItemRecord] | None,
) -> list[Score]:
    artifact = run.inputs[f"eval/{model}/{this.key}"]
    if records is None:
        if artifact.manifest.lock is None:
            raise StoreError(f"eval/{model}/{this.key}: is locked without a reason; remove it and build again.")
        return locked_scores(bound(this, names), model, artifact.manifest.lock)
    _, locks = scorers_told(artifact.folder)
    return score_task(bound(this, names, locks), records, base)


def read_scores(folder: Path) -> list[Score]:
    """The rows of a published `scores/<recipe>`."""
    return [Score(**row) for row in read_json(folder / SCORES)]
