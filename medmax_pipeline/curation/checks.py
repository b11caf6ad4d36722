"""What must hold after curation, asked again of what was published: no evaluation picture is left in training, and
what was planted was found.

Deciding what goes is `leakage.py`; this only looks whether it went.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medmax_pipeline.curation.columns import SAMPLES, pixel_digests, read_rows
from medmax_pipeline.curation.leakage import collect
from medmax_pipeline.curation.planted import faults
from medmax_pipeline.files import Json


def evaluation_pictures_left(curated: Path, samples: Path, evaluated: Mapping[str, Path]) -> list[str]:
    """Training samples of `curated` that show an evaluation picture, in words.

    Args:
        curated: published folder of `<source>/curated`.
        samples: published folder of the same source's samples, which knows its pictures' pixels.
        evaluated: published samples of every source, by source.
    """
    pictures, digests = collect(evaluated), pixel_digests(samples)
    told = []
    for row in read_rows(curated / SAMPLES, ("sample_id", "images")):
        for image in row["images"]:
            match = pictures.match(image, digests[image])
            if match is not None:
                told.append(f"sample {row['sample_id']} shows the evaluation picture {match.image_id[:12]}")
    return told


def planted_missed(summary: Mapping[str, Json]) -> list[str]:
    """What is wrong with planted copies and decoys, by the summary of `leakage`; nothing where none were looked for."""
    if summary.get("mode") != "near" or summary.get("evaluation_images") == 0:
        return []
    planted, accused = summary.get("planted"), summary.get("unrelated_accused")
    if not isinstance(planted, dict) or not isinstance(accused, float | int):
        return ["the search was not proven: no planted copies, no decoys"]
    counted = {kind: (int(pair[0]), int(pair[1])) for kind, pair in planted.items() if isinstance(pair, list)}  # type: ignore[arg-type]
    if not any(of for _, of in counted.values()):
        return ["no copy was planted"]
    return faults(counted, float(accused))
