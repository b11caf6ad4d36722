"""HTML out of values, escaped by construction: text becomes markup nowhere but in `tag`.

What the page says is `page.py`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """HTML that is safe to place in a page as it is: made by this module alone."""

    __slots__ = ()


UNKNOWN = "—"
"""What the page shows for a figure or picture that is not known."""
VOID = frozenset({"img", "br", "meta", "line", "rect", "circle", "polyline"})
"""Elements without content."""


def escaped(value: object) -> Markup:
    """A value as text; markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def joined(parts: Iterable[object]) -> Markup:
    """Values one after another."""
    return Markup("".join(escaped(part) for part in parts))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element. `class_` is `class`, `_` in other names is `-`; attributes that are None are left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>" if name in ("img", "br", "meta") else f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{joined(content)}</{name}>")


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> Markup:
    """A table that scrolls on narrow screens.

    Args:
        headers: one a column.
        rows: as many cells each.
        numbers: columns that are aligned as numbers.
    """

    def cells(name: str, values: Sequence[object]) -> Markup:
        return joined(
            tag(name, value, class_="number" if place in numbers else None) for place, value in enumerate(values)
        )

    body = joined(tag("tr", cells("td", row)) for row in rows)
    head = tag("thead", tag("tr", cells("th", headers)))
    return tag("div", tag("table", head, tag("tbody", body)), class_="scroll")


def section(title: str, *content: object) -> Markup:
    """A titled part of the page."""
    return tag("section", tag("h2", title), *content)


def note(*content: object) -> Markup:
    """A muted paragraph that says how to read what follows."""
    return tag("p", *content, class_="note")
