"""Two models on the items that both answered: paired differences with intervals over pictures.

Either may be a recipe of the build or its base. Only metrics of the same scorer are compared. What a difference and its
interval are: `statistics.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.eval.averages import average_scores
from medmax_pipeline.eval.publish import scorers_told
from medmax_pipeline.eval.records import ITEMS, ItemRecord, read_records
from medmax_pipeline.eval.scorers import bound
from medmax_pipeline.eval.scores import Score, score_task
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import TASKS
from medmax_pipeline.ledger import Ledger


def compare(ledger: Ledger, first: str, second: str) -> list[Score]:
    """Every metric that both models have, `gain` being first minus second; averages at the end.

    Raises:
        ConfigError: a model has no published evaluation, or the two share no task.
    """
    suites: list[Task] = []
    mine: dict[str, Sequence[ItemRecord] | None] = {}
    theirs: dict[str, Sequence[ItemRecord] | None] = {}
    rows: list[Score] = []
    seen = {first: 0, second: 0}
    for key, task in TASKS.items():
        sides = [ledger.current(f"eval/{model}/{key}") for model in (first, second)]
        for model, side in zip((first, second), sides, strict=True):
            seen[model] += side is not None and not side.locked
        if any(side is None or side.locked for side in sides):
            continue
        one, other = (read_records(side.folder / ITEMS) for side in sides if side is not None)
        named = bound(task, *scorers_told(sides[0].folder))  # type: ignore[union-attr]  # neither is None here
        suites.append(named)
        mine[key], theirs[key] = one, other
        rows += [row for row in score_task(named, one, other) if row.gain is not None and not row.part]
    for model, count in seen.items():
        if not count:
            raise ConfigError(
                f"{model}: this build has no published evaluation of it. Known models are its recipes and base."
            )
    if not suites:
        raise ConfigError(f"{first} and {second} have no task in common.")
    return rows + [row for row in average_scores(suites, first, mine, theirs) if row.gain is not None]


def lines(rows: Sequence[Score], first: str, second: str) -> Iterator[str]:
    """The comparison as text."""
    yield f"{first} minus {second}, paired over items, 95 % intervals over pictures"
    for row in rows:
        scale, unit = (100, " points") if row.share else (1, "")
        span = (
            ""
            if row.gain_low is None or row.gain_high is None
            else (f" [{scale * row.gain_low:+.2f}, {scale * row.gain_high:+.2f}]")
        )
        yield f"  {row.task:<26} {row.metric:<42} {scale * (row.gain or 0):+.2f}{unit}{span} on {row.n_paired}"


def to_json(rows: Sequence[Score], first: str, second: str) -> list[dict[str, Any]]:
    """The comparison as JSON values, an object a metric."""
    return [
        {
            "first": first,
            "second": second,
            "task": row.task,
            "metric": row.metric,
            "scorer": row.scorer,
            "first_value": row.value,
            "second_value": row.base_value,
            "difference": row.gain,
            "low": row.gain_low,
            "high": row.gain_high,
            "items": row.n_paired,
        }
        for row in rows
    ]
