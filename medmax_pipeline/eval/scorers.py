"""The scorers that a build names, judge and similarity model: what their metrics are called, and their use by tasks.

A metric by such a scorer carries its name, `judge_correct@sample_judge`, so that no number passes for another scorer's;
the paper's own stays beside it, locked where the build has another one. What a scorer says is `judge.py` and
`models/similarity.py`; which items it is asked about is each family's `score`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from medmax_pipeline.eval.task import Metric, Task
from medmax_pipeline.manifest import Lock

if TYPE_CHECKING:
    from medmax_pipeline.eval.judge import Judge
    from medmax_pipeline.eval.records import ItemRecord
    from medmax_pipeline.models.similarity import Similarity

METRIC_LOCKED = "metric_locked"
NOT_SCORED = "not_scored"
NO_LOCKS: Mapping[str, Lock] = MappingProxyType({})


class Names(NamedTuple):
    """What the scorers of a build are called; empty where it has none."""

    judge: str = ""
    similarity: str = ""


PAPER = Names(judge="gpt-4o-mini", similarity="biomedclip")
"""The scorers of the paper, section 5."""
CURES = Names(
    judge='Give the build an endpoint of model "gpt-4o-mini-2024-07-18" ([endpoints.NAME]), name it as '
    "evaluation.judge, and set its key.",
    similarity='Give the build similarity_model = { kind = "published", name = "biomedclip" }; its weights belong '
    "under landing/weights/biomedclip/, its reader comes with the extra `biomedclip`.",
)


@dataclass(frozen=True, eq=False)
class Scorers:
    """What a task's `score` may ask. Where a Lock stands, it leaves that scorer's metrics alone."""

    judge: Judge | Lock
    similarity: Similarity | Lock
    picture: Callable[[str], bytes]
    """File bytes of a source's picture by its image id; ImageError where they are not to be had."""
    drawn: Callable[[str], bytes]
    """PNG bytes of a generated picture by its sha256."""


def scorers_of(task: Task) -> frozenset[str]:
    """Which scorers of the build a task asks: `judge`, `similarity`."""
    return frozenset(metric.by for metric in task.metrics if metric.by)


def bound(task: Task, names: Names, locks: Mapping[str, Lock] = NO_LOCKS) -> Task:
    """The task with its metrics named after the build's scorers, the paper's locked ones beside them.

    Args:
        task: of the registry.
        names: the build's scorers.
        locks: why one of them (`judge`, `similarity`) could not be asked.
    """
    return replace(task, metrics=tuple(each for metric in task.metrics for each in _named(metric, names, locks)))


def _named(metric: Metric, names: Names, locks: Mapping[str, Lock]) -> Iterator[Metric]:
    if not metric.by:
        yield metric
        return
    mine, published = getattr(names, metric.by), getattr(PAPER, metric.by)
    if mine:
        yield replace(_renamed(metric, mine), lock=locks.get(metric.by))
    if not mine.startswith(published):
        what = metric.by.replace("similarity", "similarity model")
        reason = f"The paper's {what} is {published}, this build's is {mine}." if mine else f"The build has no {what}."
        lock = Lock(reason, getattr(CURES, metric.by))
        yield replace(_renamed(metric, published), headline=metric.headline and not mine, lock=lock)


def _renamed(metric: Metric, scorer: str) -> Metric:
    per_item = named(metric.per_item, scorer) if metric.per_item else ""
    return replace(metric, name=named(metric.name, scorer), per_item=per_item, scorer=scorer)


def named(metric: str, scorer: str) -> str:
    """`judge_correct@sample_judge`: a metric under its scorer's name."""
    return f"{metric}@{scorer}"


def named_record(record: ItemRecord, task: Task, names: Names, locks: Mapping[str, Lock]) -> ItemRecord:
    """A record with its metrics under their scorers' names; those that nobody gave are None, with the reason.

    Args:
        record: as `answer` and `score` left it.
        task: not bound.
        names: the build's scorers.
        locks: why a scorer (`judge`, `similarity`) cannot be asked here.
    """
    metrics, reasons = dict(record.metrics), record.unscored.split()
    for metric in task.metrics:
        if metric.by and not metric.per_item:
            full = named(metric.name, getattr(names, metric.by) or getattr(PAPER, metric.by))
            metrics[full] = metrics.pop(metric.name, None)
            if metrics[full] is None and (metric.by in locks or not reasons):
                reasons.append(f"{METRIC_LOCKED}:{full}" if metric.by in locks else f"{NOT_SCORED}:{full}")
    return replace(record, metrics=metrics, unscored=" ".join(dict.fromkeys(reasons)))
