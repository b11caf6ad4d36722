"""The page's leaderboard: models side by side, scaling curve, ablations. Its figures are `eval/leaderboard.py`."""

from __future__ import annotations

from collections.abc import Sequence

from medmax_pipeline.eval.leaderboard import Cell, Leaderboard, Standing, Trained
from medmax_pipeline.report.charts import scatter
from medmax_pipeline.report.markup import UNKNOWN, Markup, joined, note, section, table, tag


def board_section(board: Leaderboard, sample: bool) -> Markup:
    """Ours and published models over the rows of the suite.

    Args:
        board: the lines.
        sample: whether ours answered items of the embedded corpus, which are nobody's benchmark.
    """
    apart = note(
        tag("strong", "Not to be compared: "),
        "this build's items are the embedded corpus's, the published figures are over the published sets.",
    )
    told = note(
        "By the reference implementation's rules; in brackets the 95 % interval over pictures, below it what stricter "
        "rules give. Hover over a figure for its metric, scorer and origin. An asterisk marks another judge or "
        "similarity model than the paper's: such a figure is no rival of the published ones in its column."
    )
    rows = [(_name(line), *(_cell(line.cells.get(task)) for task in board.tasks)) for line in board.standings]
    origins = sorted({cell.origin for line in board.standings for cell in line.cells.values() if line.published})
    sources = tag(
        "details", tag("summary", "Where published figures are from"), tag("ul", *(tag("li", o) for o in origins))
    )
    numbers = tuple(range(1, len(board.tasks) + 1))
    lines = tag("div", table(("model", *board.tasks), rows, numbers=numbers), class_="wide")
    return section("Leaderboard", *([apart] if sample else []), told, lines, sources)


def _name(line: Standing) -> Markup:
    return joined(
        [tag("strong", line.model), tag("div", "published" if line.published else "this build", class_="small muted")]
    )


def _cell(cell: Cell | None) -> Markup:
    if cell is None:
        return tag("span", UNKNOWN)
    digits = 1 if cell.unit == "percent" else 2
    parts = [tag("div", f"{cell.value:.{digits}f}{'' if cell.comparable else '*'}")]
    if cell.low is not None and cell.high is not None:
        parts.append(tag("div", f"[{cell.low:.{digits}f}, {cell.high:.{digits}f}]", class_="small muted"))
    if cell.strict is not None:
        parts.append(tag("div", f"strict {cell.strict:.{digits}f}", class_="small muted"))
    items = "" if cell.n is None else f", {cell.n} items"
    return tag("div", *parts, title=f"{cell.metric}, {cell.unit}{items}; {cell.origin}")


def trained_section(points: Sequence[Trained]) -> Markup:
    """How the average moves with the share and the kinds of the data."""
    rows: list[tuple[object, ...]] = [
        (
            point.recipe,
            f"{100 * point.subset:.0f} %",
            ", ".join(point.left_out) or "nothing",
            UNKNOWN if point.sequences is None else f"{point.sequences:,}",
            _cell(point.average),
        )
        for point in points
    ]
    headers = (
        "recipe",
        "share of the mixture",
        "kinds left out",
        "sequences",
        "average of the tasks without a judge, %",
    )
    drawn = [
        (float(point.sequences), point.average.value, point.average.low, point.average.high, point.recipe)
        for point in points
        if point.sequences and point.average is not None and not point.left_out
    ]
    return section(
        "Data: how much, and of which kind",
        note(
            *("The curve needs recipes of several shares (", tag("code", "scaling_25")),
            " and others), the table those without some kinds.",
        ),
        scatter(drawn, "sequences") if len(drawn) > 1 else Markup(""),
        table(headers, rows, numbers=(3, 4)),
    )
