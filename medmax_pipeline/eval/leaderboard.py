"""Models side by side, ours and the published ones: a cell is a figure with its interval, its scorer and its origin.

Published figures stand beside those of ours that follow the reference implementation's rules (`compat`); what ours are
by stricter rules is in the same cell. A figure by another judge or similarity model than the paper's says so and is no
rival of the published one. Recipes that differ in the share or the kinds of their data make the scaling and ablation
tables. No number is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from medmax_pipeline.eval.averages import AVERAGE
from medmax_pipeline.eval.published import COSINE, PERCENT, PUBLISHED, Published
from medmax_pipeline.eval.scorers import PAPER
from medmax_pipeline.eval.scores import Score

COMPAT: Final[Mapping[str, str]] = {
    AVERAGE: "average_accuracy_compat",
    "closed": "accuracy_compat",
    "mcq": "accuracy_compat",
    "open": "judge_correct_compat",
    "image_captioning": "clip_score_compat",
    "image_generation": "clip_score",
    "visual_chat": "relative_score_compat",
    "mm_out": "relative_score_compat",
}
"""The metric that answers to the published one, by question type or, before it, by task name."""
UNJUDGED: Final = "average_accuracy_unjudged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure of the board."""

    value: float
    unit: str
    """`percent` or `cosine`."""
    metric: str
    origin: str
    """The artifact it comes from, with the digits of its fingerprint, or the publication."""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Items scored; None where nobody published it."""
    strict: float | None = None
    """By our stricter rules, in the same unit."""
    comparable: bool = True
    """Whether the same scorer gave it as the published figures of its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One model's line."""

    model: str
    published: bool
    cells: Mapping[str, Cell] = field(default_factory=dict)
    """By the suite's row; what is not there is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A recipe as a point of the scaling curve or a line of the ablation table."""

    recipe: str
    subset: float
    """Share of the mixture's samples."""
    left_out: tuple[str, ...]
    """Kinds that it is not trained on."""
    sequences: int | None
    """Trained on in an epoch; None where the shards are locked."""
    average: Cell | None
    """Mean of the tasks that need no judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Everything of the board, as `report.json` has it."""

    tasks: tuple[str, ...]
    standings: tuple[Standing, ...]
    trained: tuple[Trained, ...]

    def to_json(self) -> dict[str, Any]:
        """The board as JSON values."""
        return asdict(self)


def compat_metric(task: str) -> str:
    """The metric of a task that answers to the published one, without its scorer's name."""
    name, _, kind = task.partition("/")
    return COMPAT.get(name) or COMPAT[kind]


def standing(model: str, scores: Iterable[Score], origin: str) -> Standing:
    """A model's line out of its scores.

    Args:
        model: whose; other models' rows are passed over.
        scores: rows of a `scores/<recipe>`.
        origin: the artifact they come from.
    """
    cells: dict[str, Cell] = {}
    strict = {score.task: score for score in scores if _of(score, model) and score.headline}
    for score in scores:
        if (
            _of(score, model)
            and score.value is not None
            and score.metric.partition("@")[0] == compat_metric(score.task)
        ):
            cells[score.task] = _cell(score, strict.get(score.task), origin)
    return Standing(model=model, published=False, cells=cells)


def _of(score: Score, model: str) -> bool:
    return score.model == model and not score.part


def _cell(score: Score, strict: Score | None, origin: str) -> Cell:
    scale = 100.0 if score.share else 1.0
    unit = COSINE if score.metric.startswith("clip_score") else PERCENT
    scorer = score.metric.partition("@")[2]
    low, high = (None if end is None else scale * end for end in (score.low, score.high))
    same = strict is not None and strict.share == score.share and strict.metric.partition("@")[2] == scorer
    return Cell(
        value=scale * (score.value or 0.0),
        unit=unit,
        metric=score.metric,
        origin=origin,
        low=low,
        high=high,
        n=score.n_scored,
        strict=scale * strict.value if same and strict is not None and strict.value is not None else None,
        comparable=not scorer or any(scorer.startswith(name) for name in PAPER),
    )


def published_standings(rows: Sequence[Published] = PUBLISHED) -> list[Standing]:
    """The published models' lines; figures over both rows of text-and-picture replies stand under `mm_out`."""
    cells: dict[str, dict[str, Cell]] = {}
    for row in rows:
        if row.metric in ("", "relative_score"):
            made = Cell(value=row.value, unit=row.unit, metric=row.metric or compat_metric(row.task), origin=row.origin)
            cells.setdefault(row.model, {})[row.task] = made
    return [Standing(model=model, published=True, cells=found) for model, found in cells.items()]


def trained(
    recipe: str, mixture: Mapping[str, Any], sequences: int | None, scores: Iterable[Score], origin: str
) -> Trained:
    """A recipe's point, out of what its shards say they are made of.

    Args:
        recipe: its name.
        mixture: the recipe's table as the shards' manifest has it.
        sequences: in its shards.
        scores: rows of its `scores/<recipe>`.
        origin: the artifact they come from.
    """
    found = [each for each in scores if _of(each, recipe) and each.metric == UNJUDGED and each.value is not None]
    return Trained(
        recipe=recipe,
        subset=float(mixture.get("subset", 1.0)),
        left_out=tuple(mixture.get("without", ())),
        sequences=sequences,
        average=_cell(found[0], None, origin) if found else None,
    )


def leaderboard(ours: Sequence[Standing], points: Sequence[Trained], tasks: Sequence[str]) -> Leaderboard:
    """The board over the rows that a build evaluates, and the average.

    Args:
        ours: lines of this build's models.
        points: its recipes.
        tasks: the rows it evaluates.
    """
    columns = (AVERAGE, *tasks)
    if any(task.startswith("mm_out/") for task in tasks):
        columns = (*columns, "mm_out")
    others = [
        Standing(
            model=line.model, published=True, cells={task: line.cells[task] for task in columns if task in line.cells}
        )
        for line in published_standings()
    ]
    return Leaderboard(
        tasks=columns, standings=(*ours, *(line for line in others if line.cells)), trained=tuple(points)
    )
