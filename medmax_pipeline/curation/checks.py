"""What must hold after curation, asked again of what was published: no evaluation picture is left in training.

Deciding what goes is `leakage.py`; this only looks whether it went.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medmax_pipeline.curation.columns import SAMPLES, pixel_digests, read_rows
from medmax_pipeline.curation.leakage import collect
from medmax_pipeline.files import Json


def evaluation_pictures_left(curated: Path, samples: Path, evaluated: Mapping[str, Path]) -> list[str]:
    """Training samples of `curated` that show an evaluation picture, in words.

    Args:
        curated: published folder of `<source>/curated`.
        samples: published folder of the same source's samples, which knows its pictures' pixels.
        evaluated: published samples of every source, by source.
    """
    pictures, digests = collect(evaluated), pixel_digests(samples)
    faults = []
    for row in read_rows(curated / SAMPLES, ("sample_id", "images")):
        for image in row["images"]:
            match = pictures.match(image, digests[image])
            if match is not None:
                faults.append(f"sample {row['sample_id']} shows the evaluation picture {match.image_id[:12]}")
    return faults


def planted_missed(summary: Mapping[str, Json]) -> list[str]:
    """What is wrong with the planted copies, by the summary of `leakage`; nothing where it was switched off."""
    if summary.get("mode") == "off":
        return []
    recall = summary.get("planted_recall")
    if recall is None:
        return [] if summary.get("evaluation_images") == 0 else ["no copy was planted"]
    return [] if recall == 1 else [f"recall of planted copies is {recall}, expected 1"]
