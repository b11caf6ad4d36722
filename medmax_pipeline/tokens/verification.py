"""Whether the codes of a build are still those that it published, and those that its pictures give: `medmax verify`.

Every part's bytes and every published picture's digest are looked at; a sample of the pictures, drawn from the
artifact's own digest, is encoded again by a process of its own where their files are at hand (`recheck.py`).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import read_json, sha256_bytes, write_json, write_table
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.steps import Artifact
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.codes import LOOK_UP
from medmax_pipeline.tokens.job import PICTURE_SCHEMA, Job, job_json
from medmax_pipeline.tokens.recheck import CHECK
from medmax_pipeline.tokens.store import CodeStore, code_folder
from medmax_pipeline.tokens.vocabulary import image_geometry

CHECKED = 64
"""Pictures encoded again: seconds on a GPU, a minute or two on a CPU."""
OTHER_DEVICE = 0.05
"""Share of a picture's codes that may differ on another kind of device than the one that made them. Ours: sums in
another order move a code only where two of the codebook's vectors are nearly as close."""

Log = Callable[[str], None]
Launch = Callable[[Sequence[str]], None]


class Wrong(NamedTuple):
    """Something that is not as it was published."""

    what: str
    problem: str


def wrong_codes(
    artifact: Artifact, behind: Mapping[str, Path], store: Path, landing: Path, launch: Launch, log: Log
) -> Iterator[Wrong]:
    """What is wrong with published codes.

    Args:
        artifact: `image_codes`.
        behind: folders of its inputs, by key.
        store: root of the store.
        landing: root of the landing folders; pictures missing there are told and are no fault.
        launch: runs `python -m <arguments>`.
        log: is told what was looked at.
    """
    tokenizer = behind["image_tokenizer"]
    params = artifact.manifest.params
    geometry = image_geometry(tokenizer)
    folder = code_folder(store, tokenizer_digest(tokenizer, preprocessing=str(params["preprocessing"])))
    name = folder.relative_to(store).as_posix()
    try:
        codes = CodeStore(folder, geometry.codes_per_image)
    except StoreError as error:
        yield Wrong(name, str(error))
        return
    for part in codes.verify():
        yield Wrong(f"{name}/{part}", "its bytes are not those it was published with")
    table = pq.read_table(artifact.folder / "images.parquet")
    yield from _wrong_digests(codes, table, name)
    if params["preprocessing"] != PREPROCESSING:
        log(f"codes were made with {params['preprocessing']}, this version makes {PREPROCESSING}: none is made again.")
        return
    held = set(table["image_id"].to_pylist()) - set(codes.missing(table["image_id"].to_pylist()))
    drawn = random.Random(artifact.manifest.digest).sample(sorted(held), min(CHECKED, len(held)))
    if drawn:
        yield from _encoded_again(artifact, tokenizer, behind, landing, folder, drawn, launch, log)


def _wrong_digests(codes: CodeStore, table: pa.Table, name: str) -> Iterator[Wrong]:
    """Published pictures whose codes are gone or have another digest than was published."""
    for start in range(0, len(table), LOOK_UP):
        rows = table.slice(start, LOOK_UP)
        image_ids = rows["image_id"].to_pylist()
        lost = set(codes.missing(image_ids))
        for image_id in sorted(lost):
            yield Wrong(f"{name}/{image_id}", "has no codes any more; make image_codes again")
        published = dict(zip(image_ids, rows["code_digest"].to_pylist(), strict=True))
        kept = [image_id for image_id in image_ids if image_id not in lost]
        for image_id, found in zip(kept, codes.get_many(kept), strict=True):
            if sha256_bytes(found.astype("<u2").tobytes()) != published[image_id]:
                yield Wrong(f"{name}/{image_id}", "its codes are not those that image_codes published")


def _encoded_again(
    artifact: Artifact,
    tokenizer: Path,
    behind: Mapping[str, Path],
    landing: Path,
    folder: Path,
    drawn: Sequence[str],
    launch: Launch,
    log: Log,
) -> Iterator[Wrong]:
    """Drawn pictures whose codes come out otherwise."""
    tables = [path / "images.parquet" for key, path in behind.items() if key.endswith("/samples")]
    with tempfile.TemporaryDirectory(prefix="medmax-verify-") as scratch:
        work = Path(scratch)
        rows = [{"image_id": image_id, "source": "", "credentialed": False} for image_id in drawn]
        write_table(work / "pictures.parquet", pa.Table.from_pylist(rows, schema=PICTURE_SCHEMA))
        job = Job(
            tokenizer=str(tokenizer),
            codes=str(folder),
            landing=str(landing),
            pictures=str(work / "pictures.parquet"),
            images=tuple(str(path) for path in tables if path.exists()),
            results=str(work),
        )
        write_json(work / "job.json", job_json(job))
        launch(["medmax_pipeline.tokens", str(work / "job.json"), "--check"])
        told = read_json(work / CHECK)
    same = artifact.manifest.summary.get("device") == told["device"]
    most = 0 if same else OTHER_DEVICE * image_geometry(tokenizer).codes_per_image
    wrong = {image_id: count for image_id, count in told["unlike"].items() if count > most}
    for image_id, count in wrong.items():
        yield Wrong(f"image_codes/{image_id}", f"{count} of its codes come out otherwise when it is encoded again")
    log(f"{told['compared']} pictures encoded again on {told['device']}, {told['compared'] - len(wrong)} as published.")
    if told["unread"]:
        reason, detail = next(iter(told["unread"].values()))
        log(f"{len(told['unread'])} of {len(drawn)} could not be read for that; the first: {reason}, {detail}.")
