"""Statistical figures out: plots and charts, which articles are full of and which show no patient.

A network that puts pictures and texts into one space (the build's `similarity_model`) says how alike a picture is to
descriptions of charts and to descriptions of medical pictures. A picture's score is its cosine with the nearest
description of a chart minus that with the nearest of a medical picture, -2 to 2; above the threshold it is a
statistical figure, and every training sample that shows it goes. The paper filters so with BiomedCLIP; neither its
texts nor its threshold are published, so those here are ours.

Scores are those of the network and can be wrong: the distribution, pictures of both sides of the threshold and every
score are published. Panels that hold a chart beside a medical picture fall to the side that covers more of them. The
descriptions are `figure_prompts.py`, what runs the network is `figure_scores.py`, what is drawn `figure_sheets.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.curation.columns import IMAGES, SAMPLES, read_rows, unlocked
from medmax_pipeline.curation.figure_prompts import SCORER, prompts_named
from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import Json, digest_of, write_bytes, write_json, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Outcome, Run

STATISTICAL_FIGURE: Final = "statistical_figure"
MODULE: Final = "medmax_pipeline.curation.figure_scores"
"""What is launched to score pictures."""
BINS: Final = 40
"""Ours: bars of the distribution."""


SCORE_SCHEMA: Final = pa.schema(
    [
        ("image_id", pa.string()),
        ("figure", pa.float32()),
        ("medical", pa.float32()),
        ("score", pa.float32()),
        ("nearest_figure", pa.string()),
        ("nearest_medical", pa.string()),
        ("unscored", pa.string()),
    ]
)
"""One line a picture: both cosines and their difference, null where `unscored` says why, rounded to four places."""
VERDICT_SCHEMA: Final = pa.schema(
    [("sample_id", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("image_id", pa.string())]
)
"""One line a sample to drop, and the picture that it goes for."""


class Shown(NamedTuple):
    """A training sample and its pictures."""

    sample_id: str
    images: tuple[str, ...]
    credentialed: bool


def verdicts(samples: Iterable[Shown], scores: Mapping[str, float], threshold: float) -> Iterator[dict[str, str]]:
    """The samples that show a statistical figure: rows of `VERDICT_SCHEMA`.

    Args:
        samples: training samples of one source.
        scores: by image id; a picture without one is no figure.
        threshold: scores above it are figures.
    """
    for sample in samples:
        for image in sample.images:
            score = scores.get(image)
            if score is not None and score > threshold:
                yield {
                    "sample_id": sample.sample_id,
                    "reason": STATISTICAL_FIGURE,
                    "detail": f"score {score:.4f} above {threshold:g}",
                    "image_id": image,
                }
                break


def training_samples(folder: Path) -> list[Shown]:
    """The training samples of one source that show pictures."""
    rows = read_rows(folder / SAMPLES, ("sample_id", "split", "images", "credentialed"))
    return [
        Shown(row["sample_id"], tuple(row["images"]), row["credentialed"])
        for row in rows
        if row["split"] == "train" and row["images"]
    ]


def make_figures(ctx: Run, sources: Sequence[str], mode: str) -> Outcome:
    """Score the pictures of the sources' training samples; publish verdicts, scores and what there is to look at."""
    folders = unlocked(sources, ctx.inputs) if mode != "off" else {}
    shown = {source: training_samples(folder) for source, folder in folders.items()}
    table = scored(ctx, folders, sorted({image for found in shown.values() for one in found for image in one.images}))
    known: dict[str, float] = {
        image: score
        for image, score in zip(table["image_id"].to_pylist(), table["score"].to_pylist(), strict=True)
        if score is not None
    }
    threshold = float(str(ctx.params["threshold"])) if mode != "off" else 0.0
    found = {source: list(verdicts(samples, known, threshold)) for source, samples in shown.items()}
    for source in sources:
        write_table(ctx.out / f"{source}.parquet", pa.Table.from_pylist(found.get(source, []), schema=VERDICT_SCHEMA))
    write_table(ctx.out / "scores.parquet", table)
    taken, gone = sum(map(len, shown.values())), sum(map(len, found.values()))
    summary: dict[str, Json] = {
        "mode": mode,
        "not_looked_at": ", ".join(each for each in sources if each not in folders),
    }
    if mode != "off":
        summary |= _told(ctx, table, known, threshold)
        _draw(ctx, folders, shown, known, threshold)
    return Outcome(
        counts=Counts(taken, taken - gone, {STATISTICAL_FIGURE: gone} if gone else {}),
        parts={source: [f"{source}.parquet"] for source in sources},
        summary=summary,
    )


def _told(ctx: Run, table: pa.Table, known: Mapping[str, float], threshold: float) -> dict[str, Json]:
    from medmax_pipeline.models.similarity_files import read_card

    figures = sum(score > threshold for score in known.values())
    return {
        "scorer": read_card(ctx.inputs[SCORER].folder).name,
        "scores_of": scores_key(ctx),
        "threshold": threshold,
        "pictures": len(table),
        "pictures_unscored": len(table) - len(known),
        "pictures_above": figures,
        "share_above": round(figures / len(known), 4) if known else 0.0,
        "distribution": distribution(list(known.values())),
    }


def distribution(scores: Sequence[float]) -> dict[str, Json]:
    """How many pictures score how much: the first bar's lower end, a bar's width, and the counts."""
    if not scores:
        return {"from": 0.0, "width": 0.0, "counts": []}
    low, high = min(scores), max(scores)
    width = max(high - low, 1e-6) / BINS
    counts = [0] * BINS
    for score in scores:
        counts[min(BINS - 1, int((score - low) / width))] += 1
    return {"from": round(low, 4), "width": round(width, 6), "counts": list(counts)}


def scores_key(ctx: Run) -> str:
    """What scores depend on beside the picture: the model's files and the list of descriptions."""
    prompts = prompts_named(str(ctx.params["prompts"]))
    return digest_of([ctx.inputs[SCORER].manifest.digest, list(prompts.figure), list(prompts.medical)])[:16]


def scored(ctx: Run, folders: Mapping[str, Path], images: Sequence[str]) -> pa.Table:
    """The scores of these pictures, sorted by id: those published before by the same scorer, and the others made now.

    Raises:
        StoreError: the launched process left a picture without a line.
    """
    if not images:
        return SCORE_SCHEMA.empty_table()
    wanted, parts = set(images), []
    if ctx.previous is not None and ctx.previous.manifest.summary.get("scores_of") == scores_key(ctx):
        parts.append(_only(pq.read_table(ctx.previous.folder / "scores.parquet"), wanted))
        wanted -= set(parts[0]["image_id"].to_pylist())
    ctx.log(f"figures: {len(wanted):,} of {len(images):,} pictures to score")
    if wanted:
        parts += _launch(ctx, folders, sorted(wanted))
    table: pa.Table = pa.concat_tables(parts).sort_by("image_id")
    if table["image_id"].to_pylist() != list(images):
        raise StoreError(f"figures: {len(table):,} scores for {len(images):,} pictures; each needs one. Build again.")
    return table


def _launch(ctx: Run, folders: Mapping[str, Path], wanted: Sequence[str]) -> list[pa.Table]:
    results = ctx.work / "scores" / scores_key(ctx)
    write_table(results / "wanted.parquet", pa.table({"image_id": wanted}))
    prompts = prompts_named(str(ctx.params["prompts"]))
    job: dict[str, Json] = {
        "similarity": str(ctx.inputs[SCORER].folder),
        "landing": str(ctx.landing),
        "images": [str(folder / IMAGES) for folder in folders.values()],
        "wanted": str(results / "wanted.parquet"),
        "results": str(results),
        "figure": list(prompts.figure),
        "medical": list(prompts.medical),
    }
    write_json(results / "job.json", job)
    ctx.launch([MODULE, str(results / "job.json")])
    return [_only(pq.read_table(path), set(wanted)) for path in sorted(results.glob("part-*.parquet"))]


def _only(table: pa.Table, images: set[str]) -> pa.Table:
    return table.filter(pa.array([image in images for image in table["image_id"].to_pylist()], pa.bool_()))


def seen_by_anybody(samples: Iterable[Shown], scores: Mapping[str, float]) -> dict[str, float]:
    """The scores of pictures that no credentialed sample shows."""
    hidden = {image for sample in samples if sample.credentialed for image in sample.images}
    return {image: score for image, score in scores.items() if image not in hidden}


def _draw(
    ctx: Run,
    folders: Mapping[str, Path],
    shown: Mapping[str, Sequence[Shown]],
    scores: Mapping[str, float],
    threshold: float,
) -> None:
    from medmax_pipeline.curation import figure_sheets

    open_to_see = seen_by_anybody([one for found in shown.values() for one in found], scores)
    with ImageReader(ctx.landing, [folder / IMAGES for folder in folders.values()]) as reader:
        sheets: dict[str, Any] = figure_sheets.drawn(reader, open_to_see, list(scores.values()), threshold)
    for name, data in sheets.items():
        write_bytes(ctx.out / "log" / name, data)
