"""Whether the charts that a corpus plants were found, asked again of what the decision `figures` published.

The corpus says who each of its pictures is; the decision knows nothing of that. Copies of evaluation pictures are
`checks.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medmax_pipeline.curation.columns import read_rows

LEAST_FOUND: Final = 0.9
"""Ours: share of the planted charts that must be found."""
MOST_ACCUSED: Final = 0.02
"""Ours: share of the real pictures that may be taken for charts."""


def charts_missed(figures: Path, planted: Path, threshold: float) -> list[str]:
    """What is wrong with the decision `figures` on a corpus whose charts are known.

    Args:
        figures: its published folder.
        planted: the corpus's list of pictures, who each of them is.
        threshold: scores above it are figures.
    """
    known = {row["image_id"]: row for row in read_rows(planted, ("image_id", "image_flag", "planted"))}
    above = {
        row["image_id"]: row["score"] is not None and row["score"] > threshold
        for row in read_rows(figures / "scores.parquet", ("image_id", "score"))
        if row["image_id"] in known
    }
    charts = [found for image, found in above.items() if known[image]["planted"] == "chart"]
    real = [
        found
        for image, found in above.items()
        if known[image]["image_flag"] != "synthetic" and not known[image]["planted"]
    ]
    told = []
    if sum(charts) < LEAST_FOUND * len(charts):
        told.append(f"{sum(charts)} of {len(charts)} planted charts were found, expected {LEAST_FOUND:.0%}")
    if sum(real) > MOST_ACCUSED * len(real):
        told.append(f"{sum(real)} of {len(real)} real pictures pass for charts, expected at most {MOST_ACCUSED:.0%}")
    return told
