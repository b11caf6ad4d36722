"""From item records to scores: one row a model, task and metric, with its interval and, beside a base, its gain.

A score is nothing but its records: it can be computed again from `items.parquet` at any time. A locked metric keeps its
row, without a value. How a mean gets its interval is `statistics.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.statistics import Sums, estimate, majority, paired_gain, sums
from medmax_pipeline.eval.task import CHANCE, Metric, Task
from medmax_pipeline.manifest import Lock

SEED = 0
"""Seed of the resampling; the same records always give the same interval."""

Status = Literal["ok", "locked", "unscored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One row of `scores.parquet`. What is unknown is None; `status` and `reason` say why."""

    model: str
    task: str
    metric: str
    scorer: str
    meaning: str
    headline: bool
    share: bool
    status: Status
    reason: str = ""
    cure: str = ""
    n: int = 0
    """Items asked."""
    n_scored: int = 0
    """Items the value is a mean of."""
    clusters: int = 0
    """Pictures among them: what is resampled."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    majority: float | None = None
    """What always giving the most frequent answer would score (one over the options for a balanced metric)."""
    chance: float | None = None
    """What guessing among the options would score."""
    base_value: float | None = None
    """The base model over the items that both were scored on."""
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    n_paired: int = 0


SCORE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("model", "task", "metric", "scorer", "meaning", "status", "reason", "cure")]
    + [(name, pa.bool_()) for name in ("headline", "share")]
    + [(name, pa.int64()) for name in ("n", "n_scored", "clusters", "n_paired")]
    + [
        (name, pa.float64())
        for name in (
            "value",
            "low",
            "high",
            "majority",
            "chance",
            "base_value",
            "gain",
            "gain_low",
            "gain_high",
        )
    ]
)


def scores_to_table(scores: Iterable[Score]) -> pa.Table:
    """Scores as an Arrow table of `SCORE_SCHEMA`."""
    return pa.Table.from_pylist([asdict(score) for score in scores], schema=SCORE_SCHEMA)


def score_from_json(value: Mapping[str, Any]) -> Score:
    """A score from a row of `scores.json`."""
    return Score(**value)


def locked_scores(task: Task, model: str, lock: Lock) -> list[Score]:
    """Rows of a task that could not be run for this model."""
    return [_without_value(task, metric, model, "locked", lock.reason, lock.cure) for metric in task.metrics]


def score_task(task: Task, records: Sequence[ItemRecord], base: Sequence[ItemRecord] | None = None) -> list[Score]:
    """One row a metric of the task.

    Args:
        task: says which metrics.
        records: all of one model's records of the task.
        base: the base model's, for the gain.

    Raises:
        StoreError: there are no records, or they are of several models or of another task.
    """
    models = {record.model for record in records}
    if len(models) != 1 or {record.task for record in records} != {task.key}:
        raise StoreError(
            f"{task.key}: records of models {sorted(models)}; expected those of one model, and of this task."
        )
    return [_score(task, metric, records, base) for metric in task.metrics]


def _score(task: Task, metric: Metric, records: Sequence[ItemRecord], base: Sequence[ItemRecord] | None) -> Score:
    model = records[0].model
    name = metric.per_item or metric.name
    if metric.lock is not None:
        return _without_value(task, metric, model, "locked", metric.lock.reason, metric.lock.cure, len(records))
    scored = [record for record in records if record.metrics.get(name) is not None]
    if not scored:
        reasons = Counter(record.unscored or "no value" for record in records)
        told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        return _without_value(task, metric, model, "unscored", f"no item was scored: {told}", "", len(records))
    found = estimate(_sums(metric, scored), SEED)
    guessed = [float(value) for record in scored if (value := record.metrics.get(CHANCE)) is not None]
    most = majority([record.reference for record in scored]) if task.options or guessed else None
    classes = len({record.reference for record in scored})
    return Score(
        **_about(task, metric, model),
        status="ok",
        n=len(records),
        n_scored=len(scored),
        clusters=found.clusters,
        value=found.value,
        low=found.low,
        high=found.high,
        majority=1 / classes if metric.balanced else most,
        chance=sum(guessed) / len(guessed) if guessed else task.chance,
        **(_gain(metric, scored, base) if base is not None else {}),
    )


def _sums(metric: Metric, records: Sequence[ItemRecord]) -> Sums:
    name = metric.per_item or metric.name
    values = [float(record.metrics[name] or 0.0) for record in records]  # none of them is None here
    classes = [record.reference for record in records] if metric.balanced else None
    return sums(values, [record.cluster for record in records], classes)


def _gain(metric: Metric, scored: Sequence[ItemRecord], base: Sequence[ItemRecord]) -> dict[str, Any]:
    """Base value and paired gain over the items that both models were scored on; nothing when there are none."""
    name = metric.per_item or metric.name
    by_id = {record.item_id: record for record in base if record.metrics.get(name) is not None}
    pairs = [(record, by_id[record.item_id]) for record in scored if record.item_id in by_id]
    if not pairs:
        return {}
    mine, theirs = (_sums(metric, side) for side in zip(*pairs, strict=True))
    found = paired_gain(mine, theirs, SEED)
    return {
        "base_value": theirs.value(),
        "gain": found.value,
        "gain_low": found.low,
        "gain_high": found.high,
        "n_paired": len(pairs),
    }


def _about(task: Task, metric: Metric, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "task": task.key,
        "metric": metric.name,
        "scorer": metric.scorer,
        "meaning": metric.meaning,
        "headline": metric.headline,
        "share": metric.share,
    }


def _without_value(task: Task, metric: Metric, model: str, status: Status, reason: str, cure: str, n: int = 0) -> Score:
    return Score(**_about(task, metric, model), status=status, reason=reason, cure=cure, n=n)
