"""Means over tasks, the headline of the paper: twelve accuracies, each task counting alike (section 5).

An average of some of its tasks passes for no average of all: it is given only where every task has its value, and says
which lack one otherwise. Beside the judge's there is one over the tasks that need no judge. What a task's own score is:
`scores.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.scores import SEED, Score, metric_sums, pairs
from medmax_pipeline.eval.statistics import average, average_gain
from medmax_pipeline.eval.task import Metric, Task

AVERAGE: Final = "average"
"""Stands in a task's place in the rows of averages."""
JUDGED: Final = ("vqa_rad/open", "slake/open", "pathvqa/open", "quilt_vqa/open")
UNJUDGED: Final = (
    "vqa_rad/closed",
    "slake/closed",
    "pathvqa/closed",
    "quilt_vqa/closed",
    "pmc_vqa/mcq",
    "omnimed_vqa/mcq",
    "path_mmu/mcq",
    "probmed/closed",
)
Answers = Mapping[str, Sequence[ItemRecord] | None]
"""Records of one model by task; None where its evaluation is locked."""


class _Average(NamedTuple):
    name: str
    meaning: str
    tasks: Sequence[str]
    unjudged: str
    judged: str


AVERAGES: Final = (
    _Average(
        "average_accuracy_strict",
        "mean of the twelve tasks: likeliest option for closed questions and multiple choice, the judge for open ones",
        (*UNJUDGED, *JUDGED),
        "accuracy_strict",
        "judge_correct",
    ),
    _Average(
        "average_accuracy_compat",
        "mean of the twelve tasks by the reference implementation's rules: the paper's headline, if its judge is asked",
        (*UNJUDGED, *JUDGED),
        "accuracy_compat",
        "judge_correct_compat",
    ),
    _Average(
        "average_accuracy_unjudged",
        "mean of the eight tasks that need no judge, by the likeliest option",
        UNJUDGED,
        "accuracy_strict",
        "",
    ),
)


def average_scores(suite: Sequence[Task], model: str, answers: Answers, base: Answers | None) -> list[Score]:
    """A row an average for one model.

    Args:
        suite: the build's tasks, bound to its scorers.
        model: its name.
        answers: its records by task.
        base: the base model's, for the gain.
    """
    by_key = {task.key: task for task in suite}
    return [_average(each, by_key, model, answers, base) for each in AVERAGES]


def _average(each: _Average, by_key: Mapping[str, Task], model: str, answers: Answers, base: Answers | None) -> Score:
    metrics = {
        key: _metric(by_key[key], each.judged if key in JUDGED else each.unjudged)
        for key in each.tasks
        if key in by_key
    }
    judges = {metric.scorer for key, metric in metrics.items() if key in JUDGED and metric is not None}
    name = f"{each.name}@{'+'.join(sorted(judges))}" if judges else each.name
    scored = {key: _scored(metric, answers.get(key)) for key, metric in metrics.items()}
    known = {key: metrics[key] for key, records in scored.items() if records}
    about: dict[str, Any] = {
        "model": model,
        "task": AVERAGE,
        "metric": name,
        "scorer": ", ".join(dict.fromkeys(metric.scorer for metric in known.values() if metric)),
        "meaning": each.meaning,
        "headline": each is AVERAGES[0],
        "share": True,
        "tasks": f"{len(known)} of {len(each.tasks)}",
        "n": sum(len(answers.get(key) or ()) for key in metrics),
    }
    lacking = [key for key in each.tasks if key not in known]
    if lacking:
        reason = f"{len(lacking)} of {len(each.tasks)} tasks have no value: {', '.join(lacking)}"
        return Score(**about, status="unscored", reason=reason)
    sums = [metric_sums(metric, scored[key]) for key, metric in known.items() if metric]
    found = average(sums, SEED)
    return Score(
        **about,
        status="ok",
        n_scored=sum(len(records) for records in scored.values()),
        clusters=found.clusters,
        value=found.value,
        low=found.low,
        high=found.high,
        **(_gain(known, scored, base) if base is not None else {}),
    )


def _metric(task: Task, name: str) -> Metric | None:
    """The task's metric of that name, under whatever scorer; the build's own before the paper's locked one."""
    found = [metric for metric in task.metrics if metric.name.partition("@")[0] == name]
    return min(found, key=lambda metric: metric.lock is not None, default=None)


def _scored(metric: Metric | None, records: Sequence[ItemRecord] | None) -> list[ItemRecord]:
    if metric is None or metric.lock is not None or records is None:
        return []
    return [record for record in records if record.metrics.get(metric.name) is not None]


def _gain(
    known: Mapping[str, Metric | None], scored: Mapping[str, Sequence[ItemRecord]], base: Answers
) -> dict[str, Any]:
    """Base value and paired gain over the items that both were scored on; nothing where a task has none."""
    mine, theirs, count = [], [], 0
    for key, metric in known.items():
        assert metric is not None
        paired = pairs(metric.name, scored[key], base.get(key) or ())
        if not paired:
            return {}
        first, second = zip(*paired, strict=True)
        mine.append(metric_sums(metric, first))
        theirs.append(metric_sums(metric, second))
        count += len(paired)
    found = average_gain(mine, theirs, SEED)
    return {
        "base_value": sum(each.value() for each in theirs) / len(theirs),
        "gain": found.value,
        "gain_low": found.low,
        "gain_high": found.high,
        "n_paired": count,
    }
