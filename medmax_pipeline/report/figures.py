"""Every figure of the page, out of published artifacts; `report.json` is these records as JSON.

Nothing is computed here that an artifact does not say. Timings are left out: the page must not change
with them.
Pictures are `gallery.py`, how it looks is `page.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.averages import AVERAGE
from medmax_pipeline.eval.leaderboard import Leaderboard, leaderboard, standing, trained
from medmax_pipeline.eval.publish import read_scores
from medmax_pipeline.eval.scores import Score
from medmax_pipeline.eval.steps import BASE
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.lineage import closure
from medmax_pipeline.manifest import Manifest
from medmax_pipeline.steps import Artifact, Run

METRICS = "log/metrics.jsonl"
CORPUS = "sample_corpus"
"""The asset that only a build on the embedded corpus has."""
DIGITS = 12
"""Of a fingerprint or digest on the page; `report.json` has them whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A funnel's step: what came in, what was left out and why, what went on."""

    key: str
    status: str
    taken: int
    dropped: Mapping[str, int]
    quarantined: Mapping[str, int]
    kept: int
    reason: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFigures:
    """One source from its rows to its training samples."""

    source: str
    licences: tuple[str, ...]
    credentialed: bool
    train: int
    evaluation: int
    stations: tuple[Station, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """Loss (nats a token) of one step; None where the step had no such target."""

    step: int
    text: float | None
    image: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFigures:
    """One training run: its packs, its loss, its scores."""

    recipe: str
    shards: Station
    training: Station
    losses: tuple[LossPoint, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """One artifact behind the report."""

    key: str
    fingerprint: str
    digest: str
    status: str
    licences: tuple[str, ...]
    credentialed: bool
    raw_files: int
    """Files outside the store that it refers to, each with its digest in the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything the page says in numbers."""

    sample: bool
    """Whether the embedded corpus and its tiny models are behind it."""
    credentialed: bool
    """Whether credentialed rows are behind it."""
    sources: tuple[SourceFigures, ...]
    images: Station
    recipes: tuple[RecipeFigures, ...]
    board: Leaderboard
    lineage: tuple[Ancestor, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return asdict(self)


def collect(run: Run, recipes: Sequence[str], sources: Sequence[str]) -> Figures:
    """Read the figures of a build out of the report's inputs."""
    inputs = run.inputs
    lineage = _ancestors(run)
    made = [_recipe(inputs, name) for name in recipes]
    return Figures(
        sample=any(each.key == CORPUS for each in lineage),
        credentialed=any(artifact.manifest.credentialed for artifact in inputs.values()),
        sources=tuple(_source(inputs[f"{key}/samples"], inputs.get(f"{key}/curated"), key) for key in sources),
        images=station(inputs["image_codes"].manifest),
        recipes=tuple(made),
        board=_board(inputs, made),
        lineage=lineage,
    )


def station(manifest: Manifest) -> Station:
    """An artifact's counts, or why it has none."""
    return Station(
        key=manifest.key,
        status=manifest.status,
        taken=manifest.counts.taken,
        dropped=dict(sorted(manifest.counts.dropped.items())),
        quarantined=dict(sorted(manifest.counts.quarantined.items())),
        kept=manifest.counts.kept,
        reason=manifest.lock.reason if manifest.lock else "",
        cure=manifest.lock.cure if manifest.lock else "",
    )


def _source(samples: Artifact, curated: Artifact | None, key: str) -> SourceFigures:
    """Figures of one source; one without training rows is not curated."""
    splits: list[str] = []
    if not samples.locked:
        splits = pq.read_table(samples.folder / "samples.parquet", columns=["split"])["split"].to_pylist()
    return SourceFigures(
        source=key,
        licences=samples.manifest.licences,
        credentialed=samples.manifest.credentialed,
        train=splits.count("train"),
        evaluation=splits.count("eval"),
        stations=tuple(station(each.manifest) for each in (samples, curated) if each is not None),
    )


def _recipe(inputs: Mapping[str, Artifact], name: str) -> RecipeFigures:
    checkpoint, scores = inputs[f"checkpoint/{name}"], inputs[f"scores/{name}"]
    return RecipeFigures(
        recipe=name,
        shards=station(inputs[f"shards/{name}"].manifest),
        training=station(checkpoint.manifest),
        losses=() if checkpoint.locked else read_losses(checkpoint.folder / METRICS),
        scores=() if scores.locked else tuple(read_scores(scores.folder)),
    )


def _board(inputs: Mapping[str, Artifact], recipes: Sequence[RecipeFigures]) -> Leaderboard:
    """The base as the first recipe's scores have it, each recipe, and the published models."""
    lines, points = [], []
    for place, recipe in enumerate(recipes):
        manifest = inputs[f"scores/{recipe.recipe}"].manifest
        origin = f"{manifest.key} {manifest.fingerprint[:DIGITS]}"
        models = [recipe.recipe, *([BASE] if place == 0 and any(s.model == BASE for s in recipe.scores) else [])]
        lines += [standing(model, recipe.scores, origin) for model in models]
        shards = inputs[f"shards/{recipe.recipe}"].manifest
        mixture = shards.params.get("mixture")
        sequences = None if shards.locked else shards.counts.kept
        points.append(
            trained(recipe.recipe, mixture if isinstance(mixture, dict) else {}, sequences, recipe.scores, origin)
        )
    tasks = dict.fromkeys(s.task for recipe in recipes for s in recipe.scores if s.task != AVERAGE)
    return leaderboard(lines, points, tuple(tasks))


def read_losses(path: Path) -> tuple[LossPoint, ...]:
    """A run's loss by step.

    Raises:
        StoreError: the file is missing or a line is not what training writes.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return tuple(
            LossPoint(step=int(line["step"]), text=line["text_loss"], image=line["image_loss"]) for line in lines
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: no loss by step can be read ({error!r}). Train again.") from error


def _ancestors(run: Run) -> tuple[Ancestor, ...]:
    """All artifacts behind the report's inputs, by key; read only, so any build's name will do for the ledger."""
    ledger = Ledger(run.store, "report", run.landing)
    found: dict[tuple[str, str], Manifest] = {}
    for artifact in run.inputs.values():
        if (artifact.manifest.key, artifact.manifest.fingerprint) not in found:
            found |= closure(ledger, artifact).nodes
    return tuple(
        Ancestor(
            key=manifest.key,
            fingerprint=manifest.fingerprint,
            digest=manifest.digest,
            status=manifest.status,
            licences=manifest.licences,
            credentialed=manifest.credentialed,
            raw_files=_raw_files(manifest),
        )
        for _, manifest in sorted(found.items())
    )


def _raw_files(manifest: Manifest) -> int:
    """How many files of the landing an artifact refers to; one entry may stand for many."""
    counted = manifest.summary.get("files")
    return counted if manifest.external and isinstance(counted, int) else len(manifest.external)
