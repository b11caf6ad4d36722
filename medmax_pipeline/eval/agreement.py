"""How far two judges agree: some items of a published evaluation are judged again by another endpoint of the build.

The measure is kappa, agreement beyond what the two judges' own habits would give by chance: Cohen's (Educ. Psychol.
Meas. 20 (1960) 37) where verdicts are right or wrong, with quadratic weights (Fleiss and Cohen, same journal 33 (1973)
613) where they are scores; both are one formula. Items that show the same picture are resampled together, as in
`statistics.py`. An item that a judge gives no verdict on is counted for that judge and enters no kappa. The published
evaluation stays as it is.

I items, C clusters (pictures), R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.config import Build
from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.eval import LEVEL, RESAMPLES
from medmax_pipeline.eval.judge import Judge, open_judge
from medmax_pipeline.eval.records import GENERATED, ITEMS, SCORERS, ItemRecord, read_records
from medmax_pipeline.eval.scorers import Scorers, named
from medmax_pipeline.eval.statistics import Estimate
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import Json, digest_of, read_json
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.replies_cache import REPLIES
from medmax_pipeline.records import Sample
from medmax_pipeline.steps import Artifact

CHUNK: Final = 250
"""Resamples held at once; bounds memory at C x 250 counts."""
NOT_ASKED: Final = Lock("Only the judges are compared.", "Nothing to do.")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One figure of a task as two judges give it."""

    metric: str
    first: str
    """Model of the judge whose verdicts are published."""
    second: str
    items: int
    """Asked of both."""
    both: int
    """With a verdict of either."""
    unread_first: int
    """Items without a verdict of that judge."""
    unread_second: int
    equal: float | None
    """Share of the items with both verdicts on which they are the same; None where there are no such items."""
    kappa: float | None
    """1: always agreed; 0: as by chance; None: both judges always say the same one thing, or there is no such item."""
    low: float | None
    """Ends of the 95 % interval over pictures."""
    high: float | None
    clusters: int
    correlation: float | None
    """Pearson's; None where a judge never varies."""
    mean_first: float | None
    mean_second: float | None


@dataclass(frozen=True)
class Compared:
    """What two judges said of the same evaluation."""

    artifact: str
    agreements: tuple[Agreement, ...]
    first: Mapping[str, Json]
    """Identity of the first judge."""
    second: Mapping[str, Json]
    spent: Mapping[str, Json]
    """What asking the second judge took."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


def kappa(first: Sequence[float], second: Sequence[float], clusters: Sequence[str], seed: int) -> Estimate | None:
    """Agreement beyond chance of two judges, with its interval over clusters.

    Args:
        first: verdicts of one judge, one an item.
        second: of the other, in the same order.
        clusters: what items share when they are not independent.
        seed: of the resamples.

    Returns:
        1 - D / E with D the mean squared difference, E its mean over all pairs of items; None where E is 0. Of
        verdicts 0 and 1 this is Cohen's kappa.
    """
    if not first:
        return None
    column = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    moments = np.zeros((6, len(column)))
    places = [column[cluster] for cluster in clusters]
    for row, values in enumerate(_moments(np.asarray(first, float), np.asarray(second, float))):
        np.add.at(moments[row], places, values)
    value = float(_kappas(moments.sum(axis=1, keepdims=True))[0])
    if np.isnan(value):
        return None
    if len(column) < 2:
        return Estimate(value, None, None, len(column))
    drawn = _resampled(moments, seed)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if drawn.size else (None, None)
    return Estimate(value, None if low is None else float(low), None if high is None else float(high), len(column))


def _moments(x: Floats, y: Floats) -> tuple[Floats, ...]:
    return np.ones_like(x), x, y, x * x, y * y, x * y


def _kappas(moments_6R: Floats) -> Floats:
    """(R,) kappa of each column of summed moments; NaN where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        _, x, y, xx, yy, xy = moments_6R / moments_6R[0]
        chance = xx + yy - 2 * x * y
        return np.where(chance > 1e-12, 1 - (xx + yy - 2 * xy) / chance, np.nan)


def _resampled(moments_6C: Floats, seed: int) -> Floats:
    """Kappas of resampled clusters, those that are defined."""
    rng = np.random.default_rng(seed)
    count = moments_6C.shape[1]
    draws = []
    for start in range(0, RESAMPLES, CHUNK):
        weights_RC = rng.multinomial(count, np.full(count, 1 / count), size=min(CHUNK, RESAMPLES - start))
        draws.append(_kappas(moments_6C @ weights_RC.T.astype(np.float64)))
    drawn = np.concatenate(draws)
    return drawn[~np.isnan(drawn)]


def compare(
    ledger: Ledger, build: Build, key: str, judge_name: str, count: int | None, log: Callable[[str], None]
) -> Compared:
    """Judge items of a published evaluation again.

    Args:
        ledger: the build's store.
        build: says what endpoints there are.
        key: of the evaluation, `eval/<model>/<task>`.
        judge_name: of the endpoint, as the build names it.
        count: items to judge at most, drawn by the evaluation's seed; None: all.
        log: gets the estimated cost before the first request.

    Raises:
        ConfigError: there is no such evaluation, judged figure or endpoint, or it is the same judge.
        StoreError: the evaluation is not published, is locked, was not judged, or its samples are gone.
        EndpointError: the second judge is out of order.
    """
    artifact = _evaluation(ledger, key)
    this = task(str(artifact.manifest.params["task"])).in_style(artifact.manifest.params["prompt_style"])  # type: ignore[arg-type]  # written by eval_step
    first = _first_judge(artifact, this)
    judge = _second_judge(build, judge_name, ledger.store / REPLIES, log)
    if judge.identity == first["identity"]:
        raise ConfigError(f"{judge_name} is the very judge of {key}; name another endpoint of the build with --judge.")
    if judge.identity["prompts"] != first["identity"]["prompts"]:
        raise StoreError(f"{key}: was judged with other prompts than today's. Evaluate it again first.")
    published = {record.item_id: record for record in read_records(artifact.folder / ITEMS)}
    said = {record.item_id: record for record in read_records(artifact.folder / GENERATED)}
    seed = int(str(artifact.manifest.params["seed"]))
    chosen = sorted(said, key=lambda item: digest_of([seed, item]))[:count]
    samples = _samples(ledger, artifact, set(chosen))
    scorers = Scorers(judge, NOT_ASKED, _nowhere, _nowhere)
    assert this.score is not None
    again = this.score(scorers, this, [samples[item] for item in chosen], [said[item] for item in chosen])
    found = tuple(
        _agreement(metric.name, str(first["name"]), judge.name, [published[item] for item in chosen], again, seed)
        for metric in this.metrics
        if metric.by == "judge" and not metric.per_item
    )
    return Compared(key, found, first["identity"], judge.identity, judge.chat.summary())


def _agreement(
    metric: str, first: str, second: str, published: Sequence[ItemRecord], again: Sequence[ItemRecord], seed: int
) -> Agreement:
    one = [record.metrics.get(named(metric, first)) for record in published]
    two = [record.metrics.get(metric) for record in again]
    pairs = [
        (a, b, record.cluster)
        for a, b, record in zip(one, two, published, strict=True)
        if a is not None and b is not None
    ]
    x, y = [a for a, _, _ in pairs], [b for _, b, _ in pairs]
    found = kappa(x, y, [cluster for _, _, cluster in pairs], seed)
    varied = len(set(x)) > 1 and len(set(y)) > 1
    return Agreement(
        metric=metric,
        first=first,
        second=second,
        items=len(one),
        both=len(pairs),
        unread_first=one.count(None),
        unread_second=two.count(None),
        equal=sum(a == b for a, b, _ in pairs) / len(pairs) if pairs else None,
        kappa=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        clusters=len({cluster for _, _, cluster in pairs}),
        correlation=float(np.corrcoef(x, y)[0, 1]) if varied else None,
        mean_first=sum(x) / len(x) if x else None,
        mean_second=sum(y) / len(y) if y else None,
    )


def _evaluation(ledger: Ledger, key: str) -> Artifact:
    artifact = ledger.need(key)
    if "task" not in artifact.manifest.params or not key.startswith("eval/"):
        raise ConfigError(f"{key}: is no evaluation; expected eval/<model>/<task>.")
    if artifact.manifest.lock is not None:
        raise StoreError(f"{key}: is locked: {artifact.manifest.lock.reason} {artifact.manifest.lock.cure}")
    return artifact


def _first_judge(artifact: Artifact, this: Task) -> dict[str, Any]:
    """Name and identity of the judge whose verdicts are published."""
    if this.score is None or not any(metric.by == "judge" for metric in this.metrics):
        raise ConfigError(f"{artifact.manifest.key}: no figure of this task is a judge's.")
    path = artifact.folder / SCORERS
    told: dict[str, Any] = (read_json(path) if path.is_file() else {}).get("judge", {})
    if not told.get("identity"):
        why = (told.get("lock") or ["the build named no judge."])[0]
        raise StoreError(f"{artifact.manifest.key}: was not judged: {why} There is nothing to agree with.")
    return told


def _second_judge(build: Build, name: str, cache: Path, log: Callable[[str], None]) -> Judge:
    if name not in build.endpoints:
        known = ", ".join(sorted(build.endpoints)) or "none"
        raise ConfigError(f"--judge {name}: no endpoint of this build; it has {known}. Add [endpoints.{name}].")
    judge = open_judge(build.endpoints[name], cache, log)
    if isinstance(judge, Lock):
        raise ConfigError(f"--judge {name}: {judge.reason} {judge.cure}")
    return judge


def _samples(ledger: Ledger, artifact: Artifact, wanted: set[str]) -> dict[str, Sample]:
    """The samples that the evaluation asked, in the version that it read."""
    key = f"{artifact.manifest.params['source']}/samples"
    entry = next(entry for entry in artifact.manifest.inputs if entry.key == key)
    path = ledger.folder(key, entry.fingerprint) / "samples.parquet"
    if not path.is_file():
        raise StoreError(f"{path}: is gone; {artifact.manifest.key} was made of it. Build both again.")
    return {sample.sample_id: sample for sample in read_samples(path) if sample.sample_id in wanted}


def _nowhere(name: str) -> NoReturn:
    raise AssertionError(f"a judge looks at no picture, asked for {name}")


def to_text(compared: Compared) -> list[str]:
    """What was compared, for people."""
    lines = [compared.artifact]
    for found in compared.agreements:
        lines.append(f"  {found.metric}: {found.first} and {found.second}, {found.items} items")
        if found.equal is None:
            lines.append("    no item has a verdict of either")
        else:
            value = "not defined, neither ever varies" if found.kappa is None else f"{found.kappa:.3f}"
            ends = "" if found.low is None or found.high is None else f" ({found.low:.3f} to {found.high:.3f})"
            lines += [
                f"    kappa {value}{ends} over {found.clusters} pictures, the same verdict on {found.equal:.1%}",
                f"    means {found.mean_first:.3f} and {found.mean_second:.3f} of the {found.both} that both judged",
            ]
        lines.append(
            f"    no verdict of {found.first} on {found.unread_first}, of {found.second} on {found.unread_second}"
        )
    return [*lines, "  asked: " + ", ".join(f"{name} {value}" for name, value in compared.spent.items())]
