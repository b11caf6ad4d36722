"""Hand-made landing folders in the publishers' layouts, pictures drawn. Shared by tests of ingest and curation."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Source
from medmax_pipeline.steps import Artifact

DICOM = "0000000{}-00000002-00000003-00000004-00000005"


def picture(seed: int, form: str = "PNG", size: tuple[int, int] = (16, 12), **options: Any) -> bytes:
    """A drawn picture, another one for each seed."""
    pixels = bytes((seed * 37 + index * 7) % 256 for index in range(size[0] * size[1] * 3))
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(buffer, form, **options)
    return buffer.getvalue()


def png_again(data: bytes) -> bytes:
    """The same pixels in other bytes: another compression level and a text chunk's worth of metadata."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def question(qid: int, image: str, **changes: Any) -> dict[str, Any]:
    """A VQA-RAD row."""
    row = {
        "qid": qid,
        "phrase_type": "freeform",
        "image_name": image,
        "image_organ": "CHEST",
        "question": f"Is finding {qid} present?",
        "question_type": "PRES",
        "answer": "Yes",
        "answer_type": "CLOSED",
    }
    return row | changes


def lay_vqa_rad(landing: Path, rows: Sequence[Any], pictures: Mapping[str, bytes]) -> Path:
    """`vqa_rad/` with these rows and pictures."""
    folder = landing / "vqa_rad"
    images = folder / "VQA_RAD Image Folder"
    images.mkdir(parents=True, exist_ok=True)
    (folder / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))
    for name, data in pictures.items():
        (images / name).write_bytes(data)
    return folder


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def lay_pmc_oa(landing: Path, rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes]) -> Path:
    """`pmc_oa/` with these rows, and an archive whose members lie in the publisher's folder."""
    folder = landing / "pmc_oa"
    members = {f"caption_T060_filtered_top4_sep_v0_subfigures/{name}": data for name, data in pictures.items()}
    write_zip(folder / "images.zip", members)
    (folder / "pmc_oa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def lay_mimic_cxr(landing: Path, rows: Sequence[tuple[str, str, str, str]], reports: Mapping[str, str]) -> Path:
    """`mimic_cxr/` of one patient: rows of (dicom_id, study_id, split, view), and a report by study."""
    folder = landing / "mimic_cxr"
    patient = folder / "files" / "p10" / "p10000001"
    split = ["dicom_id,study_id,subject_id,split"]
    metadata = ["dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns"]
    for number, (dicom, study, part, view) in enumerate(rows):
        (patient / f"s{study}").mkdir(parents=True, exist_ok=True)
        (patient / f"s{study}" / f"{dicom}.jpg").write_bytes(picture(100 + number, "JPEG"))
        split.append(f"{dicom},{study},10000001,{part}")
        metadata.append(f"{dicom},10000001,{study},CHEST,{view},12,16")
    for study, text in reports.items():
        (patient / f"s{study}.txt").write_text(text)
    for name, lines in (("split", split), ("metadata", metadata)):
        with gzip.open(folder / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt") as handle:
            handle.write("\n".join(lines) + "\n")
    return folder


def make(store: Path, landing: Path, key: str | Source) -> tuple[Artifact, Artifact]:
    """Raw and samples of one source."""
    record = source(key) if isinstance(key, str) else key
    ledger = Ledger(store, "test", landing)
    raw, _ = ledger.execute(raw_step(record, corpus=False))
    samples, _ = ledger.execute(samples_step(record))
    return raw, samples
