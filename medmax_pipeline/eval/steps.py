"""The steps `eval/<model>/<task>` and `scores/<recipe>`: what they read and their parameters.

What they do is `publish.py`, imported when they run; asking the model is `runner.py`, in a launched process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmax_pipeline.config import Endpoint, Evaluation
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.eval import LEVEL, RESAMPLES
from medmax_pipeline.eval.scorers import Names, bound, scorers_of
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import Json
from medmax_pipeline.models.admission import endpoint_lock
from medmax_pipeline.steps import Artifact, Need, Outcome, Run, Step
from medmax_pipeline.withdrawal import parameters

SCORES_VERSION = "3"
"""Raise when statistics or the columns of scores change."""
BASE = "base"
WEIGHTS_INPUTS = ("image_tokenizer", "text_tokenizer", "image_codes")
SIMILARITY = "similarity_model"
LEAKAGE = "leakage"
EVALUATED = "evaluated"
"""Its part that names the evaluation samples found in training data."""
JUDGE_LOCKED = "judge_locked"
"""Parameter of a task that is judged: why nobody can judge here. A key that is set unlocks it, and it is scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a build gives its evaluations beside models and samples."""

    judge: Endpoint | None = None
    similarity: str = ""
    """Name of the similarity model; empty: the build has none."""
    leakage: bool = False
    """Whether curation says which evaluation samples are in training data."""

    @property
    def names(self) -> Names:
        """What the scorers are called."""
        return Names(self.judge.model if self.judge else "", self.similarity)


NOTHING_BESIDE = Beside()


def eval_step(
    model_name: str,
    model_key: str,
    key: str,
    evaluation: Evaluation,
    sources: Sequence[str],
    beside: Beside = NOTHING_BESIDE,
) -> Step:
    """The step that asks one model the items of one task, and the build's scorers what they think of the answers.

    Args:
        model_name: a recipe, or `base`.
        model_key: the asset that holds the model.
        key: the task's row.
        evaluation: limits, sources and seed.
        sources: what the build has.
        beside: its scorers, and whether it looks for leaks.

    Raises:
        ConfigError: there is no such task, or the build lacks its source.
    """
    this = task(key)
    source = _source(this, evaluation, sources)
    samples, name, asked = f"{source}/samples", f"eval/{model_name}/{key}", scorers_of(this)
    inputs = (model_key, *WEIGHTS_INPUTS, samples)
    optional = [SIMILARITY] if "similarity" in asked and beside.similarity else []
    together = _together(beside.judge)
    needs = [*map(Need, (*inputs, *optional)), *([Need(LEAKAGE, EVALUATED)] if beside.leakage else [])]

    def further(store: Path, published: Mapping[str, Artifact]) -> dict[str, Json]:
        lock = endpoint_lock(beside.judge) if beside.judge and "judge" in asked else None
        locked: dict[str, Json] = {JUDGE_LOCKED: lock.reason} if lock else {}
        return locked | parameters(store, [published[samples]], "eval", this.rows[source])

    return Step(
        key=name,
        run=lambda run: together({name: run})[name],
        together=together,
        code_version=this.code_version,
        needs=tuple(needs),
        params={
            "task": key,
            "model_name": model_name,
            "model_key": model_key,
            "source": source,
            "limit": evaluation.limit.get(key),
            "seed": evaluation.seed,
            "prompt_style": evaluation.prompt_style,
            **_scored_by(asked, beside),
        },
        withdrawn=further,
        locks_on=inputs,
        group="evaluation",
        description=f"Each item of {key} asked of {model_name}: one record an item.",
    )


def _scored_by(asked: frozenset[str], beside: Beside) -> dict[str, Json]:
    """The scorers that a task asks, as far as its figures depend on them: another judge touches judged tasks alone."""
    told: dict[str, Json] = {}
    if "judge" in asked:
        from medmax_pipeline.eval.judge import judge_identity

        told["judge"] = judge_identity(beside.judge) if beside.judge else None
    if "similarity" in asked:
        told["similarity"] = beside.similarity
    return told


def _source(this: Task, evaluation: Evaluation, sources: Sequence[str]) -> str:
    """Whose samples the build asks for a task.

    Raises:
        ConfigError: the task knows no such source, or the build lacks it.
    """
    source = evaluation.sources.get(this.key, this.source)
    if source not in this.rows:
        raise ConfigError(f"task {this.key}: cannot ask samples of {source!r}, only of {', '.join(this.rows)}.")
    if source not in sources:
        raise ConfigError(
            f"task {this.key}: asks samples of {source}, which the build has no source for. Add it, or name another "
            f"one under [evaluation.sources] (known to the task: {', '.join(this.rows)})."
        )
    return source


def _together(judge: Endpoint | None) -> Callable[[Mapping[str, Run]], Mapping[str, Outcome]]:
    """Evaluates several tasks; those of one model in one launched process, which loads the model once."""

    def run(runs: Mapping[str, Run]) -> Mapping[str, Outcome]:
        from medmax_pipeline.eval.publish import evaluate

        return evaluate(runs, judge)

    return run


def scores_step(recipe: str, tasks: Sequence[str], base: bool, names: Names = NOTHING_BESIDE.names) -> Step:
    """The step that turns the records of one recipe, and of the base beside it, into scores with intervals."""
    models = [recipe, BASE] if base else [recipe]

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.eval.publish import make_scores

        return make_scores(ctx, recipe, [task(key) for key in tasks], base, names)

    return Step(
        key=f"scores/{recipe}",
        run=run,
        code_version=SCORES_VERSION,
        needs=tuple(Need(f"eval/{model}/{key}") for model in models for key in tasks),
        params={
            "tasks": list(tasks),
            "base": base,
            "resamples": RESAMPLES,
            "level": LEVEL,
            "metrics": {key: _metrics(bound(task(key), names)) for key in tasks},
        },
        locks_on=(),
        group="evaluation",
        description=f"Every metric of {recipe} with its interval over pictures, and its gain over the base.",
    )


def _metrics(this: Task) -> list[Json]:
    """What a task reports, as far as it shapes scores: a metric that is added or unlocked makes them anew."""
    return [[each.name, each.scorer, each.lock.reason if each.lock else None] for each in this.metrics]
