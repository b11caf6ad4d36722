"""From item records to scores: one row a model, task and metric, with its interval and, beside a base, its gain.

A score is nothing but its records: it can be computed again from `items.parquet` at any time. A locked metric keeps its
row, without a value. How a mean gets its interval is `statistics.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.statistics import Sums, estimate, majority, paired_gain, sums
from medmax_pipeline.eval.task import CHANCE, Metric, Task
from medmax_pipeline.manifest import Lock

COMPAT = "_compat"
"""How metrics by the reference implementation's rules end; they too are given by group, as the paper gives them."""
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
    part: str = ""
    """Of which items: empty for all; `question_type=…` or `group=…` for some."""
    unreadable: int = 0
    """Items that this judge was asked about and whose replies give no verdict; never part of the value."""
    leaked: int | None = None
    """Items that curation found in training data, among the scored ones; None where nobody looked."""
    clean: float | None = None
    """The value without them; None where there are none, or nobody looked."""
    clean_low: float | None = None
    clean_high: float | None = None
    tasks: str = ""
    """Of an average: `11 of 12`."""


SCORE_WORDS = ("model", "task", "metric", "scorer", "meaning", "status", "reason", "cure", "part", "tasks")
SCORE_COUNTS = ("n", "n_scored", "clusters", "n_paired", "unreadable", "leaked")
SCORE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in SCORE_WORDS]
    + [(name, pa.bool_()) for name in ("headline", "share")]
    + [(name, pa.int64()) for name in SCORE_COUNTS]
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
            "clean",
            "clean_low",
            "clean_high",
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
    rows = [_score(task, metric, records, base) for metric in task.metrics]
    for part, some in parts(records).items():
        ids = {record.item_id for record in some}
        theirs = [record for record in base if record.item_id in ids] if base is not None else None
        rows += [
            replace(_score(task, metric, some, theirs), part=part, headline=False)
            for metric in task.metrics
            if metric.lock is None and (metric.headline or metric.name.partition("@")[0].endswith(COMPAT))
        ]
    return rows


def parts(records: Sequence[ItemRecord]) -> dict[str, list[ItemRecord]]:
    """Records by question type and by group, each where there are several."""
    found: dict[str, list[ItemRecord]] = {}
    for name in ("question_type", "group"):
        values = sorted({getattr(record, name) for record in records} - {""})
        for value in values if len(values) > 1 else ():
            found[f"{name}={value}"] = [record for record in records if getattr(record, name) == value]
    return found


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
    found = estimate(metric_sums(metric, scored), SEED)
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
        unreadable=sum(_unreadable(metric, record) for record in records),
        **_without_leaks(metric, scored),
        **(_gain(metric, scored, base) if base is not None else {}),
    )


def _unreadable(metric: Metric, record: ItemRecord) -> bool:
    """Whether the judge replied to this item and gave no verdict for this metric."""
    return metric.by == "judge" and bool(record.verdicts) and record.metrics.get(metric.per_item or metric.name) is None


def _without_leaks(metric: Metric, scored: Sequence[ItemRecord]) -> dict[str, Any]:
    """How many scored items leak, and the value without them."""
    if all(record.leaked is None for record in scored):
        return {}
    held = [record for record in scored if not record.leaked]
    leaked = len(scored) - len(held)
    if not leaked or not held:
        return {"leaked": leaked}
    found = estimate(metric_sums(metric, held), SEED)
    return {"leaked": leaked, "clean": found.value, "clean_low": found.low, "clean_high": found.high}


def metric_sums(metric: Metric, records: Sequence[ItemRecord]) -> Sums:
    """A metric over records that all have it, by picture."""
    name = metric.per_item or metric.name
    values = [float(record.metrics[name] or 0.0) for record in records]  # none of them is None here
    classes = [record.reference for record in records] if metric.balanced else None
    return sums(values, [record.cluster for record in records], classes)


def _gain(metric: Metric, scored: Sequence[ItemRecord], base: Sequence[ItemRecord]) -> dict[str, Any]:
    """Base value and paired gain over the items that both models were scored on; nothing when there are none."""
    name = metric.per_item or metric.name
    paired = pairs(name, scored, base)
    if not paired:
        return {}
    mine, theirs = (metric_sums(metric, side) for side in zip(*paired, strict=True))
    found = paired_gain(mine, theirs, SEED)
    return {
        "base_value": theirs.value(),
        "gain": found.value,
        "gain_low": found.low,
        "gain_high": found.high,
        "n_paired": len(paired),
    }


def pairs(name: str, first: Sequence[ItemRecord], second: Sequence[ItemRecord]) -> list[tuple[ItemRecord, ItemRecord]]:
    """Records of the same items in which both have a value of that name."""
    by_id = {record.item_id: record for record in second if record.metrics.get(name) is not None}
    known = (record for record in first if record.metrics.get(name) is not None)
    return [(record, by_id[record.item_id]) for record in known if record.item_id in by_id]


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
