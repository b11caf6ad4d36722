"""The steps `eval/<model>/<task>` and `scores/<recipe>`: what they read and their parameters.

What they do is `publish.py`, imported when they run; asking the model is `runner.py`, in a launched process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medmax_pipeline.config import Evaluation
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.eval import LEVEL, RESAMPLES
from medmax_pipeline.eval.scorers import Names, bound
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import Json
from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.withdrawal import parameters

SCORES_VERSION = "1"
"""Raise when statistics or the columns of scores change."""
BASE = "base"
WEIGHTS_INPUTS = ("image_tokenizer", "text_tokenizer", "image_codes")


def eval_step(model_name: str, model_key: str, key: str, evaluation: Evaluation, sources: Sequence[str]) -> Step:
    """The step that asks one model the items of one task.

    Args:
        model_name: a recipe, or `base`.
        model_key: the asset that holds the model.
        key: the task's row.
        evaluation: limits, sources and seed.
        sources: what the build has.

    Raises:
        ConfigError: there is no such task, or the build lacks its source.
    """
    this = task(key)
    source = _source(this, evaluation, sources)
    samples = f"{source}/samples"
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
            "source": source,
            "limit": evaluation.limit.get(key),
            "seed": evaluation.seed,
            "prompt_style": evaluation.prompt_style,
        },
        withdrawn=lambda store, inputs: parameters(store, [inputs[samples]], "eval", this.rows[source]),
        group="evaluation",
        description=f"Each item of {key} asked of {model_name}: one record an item.",
    )


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


def run_together(runs: Mapping[str, Run]) -> Mapping[str, Outcome]:
    """Evaluate several tasks; those of one model in one launched process, which loads the model once."""
    from medmax_pipeline.eval.publish import evaluate

    return evaluate(runs)


def scores_step(recipe: str, tasks: Sequence[str], base: bool) -> Step:
    """The step that turns the records of one recipe, and of the base beside it, into scores with intervals."""
    models = [recipe, BASE] if base else [recipe]
    suite = [bound(task(key), Names()) for key in tasks]

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.eval.publish import make_scores

        return make_scores(ctx, recipe, suite, base)

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
            "metrics": {each.key: _metrics(each) for each in suite},
        },
        locks_on=(),
        group="evaluation",
        description=f"Every metric of {recipe} with its interval over pictures, and its gain over the base.",
    )


def _metrics(this: Task) -> list[Json]:
    """What a task reports, as far as it shapes scores: a metric that is added or unlocked makes them anew."""
    return [[each.name, each.scorer, each.lock.reason if each.lock else None] for each in this.metrics]
