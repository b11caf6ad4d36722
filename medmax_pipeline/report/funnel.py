"""The funnel on the page: one table over all sources, then each source with what was left out, to look at.

Lines and examples come from the published `funnel`; what may be shown was decided there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmax_pipeline.curation.funnel import PICTURES, LeftOut, read_left_out
from medmax_pipeline.report.figures import Figures, SourceFigures, Station
from medmax_pipeline.report.markup import UNKNOWN, Markup, joined, note, section, table, tag
from medmax_pipeline.steps import Artifact


@dataclass(frozen=True, slots=True)
class Shown:
    """An example with its small copy as a data URI, empty where there is none."""

    example: LeftOut
    picture: str


def left_out(funnel: Artifact) -> list[Shown]:
    """The examples that a funnel published."""
    return [Shown(one, _uri(funnel.folder, one.picture)) for one in read_left_out(funnel.folder)]


def _uri(folder: Path, name: str) -> str:
    if not name:
        return ""
    return "data:image/jpeg;base64," + base64.b64encode((folder / PICTURES / name).read_bytes()).decode()


def funnel_section(figures: Figures, shown: Sequence[Shown]) -> Markup:
    """All sources at a glance, each source's stations, and those of pictures and recipes."""
    by_source: dict[str, list[Shown]] = {}
    for one in shown:
        by_source.setdefault(one.example.source, []).append(one)
    blocks = [_source(source, by_source.get(source.source, [])) for source in figures.sources]
    others = [figures.images, *(recipe.shards for recipe in figures.recipes)]
    blocks += [tag("div", tag("h3", each.key), _station(each), class_="block") for each in others]
    return section(
        "Funnel",
        note("In = out + each reason; nothing is lost unnamed. What was left out can be looked at below each source."),
        _overview(figures.sources),
        tag("div", *blocks, class_="blocks"),
    )


def _overview(sources: Sequence[SourceFigures]) -> Markup:
    headers = ("source", "rows in", "left out", "samples", "evaluation", "left out by curation", "training samples")
    rows = [_at_a_glance(source) for source in sources]
    return table(headers, rows, numbers=range(1, len(headers)))


def _at_a_glance(source: SourceFigures) -> tuple[object, ...]:
    samples, curated = source.stations[0], source.stations[1] if len(source.stations) > 1 else None
    if samples.status == "locked":
        return (source.source, tag("span", "locked", class_="locked"), *[UNKNOWN] * 5)
    kept = 0 if curated is None else curated.kept
    going = source.train - kept if curated is not None else 0
    return (
        source.source,
        f"{samples.taken:,}",
        f"{samples.taken - samples.kept:,}",
        f"{samples.kept:,}",
        f"{source.evaluation:,}",
        f"{going:,}",
        f"{kept:,}",
    )


def _source(source: SourceFigures, shown: Sequence[Shown]) -> Markup:
    licences = "; ".join(source.licences) or "no rows"
    words = f"{licences}{' · credentialed' if source.credentialed else ''}"
    split = f"{source.train:,} train, {source.evaluation:,} evaluation"
    return tag(
        "div",
        tag("h3", source.source),
        tag("div", words, class_="small muted"),
        *(joined([tag("h4", each.key), _station(each)]) for each in source.stations),
        tag("div", split, class_="small muted"),
        _examples(shown),
        class_="block",
    )


def _station(each: Station) -> Markup:
    if each.status == "locked":
        return tag("p", tag("span", "locked", class_="locked"), f" {each.reason}")
    lines = [("in", each.taken, "in")]
    lines += [(reason, count, "dropped") for reason, count in each.dropped.items()]
    lines += [(f"{reason} (quarantine)", count, "dropped") for reason, count in each.quarantined.items()]
    lines.append(("out", each.kept, "out"))
    rows = []
    for name, count, style in lines:
        share = 100 * count / each.taken if each.taken else 0.0
        bar = tag("div", class_=f"bar {style}", style=f"width:{share:.1f}%")
        rows.append((name, f"{'-' if style == 'dropped' else ''}{count:,}", bar))
    return table(("", "units", ""), rows, numbers=(1,))


def _examples(shown: Sequence[Shown]) -> Markup:
    """Examples by reason, folded away; nothing where none may be shown."""
    by_reason: Mapping[str, list[Shown]] = {one.example.reason: [] for one in shown}
    for one in shown:
        by_reason[one.example.reason].append(one)
    return joined(
        tag("details", tag("summary", f"{reason}: examples"), *(_example(one) for one in examples))
        for reason, examples in by_reason.items()
    )


def _example(one: Shown) -> Markup:
    name = "picture of a sample that was left out"
    picture = tag("img", src=one.picture, alt=name) if one.picture else ""
    words = [tag("div", one.example.text)] if one.example.text else []
    told = " — ".join(part for part in (one.example.unit, one.example.detail) if part)
    return tag("div", picture, *words, tag("div", told, class_="small muted"), class_="left-out")
