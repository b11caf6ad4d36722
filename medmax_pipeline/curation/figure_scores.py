"""`python -m medmax_pipeline.curation.figure_scores JOB.json`: how alike pictures are to charts and to medical ones.

Launched by the step `figures`, so that no network is loaded where steps are ordered. Pictures are scored in the order
of their archives, a part of some at a time; a part that is there is not made again. The score's meaning is
`figures.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.curation.figures import SCORE_SCHEMA
from medmax_pipeline.errors import ImageError, MedmaxError
from medmax_pipeline.files import read_json, write_table
from medmax_pipeline.ingest.progress import Progress
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.strict import read_record

if TYPE_CHECKING:
    from medmax_pipeline.models.similarity import Similarity

PART: Final = 4096
"""Pictures of a file of results."""
BATCH: Final = 64
"""Pictures held in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as its JSON file says it. Paths are absolute."""

    similarity: str
    """Folder of the similarity model."""
    landing: str
    images: tuple[str, ...]
    """images.parquet files that say where the bytes are."""
    wanted: str
    """Parquet of image_id."""
    results: str
    """Folder for `part-*.parquet`."""
    figure: tuple[str, ...]
    medical: tuple[str, ...]


class Scorer:
    """A model with the descriptions that it compares pictures with."""

    def __init__(self, model: Similarity, figure: Sequence[str], medical: Sequence[str]) -> None:
        self._model, self._figure, self._medical = model, tuple(figure), tuple(medical)
        self._texts_TD = model.texts([*figure, *medical])

    def rows(self, image_ids: Sequence[str], pictures: Sequence[bytes]) -> list[dict[str, Any]]:
        """Rows of `SCORE_SCHEMA`; where one of the pictures cannot be read, each is tried alone."""
        try:
            near_BT = self._model.images(pictures) @ self._texts_TD.T
        except ImageError as error:
            if len(pictures) == 1:
                return [dict.fromkeys(SCORE_SCHEMA.names) | {"image_id": image_ids[0], "unscored": error.reason}]
            alone = zip(image_ids, pictures, strict=True)
            return [row for image_id, data in alone for row in self.rows([image_id], [data])]
        made = []
        for image_id, near_T in zip(image_ids, near_BT, strict=True):
            figure_F, medical_M = near_T[: len(self._figure)], near_T[len(self._figure) :]
            figure, medical = float(figure_F.max()), float(medical_M.max())
            made.append(
                {
                    "image_id": image_id,
                    "figure": round(figure, 4),
                    "medical": round(medical, 4),
                    "score": round(figure - medical, 4),
                    "nearest_figure": self._figure[int(np.argmax(figure_F))],
                    "nearest_medical": self._medical[int(np.argmax(medical_M))],
                    "unscored": "",
                }
            )
        return made


def run_job(job: Job, reader: ImageReader, model: Similarity) -> None:
    """Score what no part holds yet."""
    results = Path(job.results)
    parts = sorted(results.glob("part-*.parquet"))
    done = {image for path in parts for image in pq.read_table(path, columns=["image_id"])["image_id"].to_pylist()}
    wanted = set(pq.read_table(job.wanted)["image_id"].to_pylist()) - done
    scorer = Scorer(model, job.figure, job.medical)
    progress = Progress("figures", "pictures", _say)
    for number, chunk in enumerate(_chunks([image for image in reader if image in wanted], PART), len(parts)):
        rows: list[dict[str, Any]] = []
        for batch in _chunks(chunk, BATCH):
            rows += _batch(scorer, reader, batch)
            progress.add(len(batch))
        write_table(results / f"part-{number:06d}.parquet", pa.Table.from_pylist(rows, schema=SCORE_SCHEMA))
    progress.end()


def _batch(scorer: Scorer, reader: ImageReader, image_ids: Sequence[str]) -> list[dict[str, Any]]:
    read, pictures, rows = [], [], []
    for image_id in image_ids:
        try:
            pictures.append(reader.read(image_id))
            read.append(image_id)
        except ImageError as error:
            rows.append(dict.fromkeys(SCORE_SCHEMA.names) | {"image_id": image_id, "unscored": error.reason})
    return rows + (scorer.rows(read, pictures) if read else [])


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str]) -> int:
    """Run one job; 0 when it ended well, 2 when the user's world was at fault, with one line on standard error."""
    if len(arguments) != 1:
        print("usage: python -m medmax_pipeline.curation.figure_scores JOB.json", file=sys.stderr)
        return 2
    try:
        import torch

        from medmax_pipeline.models.similarity import open_similarity

        path = Path(arguments[0])
        job = read_record(Job, read_json(path), path.name)
        model = open_similarity(Path(job.similarity), "cuda" if torch.cuda.is_available() else "cpu")
        with ImageReader(Path(job.landing), [Path(path) for path in job.images]) as reader:
            run_job(job, reader, model)
    except MedmaxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
