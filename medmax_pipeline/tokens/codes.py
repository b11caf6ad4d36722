"""Every picture that training or evaluation reads gets codes in the store: what the step `image_codes` does.

Publishes the sorted image ids and the digest of their codes, not the codes. Encoding is launched (`encode.py`) only
when the store lacks something; this module loads no torch.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline import withdrawal
from medmax_pipeline.arrow import left_to_table
from medmax_pipeline.files import Json, read_json, sha256_bytes, write_json, write_table
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.records import Counts, Left
from medmax_pipeline.steps import Artifact, Outcome, Run
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.job import PICTURE_SCHEMA, Job, Wanted, job_json
from medmax_pipeline.tokens.store import CodeStore, code_folder
from medmax_pipeline.tokens.vocabulary import image_geometry

CODES_SCHEMA = pa.schema([("image_id", pa.string()), ("code_digest", pa.string()), ("credentialed", pa.bool_())])
"""images.parquet: `code_digest` is the sha256 of the picture's codes as little-endian uint16, credentialed whether any
sample that shows the picture is."""
LOOK_UP = 4096
"""Pictures whose codes are held in memory at once."""
NOT_ENCODED = "image_not_encoded"


def make_codes(ctx: Run, sources: Sequence[str]) -> Outcome:
    """Encode what is missing, then write `images.parquet` and `quarantine.parquet`."""
    tokenizer = ctx.inputs["image_tokenizer"].folder
    geometry = image_geometry(tokenizer)
    folder = code_folder(ctx.store, tokenizer_digest(tokenizer, preprocessing=PREPROCESSING))
    store = CodeStore(folder, geometry.codes_per_image)
    wanted, left_out = wanted_pictures(ctx.inputs, sources, ctx.params)
    missing = store.missing([item.image_id for item in wanted])
    results = ctx.work / "encode"
    if missing:
        ctx.log(f"{len(missing):,} of {len(wanted):,} pictures have no codes yet")
        _launch(ctx, tokenizer, folder, wanted, results, [source for source in sources if source not in left_out])
    store.tidy()
    failures: Mapping[str, Sequence[str]] = read_json(results / "failures.json") if missing else {}
    told: Mapping[str, Json] = read_json(results / "summary.json") if missing else {}
    absent = set(store.missing([item.image_id for item in wanted]))
    kept = [item for item in wanted if item.image_id not in absent]
    usage = _write_images(ctx.out / "images.parquet", kept, store, geometry.codebook_size)
    unknown = (NOT_ENCODED, "the encoder gave no codes and no reason")
    quarantine = []
    for image_id in sorted(absent):
        reason, detail = failures.get(image_id, unknown)
        quarantine.append(Left(image_id, reason, detail))
    write_table(ctx.out / "quarantine.parquet", left_to_table(quarantine))
    if (results / "reconstruction.png").exists():
        (ctx.out / "log").mkdir()
        shutil.copyfile(results / "reconstruction.png", ctx.out / "log" / "reconstruction.png")
    summary: dict[str, Json] = {
        "images": len(kept),
        "encoded_now": told.get("encoded", 0),
        "reconstruction": told.get("reconstruction", {}),
        "left_out": list(left_out),
        **usage,
    }
    if told:
        summary["images_per_s"] = told["images_per_s"]
    known = told or (ctx.previous.manifest.summary if ctx.previous is not None else {})
    summary |= {name: known[name] for name in ("device", "agreement_with_exact") if name in known}
    reasons = Counter(item.reason for item in quarantine)
    return Outcome(
        counts=Counts(taken=len(wanted), kept=len(kept), quarantined=dict(sorted(reasons.items()))),
        credentialed=any(item.credentialed for item in kept),
        summary=summary,
    )


def wanted_pictures(
    inputs: Mapping[str, Artifact], sources: Iterable[str], params: Mapping[str, Json]
) -> tuple[list[Wanted], list[str]]:
    """Pictures of curated samples and of evaluation rows, sorted by id, and the sources that are locked.

    Rows that the step's parameters withdraw show none. A picture is credentialed if any sample that shows it is; its
    source is the first, in the order given.
    """
    found: dict[str, Wanted] = {}
    left_out = []
    for source in sources:
        curated, samples = inputs.get(f"{source}/curated"), inputs[f"{source}/samples"]
        if samples.locked and (curated is None or curated.locked):
            left_out.append(source)
        for artifact, split in ((curated, "train"), (samples, "eval")):
            if artifact is None or artifact.locked:
                continue
            table = pq.read_table(
                artifact.folder / "samples.parquet",
                columns=["sample_id", "images", "credentialed"],
                filters=[("split", "=", split)],
            )
            gone = withdrawal.left_out(artifact.folder, params, split)
            for sample_id, images, credentialed in zip(
                *(table[name].to_pylist() for name in table.column_names), strict=True
            ):
                for image_id in images if sample_id not in gone else ():
                    known = found.get(image_id)
                    if known is None or (credentialed and not known.credentialed):
                        found[image_id] = Wanted(image_id, known.source if known else source, credentialed)
    return sorted(found.values(), key=lambda item: item.image_id), left_out


def _launch(
    ctx: Run, tokenizer: Path, folder: Path, wanted: list[Wanted], results: Path, sources: Iterable[str]
) -> None:
    """Write the job and run `python -m medmax_pipeline.tokens` on it."""
    rows = [{name: getattr(item, name) for name in PICTURE_SCHEMA.names} for item in wanted]
    write_table(results / "pictures.parquet", pa.Table.from_pylist(rows, schema=PICTURE_SCHEMA))
    images = [ctx.inputs[f"{source}/samples"] for source in sources]
    job = Job(
        tokenizer=str(tokenizer),
        codes=str(folder),
        landing=str(ctx.landing),
        pictures=str(results / "pictures.parquet"),
        images=tuple(str(item.folder / "images.parquet") for item in images if not item.locked),
        results=str(results),
    )
    write_json(results / "job.json", job_json(job))
    ctx.launch(["medmax_pipeline.tokens", str(results / "job.json")])


def _write_images(path: Path, kept: list[Wanted], store: CodeStore, codebook_size: int) -> dict[str, Json]:
    """Write `images.parquet`; which share of the codebook is in use, and the perplexity of its use."""
    histogram = np.zeros(codebook_size, dtype=np.int64)
    rows = []
    for start in range(0, len(kept), LOOK_UP):
        chunk = kept[start : start + LOOK_UP]
        codes = store.get_many([item.image_id for item in chunk])
        histogram += np.bincount(codes.ravel(), minlength=codebook_size)
        rows += [
            {
                "image_id": item.image_id,
                "code_digest": sha256_bytes(row.astype("<u2").tobytes()),
                "credentialed": item.credentialed,
            }
            for item, row in zip(chunk, codes, strict=True)
        ]
    write_table(path, pa.Table.from_pylist(rows, schema=CODES_SCHEMA))
    share = histogram[histogram > 0] / max(int(histogram.sum()), 1)
    return {
        "code_usage": round(float((histogram > 0).mean()), 4),
        "code_perplexity": round(float(np.exp(-(share * np.log(share)).sum())), 2) if len(share) else 0.0,
    }
