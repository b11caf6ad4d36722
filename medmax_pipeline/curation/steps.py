"""The steps of curation: `duplicates` and `leakage` across all sources, `<source>/curated` for each.

Only the joints with the ledger are here. The two cross-source steps publish one part a source and do not lock when a
source does; `<source>/curated` depends on its own part alone, so that a change of one source
leaves the others as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from medmax_pipeline.config import Curation
from medmax_pipeline.curation import DECISIONS, curated, duplicates, leakage
from medmax_pipeline.curation.columns import IMAGES, SAMPLES, read_rows, unlocked
from medmax_pipeline.files import Json, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Need, Outcome, Run, Step

DUPLICATES_VERSION: Final = "1"
"""Raise it when the same samples would be judged otherwise."""
LEAKAGE_VERSION: Final = "1"
"""Raise it when the same pictures would be judged otherwise."""
CURATED_VERSION: Final = "1"
"""Raise it when the same verdicts would give other samples: order of decisions, instruction forms."""


def _across(
    key: str, sources: Sequence[str], mode: str, version: str, run: Callable[[Run], Outcome], what: str
) -> Step:
    """A step that looks at the samples of all sources; switched off, it needs none and finds nothing."""
    needs = tuple(Need(f"{source}/samples") for source in sources) if mode != "off" else ()
    return Step(
        key=key,
        run=run,
        code_version=version,
        needs=needs,
        params={"mode": mode, "sources": list(sources)},
        locks_on=(),
        group="curation",
        description=what,
    )


def _publish(
    ctx: Run, sources: Sequence[str], schema: pa.Schema, found: Mapping[str, list[dict[str, Any]]]
) -> dict[str, list[str]]:
    """Write one part a source, empty where nothing was found."""
    for source in sources:
        write_table(ctx.out / f"{source}.parquet", pa.Table.from_pylist(found.get(source, []), schema=schema))
    return {source: [f"{source}.parquet"] for source in sources}


def _left_out(sources: Sequence[str], folders: Mapping[str, Path]) -> str:
    """Names of the sources that were not looked at: locked, or the decision is off."""
    return ", ".join(source for source in sources if source not in folders)


def _counts(folders: Mapping[str, Path], found: Mapping[str, list[dict[str, Any]]]) -> Counts:
    """Training samples looked at, and those to be dropped by reason."""
    taken = sum(
        row["split"] == "train" for folder in folders.values() for row in read_rows(folder / SAMPLES, ("split",))
    )
    reasons = Counter(str(row["reason"]) for rows in found.values() for row in rows)
    return Counts(taken, taken - reasons.total(), dict(sorted(reasons.items())))


def duplicates_step(sources: Sequence[str], mode: str) -> Step:
    """Training samples that say what another one says.

    Args:
        sources: keys of the build's sources; the earlier one keeps its sample.
        mode: `exact` or `off`.
    """

    def run(ctx: Run) -> Outcome:
        folders = unlocked(sources, ctx.inputs) if mode != "off" else {}
        found = duplicates.find_duplicates(folders)
        crossing = sum(row["kept_source"] != source for source, rows in found.items() for row in rows)
        return Outcome(
            counts=_counts(folders, found),
            parts=_publish(ctx, sources, duplicates.DUPLICATE_SCHEMA, found),
            summary={"mode": mode, "across_sources": crossing, "not_looked_at": _left_out(sources, folders)},
        )

    what = "Training samples with the same pictures and text as another one, within and across sources."
    return _across("duplicates", sources, mode, DUPLICATES_VERSION, run, what)


def leakage_step(sources: Sequence[str], mode: str) -> Step:
    """Training samples that show an evaluation picture.

    Args:
        sources: keys of the build's sources.
        mode: `exact` or `off`.
    """

    def run(ctx: Run) -> Outcome:
        folders = unlocked(sources, ctx.inputs) if mode != "off" else {}
        pictures = leakage.collect(folders)
        found = {source: leakage.find_leaks(folder, pictures) for source, folder in folders.items()}
        summary: dict[str, Json] = {
            "mode": mode,
            "evaluation_images": len(pictures),
            "not_looked_at": _left_out(sources, folders),
        }
        chosen = [image for source in folders for image in pictures.of(source)[: leakage.PLANTED_A_SOURCE]]
        with ImageReader(ctx.landing, [folder / IMAGES for folder in folders.values()]) as reader:
            planted = leakage.plant(pictures, chosen, reader.read)
        summary |= {f"planted_{name}": value for name, value in planted._asdict().items()}
        summary["planted_recall"] = planted.recall
        return Outcome(
            counts=_counts(folders, found),
            parts=_publish(ctx, sources, leakage.LEAK_SCHEMA, found),
            summary=summary,
        )

    what = (
        "Training samples whose picture equals an evaluation picture of any source, by bytes or by pixels; planted "
        "copies must be found. Not seen: crops, rescalings, lossy re-compressions."
    )
    return _across("leakage", sources, mode, LEAKAGE_VERSION, run, what)


def curated_step(source: str, curation: Curation) -> Step:
    """The training samples of one source that survive, in their instruction form.

    Args:
        source: the source's key.
        curation: which decisions are taken, and the shares of the forms.
    """
    needs = [Need(f"{source}/samples")]
    if curation.leakage != "off":
        needs.append(Need("leakage", source))
    if curation.duplicates != "off":
        needs.append(Need("duplicates", source))

    def run(ctx: Run) -> Outcome:
        verdicts: dict[str, curated.Verdict] = {}
        for decision in DECISIONS:
            if decision in ctx.inputs:
                found = curated.READERS[decision](ctx.inputs[decision].folder / f"{source}.parquet")
                verdicts = found | verdicts  # the earlier decision's reason stands
        return curated.curate(ctx.inputs[f"{source}/samples"].folder, verdicts, curation, ctx.out)

    return Step(
        key=f"{source}/curated",
        run=run,
        code_version=CURATED_VERSION,
        needs=tuple(needs),
        params={
            "leakage": curation.leakage,
            "duplicates": curation.duplicates,
            "generation_share": curation.generation_share,
            "radiograph_share": curation.radiograph_share,
        },
        group=source,
        description="Training samples that survive, in the form in which they teach, and the funnel of the others.",
    )
