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
PICTURES_SHOWN = 8
THUMBNAIL_PX = 112

Metadata = dict[str, dg.MetadataValue[Any]]


def metadata_of(artifact: Artifact, made: bool, landing: Path) -> Mapping[str, dg.MetadataValue[Any]]:
    """Everything the page of one artifact shows."""
    manifest = artifact.manifest
    shown: Metadata = {"status": dg.MetadataValue.text(manifest.status)}
    if manifest.lock is not None:
        shown["locked"] = dg.MetadataValue.md(f"**locked**: {manifest.lock.reason}\n\nTo unlock: {manifest.lock.cure}")
    if manifest.counts.taken:
        shown["dagster/row_count"] = dg.MetadataValue.int(manifest.counts.kept)
        shown["funnel"] = dg.MetadataValue.md(funnel(manifest.counts))
    shown |= dict(_scores(artifact))
    shown |= dict(_funnel_table(artifact))
    shown |= dict(_left_out(artifact))
    shown |= dict(_samples(artifact))
    shown |= dict(_originals(artifact, landing))
    shown |= dict(_pictures(artifact))
    for name, value in manifest.summary.items():
        shown[name] = _value(value)
    return shown | {
        "made_in_this_run": dg.MetadataValue.bool(made),
        "fingerprint": dg.MetadataValue.text(manifest.fingerprint),
        "folder": dg.MetadataValue.path(str(artifact.folder)),
        "bytes": dg.MetadataValue.int(sum(entry.bytes for entry in manifest.files)),
        "licences": dg.MetadataValue.text("; ".join(manifest.licences) or "none inside"),
        "credentialed": dg.MetadataValue.bool(manifest.credentialed),
        "wall_s": dg.MetadataValue.float(manifest.wall_s),
    }


def _scores(artifact: Artifact) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """The rows of `scores/<recipe>` with intervals; a locked metric says so in its value's place."""
    if not artifact.manifest.key.startswith("scores/") or artifact.locked:
        return
    from medmax_pipeline.eval.publish import read_scores

    lines = ["| model | task | metric | value | 95 % interval | gain over base | scored |", "| --- " * 7 + "|"]
    for score in read_scores(artifact.folder):
        span = "" if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}"
        value = f"*{score.status}*: {score.reason}" if score.value is None else f"{score.value:.3f}"
        gain = ""
        if score.gain is not None and score.gain_low is not None and score.gain_high is not None:
            gain = f"{score.gain:+.3f} ({score.gain_low:+.3f} to {score.gain_high:+.3f})"
        row = (score.model, score.task, score.metric, value, span, gain, f"{score.n_scored}/{score.n}")
        lines.append(f"| {' | '.join(row)} |")
    yield "scores", dg.MetadataValue.md("\n".join(lines))


def _funnel_table(artifact: Artifact) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """The lines of `funnel`: of every source what came in, each reason, what went on."""
    if artifact.manifest.key != "funnel" or artifact.locked:
        return
    from medmax_pipeline.curation.funnel import read_lines

    lines = ["| source | station | | reason | units | share |", "| --- | --- | --- | --- | ---: | ---: |"]
    for line in read_lines(artifact.folder):
        row = (line.source, line.station, line.what, _cell(line.reason), f"{line.units:,}", f"{line.share:.1%}")
        lines.append(f"| {' | '.join(row)} |")
    yield "all_sources", dg.MetadataValue.md("\n".join(lines))


def _left_out(artifact: Artifact) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """Dropped samples of each reason, as `<source>/curated` chose them; credentialed ones are never among them."""
    if not artifact.manifest.key.endswith("/curated") or artifact.locked:
        return
    from medmax_pipeline.curation.examples import read_examples

    lines = ["| reason | id | kind | says | detail |", "| --- | --- | --- | --- | --- |"]
    for one in read_examples(artifact.folder):
        row = (one.reason, one.sample_id[:8], one.kind, _cell(one.text), _cell(one.detail))
        lines.append(f"| {' | '.join(row)} |")
    yield "left_out", dg.MetadataValue.md("\n".join(lines))


def _cell(text: str) -> str:
    """A text of the data inside a Markdown table, which cannot become markup."""
    return html.escape(text[:TEXT_SHOWN]).replace("|", "\\|").replace("\n", " ")


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
        lines.append(f"| {row['sample_id'][:8]} | {row['kind']} | {row['split']} | {_cell(turns)} |")
    yield "examples", dg.MetadataValue.md("\n".join(lines))


def _originals(artifact: Artifact, landing: Path) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """Some of a source's own pictures, evenly spaced over `images.parquet`, read in place."""
    path = artifact.folder / "images.parquet"
    if not artifact.manifest.key.endswith("/samples") or artifact.locked or artifact.manifest.credentialed:
        return
    from PIL import Image

    from medmax_pipeline.ingest.reader import ImageReader

    sheet = Image.new("RGB", (PICTURES_SHOWN * THUMBNAIL_PX, THUMBNAIL_PX))
    with ImageReader(landing, [path]) as reader:
        ids = sorted(reader)
        for place, image_id in enumerate(ids[:: max(1, len(ids) // PICTURES_SHOWN)][:PICTURES_SHOWN]):
            with Image.open(io.BytesIO(reader.read(image_id))) as opened:
                picture = opened.convert("RGB")
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            sheet.paste(picture, (place * THUMBNAIL_PX, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    yield "pictures", dg.MetadataValue.md(f"![pictures](data:image/jpeg;base64,{data})")


def _pictures(artifact: Artifact) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """Pictures a step left below `log/`, and the first few an evaluation drew."""
    key = artifact.manifest.key
    if (
        artifact.manifest.credentialed
        and not key.startswith("checkpoint/")
        and not key.endswith(("/curated", "leakage"))
    ):
        return  # what curation leaves in log/ shows open samples alone
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
