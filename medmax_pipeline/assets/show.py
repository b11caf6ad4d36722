"""What an asset's page shows: counts and reasons as a table, a few rows, pictures, and numbers that Dagster plots.

Numbers keep their keys over time. Pictures are small and inline; those of credentialed data never leave the store.
Text from data is escaped: it is not ours.
"""

import base64
import html
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Artifact

INLINE_BYTES = 90_000
"""An inline picture stays below: every event is kept in Dagster's database (100 KiB is the measured comfort limit)."""
ROWS_SHOWN = 5
TEXT_SHOWN = 160

Metadata = dict[str, dg.MetadataValue[Any]]


def metadata_of(artifact: Artifact, made: bool) -> Mapping[str, dg.MetadataValue[Any]]:
    """Everything the page of one artifact shows."""
    manifest = artifact.manifest
    shown: Metadata = {
        "status": dg.MetadataValue.text(manifest.status),
        "made_in_this_run": dg.MetadataValue.bool(made),
        "fingerprint": dg.MetadataValue.text(manifest.fingerprint),
        "folder": dg.MetadataValue.path(str(artifact.folder)),
        "bytes": dg.MetadataValue.int(sum(entry.bytes for entry in manifest.files)),
        "licences": dg.MetadataValue.text("; ".join(manifest.licences) or "none inside"),
        "credentialed": dg.MetadataValue.bool(manifest.credentialed),
        "wall_s": dg.MetadataValue.float(manifest.wall_s),
    }
    if manifest.lock is not None:
        shown["locked"] = dg.MetadataValue.md(f"**locked**: {manifest.lock.reason}\n\nTo unlock: {manifest.lock.cure}")
    if manifest.counts.taken:
        shown["dagster/row_count"] = dg.MetadataValue.int(manifest.counts.kept)
        shown["funnel"] = dg.MetadataValue.md(funnel(manifest.counts))
    for name, value in manifest.summary.items():
        shown[name] = _value(value)
    shown |= dict(_samples(artifact))
    shown |= dict(_pictures(artifact))
    return shown


def _value(value: object) -> dg.MetadataValue[Any]:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    if isinstance(value, dict | list):
        return dg.MetadataValue.json(value)
    return dg.MetadataValue.text(str(value))


def funnel(counts: Counts) -> str:
    """In, each reason, out, as a Markdown table."""
    lines = ["| | units |", "| --- | ---: |", f"| in | {counts.taken} |"]
    lines += [f"| dropped: {reason} | {count} |" for reason, count in sorted(counts.dropped.items())]
    lines += [f"| quarantined: {reason} | {count} |" for reason, count in sorted(counts.quarantined.items())]
    return "\n".join([*lines, f"| **out** | **{counts.kept}** |"])


def _samples(artifact: Artifact) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """A few rows of `samples.parquet`; credentialed text is described, not shown."""
    path = artifact.folder / "samples.parquet"
    if not path.exists() or artifact.locked:
        return
    if artifact.manifest.credentialed:
        yield "examples", dg.MetadataValue.text("holds credentialed rows, which are not shown here")
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=ROWS_SHOWN), None)
    lines = ["| id | kind | split | turns |", "| --- | --- | --- | --- |"]
    for row in batch.to_pylist() if batch is not None else []:
        turns = " / ".join(f"{turn['role']}: {turn['text']}" for turn in row["turns"])
        text = html.escape(turns[:TEXT_SHOWN]).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {row['sample_id'][:8]} | {row['kind']} | {row['split']} | {text} |")
    yield "examples", dg.MetadataValue.md("\n".join(lines))


def _pictures(artifact: Artifact) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """Pictures a step left below `log/`, and the first few an evaluation drew."""
    if artifact.manifest.credentialed and not artifact.manifest.key.startswith("checkpoint/"):
        return
    for path in sorted((artifact.folder / "log").glob("*.png")):
        yield path.stem, dg.MetadataValue.md(f"![{path.stem}]({inline(path)})")
    drawn = sorted((artifact.folder / "images").glob("*.png"))[:8]
    if drawn:
        yield "drawn", dg.MetadataValue.md(" ".join(f"![{path.stem[:8]}]({inline(path)})" for path in drawn))


def inline(path: Path) -> str:
    """A picture as a data URI, made smaller until it fits `INLINE_BYTES`."""
    data = path.read_bytes()
    if len(data) > INLINE_BYTES:
        from PIL import Image

        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        while len(data) > INLINE_BYTES:
            picture = picture.resize((max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4)))
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            data = buffer.getvalue()
    return "data:image/png;base64," + base64.b64encode(data).decode()
