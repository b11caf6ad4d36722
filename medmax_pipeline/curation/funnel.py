"""The funnel over all sources: rows in, each reason, samples out, as one table, with examples of what was left out.

Counts are those of the published manifests, and nothing is decided here. A row of the publisher becomes samples at
`<source>/samples` and meets the decisions at `<source>/curated`; a source for evaluation alone has the first station
only. Examples of credentialed rows are not taken: neither their words, nor their pictures, nor the detail of why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.curation.columns import IMAGES
from medmax_pipeline.curation.examples import SHOWN, read_examples, shortened, small_copy
from medmax_pipeline.curation.split import EVALUATION_ROW
from medmax_pipeline.files import open_atomic, write_json, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.records import Counts
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.steps import Artifact, Outcome, Run

LINES: Final = "funnel.parquet"
EXAMPLES: Final = "examples.parquet"
PICTURES: Final = "pictures"
STATIONS: Final = ("samples", "curated")
What = Literal["in", "dropped", "quarantined", "out", "locked"]
LINE_SCHEMA: Final = pa.schema(
    [
        ("source", pa.string()),
        ("station", pa.string()),
        ("what", pa.string()),
        ("reason", pa.string()),
        ("units", pa.int64()),
        ("share", pa.float64()),
    ]
)
EXAMPLE_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("source", "station", "reason", "unit", "text", "detail", "picture")]
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the funnel: so many units of a station came in, went for a reason, or went on."""

    source: str
    station: str
    what: What
    reason: str
    """Of a drop, a quarantine or a lock; else empty."""
    units: int
    share: float
    """Of what came in, 0 to 1."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was left out, as a page shows it."""

    source: str
    station: str
    reason: str
    unit: str
    """Natural key of the row, or sample id."""
    text: str
    """What the sample says; empty for a row that never became one."""
    detail: str
    picture: str
    """File of a small copy below `pictures/`; empty where there is none."""


def lines_of(source: str, station: str, artifact: Artifact) -> list[Line]:
    """A station's lines: in, each reason, out; or that it is locked."""
    manifest = artifact.manifest
    if manifest.lock is not None:
        return [Line(source, station, "locked", manifest.lock.reason, 0, 0.0)]
    counts = manifest.counts

    def line(what: What, reason: str, units: int) -> Line:
        return Line(source, station, what, reason, units, units / counts.taken if counts.taken else 0.0)

    return [
        line("in", "", counts.taken),
        *(line("dropped", reason, units) for reason, units in sorted(counts.dropped.items())),
        *(line("quarantined", reason, units) for reason, units in sorted(counts.quarantined.items())),
        line("out", "", counts.kept),
    ]


def total(stations: Mapping[str, Mapping[str, Artifact]]) -> Counts:
    """All sources as one funnel, from rows to training samples; what is for evaluation alone goes for that reason."""
    taken = kept = 0
    dropped: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    for source, found in stations.items():
        if source not in SOURCES:  # the interleaved set is written about samples that are counted already
            continue
        samples = found["samples"].manifest.counts
        taken += samples.taken
        dropped.update(samples.dropped)
        quarantined.update(samples.quarantined)
        curated = found.get("curated")
        if curated is None:
            dropped[EVALUATION_ROW] += samples.kept
        else:
            kept += curated.manifest.counts.kept
            dropped.update(curated.manifest.counts.dropped)
            quarantined.update(curated.manifest.counts.quarantined)
    reasons = {reason: units for reason, units in sorted(dropped.items()) if units}
    return Counts(taken, kept, reasons, dict(sorted(quarantined.items())))


def make_funnel(ctx: Run, sources: Sequence[str]) -> Outcome:
    """Write the table, the examples and small copies of their pictures.

    Args:
        ctx: holds `<source>/samples` and, where there is training, `<source>/curated`.
        sources: those of the build, and the interleaved set.
    """
    stations = {
        source: {name: ctx.inputs[f"{source}/{name}"] for name in STATIONS if f"{source}/{name}" in ctx.inputs}
        for source in sources
    }
    lines = [
        line
        for source, found in stations.items()
        for station, artifact in found.items()
        for line in lines_of(source, station, artifact)
    ]
    shown = [one for source, found in stations.items() for one in _examples(ctx, source, found)]
    write_table(ctx.out / LINES, pa.Table.from_pylist([asdict(line) for line in lines], schema=LINE_SCHEMA))
    write_json(ctx.out / "funnel.json", [asdict(line) for line in lines])
    write_table(ctx.out / EXAMPLES, pa.Table.from_pylist([asdict(one) for one in shown], schema=EXAMPLE_SCHEMA))
    locked = [source for source, found in stations.items() if found["samples"].locked]
    return Outcome(
        counts=total(stations),
        credentialed=False,
        summary={"sources": len(stations) - len(locked), "locked": [*locked], "examples": len(shown)},
    )


def _examples(ctx: Run, source: str, found: Mapping[str, Artifact]) -> Iterator[LeftOut]:
    samples, curated = found["samples"], found.get("curated")
    if samples.locked:
        return
    if not samples.manifest.credentialed:
        yield from _rows_left_out(source, samples)
    if curated is None or curated.locked:
        return
    dropped = read_examples(curated.folder)
    if not dropped:
        return
    with ImageReader(ctx.landing, [samples.folder / IMAGES]) as reader:
        for one in dropped:
            name = _keep_copy(ctx.out / PICTURES, reader, one.image_id)
            yield LeftOut(source, "curated", one.reason, one.sample_id, one.text, one.detail, name)


def _rows_left_out(source: str, samples: Artifact) -> Iterator[LeftOut]:
    """The first rows of each reason that never became samples."""
    for name, counted in (
        ("drops", samples.manifest.counts.dropped),
        ("quarantine", samples.manifest.counts.quarantined),
    ):
        missing = {reason: min(SHOWN, units) for reason, units in counted.items()}
        path = samples.folder / f"{name}.parquet"
        if not missing or not path.exists():
            continue
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(4096):
                for row in batch.to_pylist():
                    if missing.get(row["reason"], 0) > 0:
                        missing[row["reason"]] -= 1
                        detail = shortened(row["detail"])
                        yield LeftOut(source, "samples", row["reason"], shortened(row["unit"]), "", detail, "")
                if not any(missing.values()):
                    break


def _keep_copy(folder: Path, reader: ImageReader, image_id: str) -> str:
    """Name of the small copy of a picture, written once; empty where it is not here any more."""
    copy = small_copy(reader, image_id) if image_id else None
    if copy is None:
        return ""
    name = f"{image_id}.jpg"
    if not (folder / name).exists():
        with open_atomic(folder / name) as handle:
            copy.save(handle, "JPEG", quality=85)
    return name


def read_lines(folder: Path) -> list[Line]:
    """The table that a funnel published."""
    return [Line(**row) for row in pq.read_table(folder / LINES).to_pylist()]


def read_left_out(folder: Path) -> list[LeftOut]:
    """The examples that a funnel published."""
    return [LeftOut(**row) for row in pq.read_table(folder / EXAMPLES).to_pylist()]
