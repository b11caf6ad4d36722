"""What `medmax results` prints at the end of a build: the headline scores, where things lie, what to try next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medmax_pipeline.eval.publish import read_scores
from medmax_pipeline.eval.scores import Score
from medmax_pipeline.ledger import Ledger


def result_lines(ledger: Ledger, recipes: Sequence[str]) -> Iterator[str]:
    """The summary of a build, a line at a time."""
    yield f"build {ledger.build}"
    for recipe in recipes:
        scores = ledger.current(f"scores/{recipe}")
        if scores is None or scores.locked:
            yield f"  {recipe}: no scores yet"
            continue
        rows = [score for score in read_scores(scores.folder) if score.model == recipe and not score.part]
        for score in rows:
            if score.headline:
                yield f"  {score.model:<8} {score.task:<24} {score.metric:<40} {_figure(score)}"
        yield from _locked(recipe, rows)
    for key in ("report", *(f"checkpoint/{name}" for name in recipes), *(f"scores/{name}" for name in recipes)):
        artifact = ledger.current(key)
        place = "not made yet" if artifact is None else "locked" if artifact.locked else str(artifact.folder)
        yield f"{key}: {place}"
    report = ledger.current("report")
    if report is not None and not report.locked:
        yield f"open {report.folder / 'index.html'} in a browser, or run `make ui`"
    if recipes:
        yield f"then try: medmax lineage checkpoint/{recipes[0]}"


def _locked(recipe: str, rows: Sequence[Score]) -> Iterator[str]:
    """What is locked, told once a reason; the page has every row."""
    found: dict[str, list[str]] = {}
    for score in rows:
        if score.status == "locked":
            found.setdefault(score.reason, []).append(score.task)
    for reason, tasks in found.items():
        yield f"  {recipe:<8} locked in {len(set(tasks))} tasks: {reason}"


def _figure(score: Score) -> str:
    if score.status != "ok" or score.value is None:
        return f"{score.status}: {score.reason}"
    shown = f"{score.value:.3f}"
    if score.low is not None and score.high is not None:
        shown += f" [{score.low:.3f}, {score.high:.3f}]"
    shown += f" on {score.n_scored}/{score.n}"
    if score.gain is not None and score.gain_low is not None and score.gain_high is not None:
        shown += f", over its base {score.gain:+.3f} [{score.gain_low:+.3f}, {score.gain_high:+.3f}]"
    return shown
