"""Small drawings as inline SVG: a score with its interval, a loss curve. Numbers come ready from `figures.py`."""

from __future__ import annotations

from collections.abc import Sequence

from medmax_pipeline.report.markup import Markup, joined, tag

WIDTH, HEIGHT = 640, 220
MARGIN = 36
BAR_WIDTH, BAR_HEIGHT = 180, 16
POINTS = 400
"""Points of a curve at most; longer ones are averaged over runs of steps."""

Curve = Sequence[tuple[int, float]]


def interval(value: float, low: float | None, high: float | None, marks: Sequence[tuple[float, str]] = ()) -> Markup:
    """A value between 0 and 1 as a dot with its whiskers; marks are thin lines with a title."""

    def at(share: float) -> float:
        return round(4 + (BAR_WIDTH - 8) * min(1.0, max(0.0, share)), 1)

    middle = BAR_HEIGHT / 2
    parts = [tag("line", x1=at(0), x2=at(1), y1=middle, y2=middle, class_="axis")]
    for share, title in marks:
        line = tag("line", x1=at(share), x2=at(share), y1=1, y2=BAR_HEIGHT - 1, class_="mark")
        parts.append(tag("g", tag("title", title), line))
    if low is not None and high is not None:
        parts.append(tag("line", x1=at(low), x2=at(high), y1=middle, y2=middle, class_="whisker"))
    parts.append(tag("circle", cx=at(value), cy=middle, r=4, class_="dot"))
    label = f"{value:.3f} between 0 and 1"
    return tag("svg", *parts, viewBox=f"0 0 {BAR_WIDTH} {BAR_HEIGHT}", class_="interval", role="img", aria_label=label)


def thinned(points: Curve) -> list[tuple[int, float]]:
    """At most 400 points: means over equal runs, each at its last step."""
    size = -(-len(points) // POINTS) or 1
    runs = [points[start : start + size] for start in range(0, len(points), size)]
    return [(run[-1][0], sum(value for _, value in run) / len(run)) for run in runs]


def curves(lines: Sequence[tuple[str, str, Curve]]) -> Markup:
    """Curves over steps, with axes from zero.

    Args:
        lines: name, CSS class and points (step, value) of each; empty ones are left out.
    """
    drawn = [(name, style, thinned(points)) for name, style, points in lines if points]
    steps = max((points[-1][0] for _, _, points in drawn), default=1) or 1
    top = max((value for _, _, points in drawn for _, value in points), default=1.0) or 1.0

    def at(step: float, value: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 2 * MARGIN) * step / steps
        return round(x, 1), round(MARGIN / 2 + (HEIGHT - 1.5 * MARGIN) * (1 - value / top), 1)

    parts = []
    for share in (0.0, 0.5, 1.0):
        x, y = at(0, top * share)
        parts.append(tag("line", x1=x, x2=WIDTH - MARGIN, y1=y, y2=y, class_="axis"))
        parts.append(tag("text", f"{top * share:.1f}", x=x - 6, y=y + 4, text_anchor="end"))
    parts.append(tag("text", f"step {steps}", x=WIDTH - MARGIN, y=HEIGHT - 4, text_anchor="end"))
    for place, (name, style, points) in enumerate(drawn):
        path = " ".join(f"{x},{y}" for x, y in (at(step, value) for step, value in points))
        parts.append(tag("polyline", points=path, class_=f"curve {style}"))
        parts.append(tag("text", name, x=MARGIN + 90 * place, y=HEIGHT - 4, class_=style))
    return tag("svg", joined(parts), viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart", role="img", aria_label="loss")


def scatter(points: Sequence[tuple[float, float, float | None, float | None, str]], axis: str) -> Markup:
    """Values with whiskers over a positive quantity, from zero, joined in its order.

    Args:
        points: quantity, value, ends of its interval, name.
        axis: what the quantity is.
    """
    placed = sorted(points)
    right = max((point[0] for point in placed), default=1.0) or 1.0
    top = max((point[3] if point[3] is not None else point[1] for point in placed), default=1.0) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = MARGIN + (WIDTH - 2 * MARGIN) * x / right
        return round(across, 1), round(MARGIN / 2 + (HEIGHT - 1.5 * MARGIN) * (1 - y / top), 1)

    parts = []
    for share in (0.0, 0.5, 1.0):
        left, y = at(0, top * share)
        parts.append(tag("line", x1=left, x2=WIDTH - MARGIN, y1=y, y2=y, class_="axis"))
        parts.append(tag("text", f"{top * share:.1f}", x=left - 6, y=y + 4, text_anchor="end"))
    line = " ".join(f"{x},{y}" for x, y in (at(point[0], point[1]) for point in placed))
    parts.append(tag("polyline", points=line, class_="curve"))
    for quantity, value, low, high, name in placed:
        x, y = at(quantity, value)
        if low is not None and high is not None:
            parts.append(tag("line", x1=x, x2=x, y1=at(quantity, low)[1], y2=at(quantity, high)[1], class_="whisker"))
        parts.append(tag("g", tag("title", f"{name}: {value:.1f}"), tag("circle", cx=x, cy=y, r=4, class_="dot")))
        parts.append(tag("text", name, x=x, y=y - 10, text_anchor="middle"))
    parts.append(tag("text", f"{right:,.0f} {axis}", x=WIDTH - MARGIN, y=HEIGHT - 4, text_anchor="end"))
    return tag("svg", joined(parts), viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart", role="img", aria_label=axis)
