"""The part of the page that is about scores: cards, the table with intervals and gains, and what is locked and why."""

from __future__ import annotations

from collections.abc import Iterable

from medmax_pipeline.eval.scores import Score
from medmax_pipeline.report.charts import interval
from medmax_pipeline.report.figures import Figures, RecipeFigures
from medmax_pipeline.report.markup import UNKNOWN, Markup, joined, note, section, table, tag

HEADERS = (
    "task",
    "model",
    "metric",
    "",
    "value",
    "95 % interval",
    "gain over base",
    "scored",
    "pictures",
    "always one answer",
    "judge unreadable",
    "leaked",
    "without leaked",
)
NUMBERS = (4, 5, 6, 7, 8, 9, 10, 11, 12)


# -- header -------------------------------------------------------------------------------------------------------


def header(figures: Figures, title: str) -> Markup:
    """The title, what kind of build this is, and the figure that each task is known by."""
    told = []
    if figures.sample:
        told.append(
            tag(
                "p",
                tag("strong", "sample"),
                " — the embedded corpus and tiny models: real code, real pictures out of packages, partly drawn data. "
                "No figure here says anything about the published models.",
                class_="banner",
            )
        )
    if figures.credentialed:
        told.append(
            note(
                "Credentialed rows are behind this build. Their pictures and texts are not shown on this page; models "
                "that were tuned on them answered the items below."
            )
        )
    cards = [_card(score) for recipe in figures.recipes for score in recipe.scores if _leads(score, recipe)]
    return tag("header", tag("h1", title), *told, tag("div", *cards, class_="cards"))


def _leads(score: Score, recipe: RecipeFigures) -> bool:
    return score.headline and score.model == recipe.recipe


def _card(score: Score) -> Markup:
    gain = UNKNOWN if score.gain is None else f"{_signed(score.gain, score.share)} over base"
    return tag(
        "div",
        tag("div", f"{score.model} · {score.task}", class_="small"),
        tag("div", _value(score.value, score.share), class_="big"),
        tag("div", score.metric, class_="small"),
        tag("div", _range(score.low, score.high, score.share), class_="small muted"),
        tag("div", gain, class_="small"),
        class_="card",
    )


# -- scores -------------------------------------------------------------------------------------------------------


def scores_section(recipe: RecipeFigures) -> Markup:
    """All scores of one recipe and, beside them, of the base."""
    known = [score for score in recipe.scores if score.status != "locked"]
    rows = [_score_row(score) for score in known if not score.part]
    parts = [_score_row(score) for score in known if score.part]
    return section(
        f"Scores of {recipe.recipe}",
        note(
            "Intervals resample pictures, not items, since items of one picture are no independent trials. Gains are "
            "paired over the items that both models were scored on. Unscored items are in no mean. Leaked items are "
            "those that curation found in training data; a dash says that nobody looked."
        ),
        tag("div", table(HEADERS, rows, numbers=NUMBERS), class_="wide"),
        _by_part(parts),
        tag("details", tag("summary", "What each metric means"), tag("dl", *_meanings(recipe.scores))),
    )


def _score_row(score: Score) -> tuple[object, ...]:
    marks = [(score.majority, "always the most frequent answer"), (score.chance, "chance")]
    drawn: object = ""
    if score.value is not None and score.share:
        known = [(value, title) for value, title in marks if value is not None]
        drawn = interval(score.value, score.low, score.high, known)
    gain: object = UNKNOWN
    if score.gain is not None:
        gain = joined([_signed(score.gain, score.share), " ", _range(score.gain_low, score.gain_high, score.share)])
    value: object = _value(score.value, score.share)
    if score.status == "unscored":
        value = tag("span", "unscored", title=score.reason)
    task = score.task if not score.part else f"{score.task} {score.part}"
    return (
        f"{task} ({score.tasks})" if score.tasks else task,
        score.model,
        tag("strong", score.metric) if score.headline else score.metric,
        drawn,
        value,
        _range(score.low, score.high, score.share),
        gain,
        f"{score.n_scored}/{score.n}",
        score.clusters,
        _value(score.majority, score.share),
        score.unreadable or "",
        UNKNOWN if score.leaked is None else score.leaked,
        _clean(score),
    )


def _clean(score: Score) -> object:
    """The value over items that curation did not find in training data."""
    if not score.leaked:
        return ""
    return joined([_value(score.clean, score.share), " ", _range(score.clean_low, score.clean_high, score.share)])


def _by_part(rows: list[tuple[object, ...]]) -> Markup:
    if not rows:
        return Markup("")
    return tag("details", tag("summary", "By question type and group"), table(HEADERS, rows, numbers=NUMBERS))


def _meanings(scores: Iterable[Score]) -> list[Markup]:
    told = {score.metric: (score.scorer, score.meaning) for score in scores}
    return [
        part
        for name, (scorer, meaning) in told.items()
        for part in (tag("dt", f"{name} — {scorer}"), tag("dd", meaning))
    ]


def _value(value: float | None, share: bool) -> str:
    if value is None:
        return UNKNOWN
    return f"{100 * value:.1f} %" if share else f"{value:.3f}"


def _signed(value: float, share: bool) -> str:
    return f"{100 * value:+.1f}" if share else f"{value:+.3f}"


def _range(low: float | None, high: float | None, share: bool) -> str:
    if low is None or high is None:
        return UNKNOWN
    scale, digits = (100, 1) if share else (1, 3)
    return f"[{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


# -- locked, lineage ----------------------------------------------------------------------------------------------


def locked_section(figures: Figures) -> Markup:
    """Every locked artifact and metric with its reason and its cure."""
    stations = [each for source in figures.sources for each in source.stations]
    stations += [figures.images]
    for recipe in figures.recipes:
        stations += [recipe.shards, recipe.training]
    rows: list[tuple[object, ...]] = [
        (each.key, each.reason, each.cure) for each in stations if each.status == "locked"
    ]
    metrics: dict[tuple[str, str, str], list[str]] = {}
    for recipe in figures.recipes:
        for score in recipe.scores:
            if score.status == "locked":
                metrics.setdefault((score.metric, score.reason, score.cure), []).append(f"{score.model} {score.task}")
    rows += [
        (joined([tag("strong", name), tag("div", ", ".join(places), class_="small muted")]), reason, cure)
        for (name, reason, cure), places in metrics.items()
    ]
    if not rows:
        return section("Locked", note("Nothing is locked."))
    told = note("What could not be had here, and what would unlock it. Nothing stands in for a locked figure.")
    return section("Locked", told, table(("what", "why", "cure"), rows))
