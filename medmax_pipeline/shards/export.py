"""`medmax export`: open samples of published shards in a folder of their own, for other people and other programs.

    packed     the open tars as they are, index.parquet of open sequences, vocabulary.json
    portable   one webdataset sample an instance (`portable.py`), index.parquet, vocabulary.json

Both carry `README.md` and `croissant.json` (`card.py`), and what Megatron-Energon's loader looks for (`energon.py`).
Credentialed samples are counted and never written: each sample is looked at again, as curation and the codes know it,
before a byte is copied. The folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import (
    CHUNK_BYTES,
    disk_errors,
    open_atomic,
    publish_folder,
    read_json,
    remove_tree,
    write_json,
    write_table,
    write_text,
)
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.lineage import Closure, closure
from medmax_pipeline.manifest import MANIFEST, list_files
from medmax_pipeline.shards.card import Described, Part, croissant, licence_warnings, readme
from medmax_pipeline.shards.energon import write_energon
from medmax_pipeline.shards.layout import INDEX, VOCABULARY, shard_name
from medmax_pipeline.shards.mixture import read_pictures
from medmax_pipeline.shards.portable import TAR_BYTES, write_portable
from medmax_pipeline.steps import Artifact
from medmax_pipeline.tokens.store import CodeStore, code_folder
from medmax_pipeline.withdrawal import Marks, marks

Form = Literal["packed", "portable"]
CARD, CROISSANT = "README.md", "croissant.json"


class Exported(NamedTuple):
    """What was written and what was not."""

    files: int
    bytes: int
    written: tuple[Part, ...]
    left_out: tuple[Part, ...]
    """Credentialed samples."""
    warnings: tuple[str, ...]
    """One a licence that is not known to let the export be handed on."""


class Behind(NamedTuple):
    """Published tables behind the shards."""

    curated: list[Path]
    """Each source's `samples.parquet`."""
    images: list[Path]
    """Each source's `images.parquet`."""
    codes: Path
    """Folder of `image_codes`."""


def export(ledger: Ledger, key: str, out: Path, form: Form, tar_bytes: int = TAR_BYTES) -> Exported:
    """Write the open part of published shards to a folder.

    Args:
        ledger: of the build.
        key: `shards/<recipe>`.
        out: absent or empty.
        form: which of the two forms.
        tar_bytes: portable: a tar that has reached this size is closed.

    Raises:
        StoreError: the artifact is no shards, is locked or holds credentialed samples only; `out` holds something; a
            sample that the index calls open is credentialed or was withdrawn; a file is not as it was published.
        ImageError: portable: a picture is not where it was, or has changed.
    """
    artifact = ledger.need(key)
    if not key.startswith("shards/") or artifact.locked:
        raise StoreError(f"{key}: {'is locked' if artifact.locked else 'is no shards'}. Export a shards/RECIPE.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: holds something already. Name a folder that is absent or empty.")
    behind = closure(ledger, artifact)
    table = pq.read_table(artifact.folder / INDEX)
    rows = table.filter(pc.invert(table["credentialed"]))
    if not rows.num_rows:
        raise StoreError(f"{key}: holds credentialed samples only, and those are never handed on. Nothing was written.")
    tables = tables_behind(ledger, behind)
    _refuse_forbidden(key, rows, tables, marks(ledger.store))
    work = out.absolute().with_name(f".{out.absolute().name}.exporting")
    remove_tree(work)
    try:
        with disk_errors(work):
            work.mkdir(parents=True)
        copy_published(artifact, VOCABULARY, work / VOCABULARY)
        if form == "packed":
            for shard in sorted(set(rows["shard"].to_pylist())):
                copy_published(artifact, shard, work / shard)
            write_table(work / INDEX, rows)
        else:
            _portable(ledger, rows, tables, work, tar_bytes)
        described = _describe(artifact, behind, form, table, work)
        write_energon(work)
        if out.exists():
            out.rmdir()
        publish_folder(work, out.absolute())
    finally:
        remove_tree(work)
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    warnings = tuple(licence_warnings(described.open))
    return Exported(len(sizes), sum(sizes), tuple(described.open), tuple(described.credentialed), warnings)


def to_text(done: Exported, out: Path) -> Iterator[str]:
    """What was written and left out, for people."""
    yield f"{out}: {done.files} files, {done.bytes:,} bytes"
    for part in done.written:
        yield f"  {part.source}: {part.samples:,} samples [{part.licence}]"
    for part in done.left_out:
        yield f"  left out, credentialed: {part.source}: {part.samples:,} samples [{part.licence}]"
    for warning in done.warnings:
        yield f"warning: {warning}"


def tables_behind(ledger: Ledger, behind: Closure) -> Behind:
    """Where the samples, pictures and codes behind the shards are told of."""
    here = {
        manifest.key: ledger.folder(*node) for node, manifest in behind.nodes.items() if not manifest.locked
    }  # an artifact's key occurs once: every step of a build reads what is current
    direct = {entry.key for entry in next(iter(behind.nodes.values())).inputs}
    curated = [
        folder / "samples.parquet" for key, folder in sorted(here.items()) if key in direct and "/curated" in key
    ]
    images = [folder / "images.parquet" for key, folder in sorted(here.items()) if key.endswith("/samples")]
    return Behind(curated, images, here["image_codes"])


def _refuse_forbidden(key: str, rows: pa.Table, tables: Behind, withdrawn: Marks) -> None:
    """Hold what the index calls open against curation, codes and tars, and against what was withdrawn since.

    Raises:
        StoreError: a sample is credentialed after all, or withdrawn.
    """
    secret = read_pictures(tables.codes).credentialed
    wanted = set(rows["sample_id"].to_pylist())
    wrong, gone = [], []
    for path in tables.curated:
        for sample_id, flag, images in curated_flags(path):
            if sample_id not in wanted:
                continue
            if flag or not secret.isdisjoint(images):
                wrong.append(sample_id)
            if sample_id in withdrawn.samples or not withdrawn.images.isdisjoint(images):
                gone.append(sample_id)
    places = zip(rows["shard"].to_pylist(), rows["block"].to_pylist(), strict=True)
    elsewhere = sorted({shard for shard, block in places if shard != shard_name(False, block)})
    if wrong or elsewhere:
        found = f"{len(wrong)} samples, the first is {wrong[0]}" if wrong else f"samples in {elsewhere[0]}"
        raise StoreError(f"{key}: its index calls open what is credentialed: {found}. Make the shards again.")
    if gone:
        raise StoreError(f"{key}: {len(gone)} samples were withdrawn since, the first is {gone[0]}. Build again first.")


def curated_flags(path: Path) -> Iterator[tuple[str, bool, list[str]]]:
    """Id, whether credentialed, and image ids of each sample of a `samples.parquet`."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["sample_id", "credentialed", "images"]):
            for row in batch.to_pylist():
                yield row["sample_id"], row["credentialed"], row["images"]


def copy_published(artifact: Artifact, name: str, target: Path) -> None:
    """Copy a file of a published artifact.

    Raises:
        StoreError: it is missing, or its bytes are not those the manifest names.
    """
    listed = {entry.path: entry.sha256 for entry in artifact.manifest.files}
    path = artifact.folder / name
    if name not in listed or not path.is_file():
        raise StoreError(f"{path}: is not there. Run `medmax verify`.")
    digest = hashlib.sha256()
    with path.open("rb") as source, open_atomic(target) as copied:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            copied.write(chunk)
    if digest.hexdigest() != listed[name]:
        raise StoreError(f"{path}: its bytes are not those the manifest names. Run `medmax verify`.")


def _portable(ledger: Ledger, rows: pa.Table, tables: Behind, out: Path, tar_bytes: int) -> None:
    vocabulary = read_json(out / VOCABULARY)
    folder = code_folder(ledger.store, vocabulary["image_tokenizer"])
    store = CodeStore(folder, vocabulary["codes_per_image"])
    with ImageReader(ledger.landing, tables.images) as reader:
        write_portable(out, set(rows["sample_id"].to_pylist()), tables.curated, store, reader, tar_bytes)


def _describe(artifact: Artifact, behind: Closure, form: Form, table: pa.Table, out: Path) -> Described:
    """Write card and description beside the files that are there."""
    day = datetime.fromtimestamp((artifact.folder / MANIFEST).stat().st_mtime, UTC).date().isoformat()
    schema = pq.read_schema(out / INDEX)
    described = Described(behind, form, parts_of(table), list_files(out), schema, day)
    write_text(out / CARD, readme(described))
    write_json(out / CROISSANT, croissant(described))
    return described


def parts_of(table: pa.Table) -> list[Part]:
    """Distinct samples of an index by source and licence, sorted."""
    columns = (table[name].to_pylist() for name in ("source", "licence", "credentialed", "sample_id"))
    distinct = set(zip(*columns, strict=True))
    counted = Counter((source, licence, credentialed) for source, licence, credentialed, _ in distinct)
    return [Part(*named, samples) for named, samples in sorted(counted.items())]
