"""Upstream rows turned into samples whose pictures are image ids.

Rows are read in order, adapted by the source's own rule, and their pictures opened where they lie. A row that cannot
be read, or whose picture is bad, is quarantined with its reason and never mended or given another picture. Which
samples stay is no question here: that belongs to `curation/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from medmax_pipeline.arrow import IMAGE_SCHEMA, left_to_table, samples_to_table
from medmax_pipeline.errors import RowError, StoreError
from medmax_pipeline.files import Json
from medmax_pipeline.ingest.archives import PictureFiles
from medmax_pipeline.ingest.images import Probe
from medmax_pipeline.ingest.landing import Landing
from medmax_pipeline.ingest.pictures import Fault, PictureIndex, Prober
from medmax_pipeline.ingest.tables import TableWriter, of_schema, open_table
from medmax_pipeline.records import Counts, Draft, Drop, ImageRef, Left, Origin, Sample, check_draft, sample_id
from medmax_pipeline.sources.record import Row, Source
from medmax_pipeline.steps import Artifact, Outcome

SAMPLES: Final = "samples.parquet"
IMAGES: Final = "images.parquet"
DROPS: Final = "drops.parquet"
QUARANTINE: Final = "quarantine.parquet"
ROWS_A_BATCH: Final = 1024
"""Rows whose pictures are opened together."""
ROW_UNREADABLE: Final = "row_unreadable"
ROW_UNKNOWN_SHAPE: Final = "row_unknown_shape"
DUPLICATE_ROW: Final = "duplicate_row"
KEY_CONFLICT: Final = "key_conflict"


class Unit(NamedTuple):
    """One thing an adapter made of a row, or why it made nothing."""

    row: Row
    made: Draft | Drop | Fault


def adapt_row(source: Source, row: Row) -> list[Unit]:
    """What the source's rule makes of one row: at least one unit."""
    if row.fault:
        return [Unit(row, Fault(ROW_UNREADABLE, row.fault))]
    try:
        adapted = source.adapt(row.values)
        made = [adapted] if isinstance(adapted, Draft | Drop) else list(adapted)
        if not made:
            raise RowError("the adapter gave nothing; it must give a draft or name the reason of a drop.")
        for item in made:
            if isinstance(item, Draft):
                check_draft(item)
    except RowError as error:
        return [Unit(row, Fault(ROW_UNKNOWN_SHAPE, str(error)))]
    return [Unit(row, item) for item in made]


class _Tables(NamedTuple):
    samples: TableWriter[Sample]
    images: TableWriter[dict[str, Any]]
    drops: TableWriter[Left]
    quarantine: TableWriter[Left]


@contextmanager
def _open_tables(out: Path) -> Iterator[_Tables]:
    with (
        open_table(out / SAMPLES, samples_to_table) as samples,
        open_table(out / IMAGES, of_schema(IMAGE_SCHEMA)) as images,
        open_table(out / DROPS, left_to_table) as drops,
        open_table(out / QUARANTINE, left_to_table) as quarantine,
    ):
        yield _Tables(samples, images, drops, quarantine)


class Intake:
    """Takes units in order, writes each to the one table where it belongs, and counts."""

    def __init__(self, source: Source, digests: Mapping[str, str], tables: _Tables) -> None:
        self._source = source
        self._digests = digests
        self._tables = tables
        self._images: set[str] = set()
        self._keys: dict[str, str] = {}
        self.taken = 0
        self.dropped: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    def take(self, unit: Unit, pictures: Sequence[Probe | Fault], refs: Sequence[ImageRef]) -> None:
        """Write one unit; `pictures` and `refs` are those of its draft, in order."""
        self.taken += 1
        made = unit.made
        if isinstance(made, Drop):
            return self._drop(unit, made)
        if isinstance(made, Fault):
            return self._quarantine(unit, made)
        good = []
        for picture in pictures:
            if isinstance(picture, Fault):
                return self._quarantine(unit, picture)
            good.append(picture)
        return self._place(unit, made, good, refs)

    def _place(self, unit: Unit, draft: Draft, pictures: list[Probe], refs: Sequence[ImageRef]) -> None:
        ids = tuple(picture.image_id for picture in pictures)
        identity = sample_id(self._source.key, draft, ids)
        known = self._keys.get(draft.key)
        if known == identity:
            return self._drop(unit, Drop(DUPLICATE_ROW, f"same as sample {identity}"))
        if known is not None:
            return self._quarantine(unit, Fault(KEY_CONFLICT, f"sample {known} has this key and other content"))
        self._keys[draft.key] = identity
        for picture, ref in zip(pictures, refs, strict=True):
            self._add_image(picture, ref)
        self.kinds[f"{draft.split}/{draft.kind}"] += 1
        return self._tables.samples.add(self._sample(unit.row, draft, identity, ids))

    def _sample(self, row: Row, draft: Draft, identity: str, ids: tuple[str, ...]) -> Sample:
        return Sample(
            sample_id=identity,
            source=self._source.key,
            split=draft.split,
            kind=draft.kind,
            turns=draft.turns,
            images=ids,
            options=draft.options,
            answer=draft.answer,
            answer_type=draft.answer_type,
            modality=draft.modality,
            context=draft.context,
            licence=self._source.licence.name,
            credentialed=self._source.credentialed,
            origin=Origin(row.file, self._digests[row.file], row.number),
            extra=draft.extra,
        )

    def _add_image(self, picture: Probe, ref: ImageRef) -> None:
        if picture.image_id not in self._images:
            self._images.add(picture.image_id)
            place = {"source": self._source.key, "file": ref.file, "member": ref.member}
            self._tables.images.add({**picture._asdict(), **place})

    def _drop(self, unit: Unit, drop: Drop) -> None:
        self.dropped[drop.reason] += 1
        self._tables.drops.add(_left(unit, drop.reason, drop.detail))

    def _quarantine(self, unit: Unit, fault: Fault) -> None:
        self.quarantined[fault.reason] += 1
        self._tables.quarantine.add(_left(unit, fault.reason, fault.detail))

    @property
    def counts(self) -> Counts:
        """Counts in units: a row that became several samples counts as often."""
        return Counts(
            taken=self.taken,
            kept=self._tables.samples.written,
            dropped=dict(sorted(self.dropped.items())),
            quarantined=dict(sorted(self.quarantined.items())),
        )


def _left(unit: Unit, reason: str, detail: str) -> Left:
    name = unit.made.key if isinstance(unit.made, Draft) else f"{unit.row.file}#{unit.row.number}"
    return Left(name, reason, detail, unit.row.file, unit.row.number)


def _digests(key: str, raw: Artifact, files: Landing) -> dict[str, str]:
    """Digest of each file, as raw found them; a folder that holds others by now is refused."""
    before = {entry.path.removeprefix(f"{key}/"): entry for entry in raw.manifest.external}
    now = {file.name: file.bytes for file in files.scan.expected}
    for name in sorted(before.keys() | now.keys()):
        if name not in before or now.get(name) != before[name].bytes:
            raise StoreError(f"{key}/{name}: came, went or grew since raw was made. Let it settle and build again.")
    return {name: entry.sha256 for name, entry in before.items()}


def make_samples(
    source: Source, landing: Path, raw: Artifact, out: Path, work: Path, log: Callable[[str], None]
) -> Outcome:
    """Write samples, images, drops and quarantine of one source.

    Args:
        source: its record.
        landing: root of the landing folders.
        raw: the source's published raw artifact.
        out: folder of the four tables.
        work: folder of the resumable state.
        log: takes a line every some thousand rows.

    Raises:
        ArchiveError: a table or an archive cannot be read on.
        StoreError: files changed since raw was made.
    """
    folder = landing / source.key
    files = Landing(folder, source.files)
    digests = _digests(source.key, raw, files)
    index = PictureIndex(raw.folder)
    rows_read = 0
    with _open_tables(out) as tables, PictureFiles(folder) as pictures:
        intake = Intake(source, digests, tables)
        prober = Prober(pictures, digests, work)
        rows = source.rows(files)
        while batch := list(islice(rows, ROWS_A_BATCH)):
            rows_read += len(batch)
            _take_batch([unit for row in batch for unit in adapt_row(source, row)], index, prober, intake)
            log(f"{source.key}: {rows_read} rows, {tables.samples.written} samples")
        places = [name for item in source.files if item.pictures for name in files.files(item.path)]
        summary: dict[str, Json] = {
            "rows": rows_read,
            "images": tables.images.written,
            "pictures_unused": index.count(places) - prober.used,
            **{f"kept {kind}": number for kind, number in sorted(intake.kinds.items())},
        }
    kept = tables.samples.written
    return Outcome(
        counts=intake.counts,
        licences=(source.licence.name,) if kept else (),
        credentialed=source.credentialed and kept > 0,
        summary=summary,
    )


def _take_batch(units: list[Unit], index: PictureIndex, prober: Prober, intake: Intake) -> None:
    """Open the pictures of some units together, then take the units in order."""
    resolved: dict[ImageRef, ImageRef | Fault] = {
        ref: index.resolve(ref) for unit in units if isinstance(unit.made, Draft) for ref in unit.made.images
    }
    found = prober.describe(ref for ref in resolved.values() if isinstance(ref, ImageRef))
    for unit in units:
        named = unit.made.images if isinstance(unit.made, Draft) else ()
        places = [resolved[ref] for ref in named]
        pictures = [place if isinstance(place, Fault) else found[place] for place in places]
        intake.take(unit, pictures, [place for place in places if isinstance(place, ImageRef)])
