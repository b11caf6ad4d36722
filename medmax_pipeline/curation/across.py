"""The two decisions that look across all sources, run over published samples: a part a source, counts, planted copies.

What equals what is `duplicates.py` and `leakage.py`; inputs and parameters are `steps.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from medmax_pipeline.curation import duplicates, leakage
from medmax_pipeline.curation.columns import IMAGES, SAMPLES, read_rows, unlocked
from medmax_pipeline.files import Json, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Outcome, Run


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


def make_duplicates(ctx: Run, sources: Sequence[str], mode: str) -> Outcome:
    """Find and publish the duplicates of each source."""
    folders = unlocked(sources, ctx.inputs) if mode != "off" else {}
    found = duplicates.find_duplicates(folders)
    crossing = sum(row["kept_source"] != source for source, rows in found.items() for row in rows)
    return Outcome(
        counts=_counts(folders, found),
        parts=_publish(ctx, sources, duplicates.DUPLICATE_SCHEMA, found),
        summary={"mode": mode, "across_sources": crossing, "not_looked_at": _left_out(sources, folders)},
    )


def make_leakage(ctx: Run, sources: Sequence[str], mode: str) -> Outcome:
    """Find and publish the leaks of each source, and look for planted copies."""
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
