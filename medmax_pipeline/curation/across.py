"""The two decisions that look across all sources, run over published samples: a part a source, counts, planted copies.

What equals what is `duplicates.py` and `leakage.py`; inputs and parameters are `steps.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from medmax_pipeline.config import Nearness
from medmax_pipeline.curation import duplicates, leakage
from medmax_pipeline.curation.clusters import CLUSTER_SCHEMA, CLUSTERS, find_clusters
from medmax_pipeline.curation.columns import SAMPLES, read_rows, unlocked
from medmax_pipeline.curation.evaluated import (
    EVALUATED,
    EVALUATED_SCHEMA,
    TABLE,
    TABLE_SCHEMA,
    Hit,
    Hits,
    find_evaluated,
)
from medmax_pipeline.curation.planted import PLANTED_A_SOURCE
from medmax_pipeline.curation.searching import PAIR_SCHEMA, PLANTED_SCHEMA, Search
from medmax_pipeline.files import Json, write_table
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


def make_duplicates(ctx: Run, sources: Sequence[str], mode: str, limits: Nearness) -> Outcome:
    """Find and publish the duplicates of each source, and where pictures are looked at, their clusters."""
    folders = unlocked(sources, ctx.inputs) if mode != "off" else {}
    summary: dict[str, Json] = {"mode": mode, "not_looked_at": _left_out(sources, folders)}
    kept = None
    if mode == "near":
        clusters = find_clusters(ctx, folders, limits)
        write_table(ctx.out / CLUSTERS, pa.Table.from_pylist(clusters.rows, schema=CLUSTER_SCHEMA))
        kept = clusters.kept
        summary |= {
            "clusters": sum(bool(row["kept"]) for row in clusters.rows),
            "pictures_near": sum(row["how"] == "near" for row in clusters.rows),
            "pictures_same_pixels": sum(row["how"] == "same pixels" for row in clusters.rows),
            "pairs_looked_at": clusters.looked_at,
        }
    found = duplicates.find_duplicates(folders, kept)
    crossing = sum(row["kept_source"] != source for source, rows in found.items() for row in rows)
    return Outcome(
        counts=_counts(folders, found),
        parts=_publish(ctx, sources, duplicates.DUPLICATE_SCHEMA, found),
        summary=summary | {"across_sources": crossing},
    )


def make_leakage(ctx: Run, sources: Sequence[str], mode: str, limits: Nearness) -> Outcome:
    """Find and publish the leaks of each source and the evaluation items they touch, and prove the search."""
    folders = unlocked(sources, ctx.inputs) if mode != "off" else {}
    pictures = leakage.collect(folders)
    summary: dict[str, Json] = {
        "mode": mode,
        "evaluation_images": len(pictures),
        "not_looked_at": _left_out(sources, folders),
    }
    if mode == "near" and len(pictures):
        found, hits = _search(ctx, folders, pictures, limits, summary)
    else:
        found = {source: leakage.find_leaks(folder, pictures) for source, folder in folders.items()}
        hits = _hits(folders, found, pictures)
    touched = find_evaluated(folders, hits)
    write_table(ctx.out / EVALUATED, pa.Table.from_pylist(touched.items, schema=EVALUATED_SCHEMA))
    write_table(ctx.out / TABLE, pa.Table.from_pylist(touched.table, schema=TABLE_SCHEMA))
    summary["evaluation_items_hit"] = len(touched.items)
    summary["leaks"] = [dict(row) for row in touched.table]
    parts = _publish(ctx, sources, leakage.LEAK_SCHEMA, found)
    return Outcome(counts=_counts(folders, found), parts=parts | {"evaluated": [EVALUATED]}, summary=summary)


def _hits(
    folders: Mapping[str, Path], found: Mapping[str, list[dict[str, Any]]], pictures: leakage.EvaluationPictures
) -> Hits:
    hits = Hits()
    hits.add(found, pictures.pixels())
    for folder in folders.values():
        hits.read_texts(folder)
    return hits


def _search(
    ctx: Run,
    folders: Mapping[str, Path],
    pictures: leakage.EvaluationPictures,
    limits: Nearness,
    summary: dict[str, Json],
) -> tuple[dict[str, list[dict[str, Any]]], Hits]:
    """Look for changed copies too, and for planted ones."""
    search = Search(ctx, folders, limits)
    try:
        pairs = search.pairs()
        copies = [row for row in pairs if row["verdict"] == "copy"]
        for row in copies:
            pictures.add_near(row["train_image"], row["eval_image"], row["detail"], row["change"])
        found = {source: leakage.find_leaks(folder, pictures) for source, folder in folders.items()}
        hits = Hits()
        hits.add(found, pictures.pixels())
        leaking = {row["image_id"]: source for source, rows in found.items() for row in rows}
        for row in copies:  # one training picture may show several evaluation pictures
            if row["train_image"] in leaking:
                source = leaking[row["train_image"]]
                hits.add_near(
                    row["eval_image"],
                    Hit(leakage.LEAK_NEAR, source, row["train_image"], row["detail"], row["change"]),
                )
        for folder in folders.values():
            hits.read_texts(folder)
        write_table(ctx.out / "pairs.parquet", pa.Table.from_pylist(pairs, schema=PAIR_SCHEMA))
        shown = [(row["eval_image"], row["train_image"]) for row in copies]
        shown += [(row["eval_image"], row["image_id"]) for rows in found.values() for row in rows]
        search.show(list(dict.fromkeys(shown)), ctx.out / "log" / "leaks.png")
        chosen = [image for source in folders for image in pictures.of(source)[:PLANTED_A_SOURCE]]
        proof = search.prove(chosen)
    finally:
        search.close()
    write_table(ctx.out / "planted.parquet", pa.Table.from_pylist(proof.rows, schema=PLANTED_SCHEMA))
    summary["planted"] = {kind: [hit, of] for kind, (hit, of) in proof.found.items()}
    summary["planted_recall"] = round(sum(hit for hit, _ in proof.found.values()) / max(len(proof.rows), 1), 4)
    summary |= {"decoys": proof.decoys, "decoys_wronged": proof.wronged, "unrelated_accused": proof.accused}
    summary["neighbours"] = len(pairs) - len(copies)
    return found, hits
