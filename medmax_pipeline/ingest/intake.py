"""Each unit that an adapter made goes to the one table where it belongs, and is counted there.

Kept, dropped by reason, quarantined by reason: nothing else can become of it. Where units come from is `samples.py`,
what their pictures hold `described.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from medmax_pipeline.arrow import IMAGE_SCHEMA, left_to_table, samples_to_table
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.described import Described
from medmax_pipeline.ingest.images import Probe
from medmax_pipeline.ingest.index import Fault, Index
from medmax_pipeline.ingest.tables import TableWriter, of_schema, open_table
from medmax_pipeline.records import Counts, Draft, Drop, Left, Origin, Sample, sample_id
from medmax_pipeline.sources.record import Row, Source
from medmax_pipeline.sources.splits import held_out

SAMPLES: Final = "samples.parquet"
IMAGES: Final = "images.parquet"
DROPS: Final = "drops.parquet"
QUARANTINE: Final = "quarantine.parquet"
DUPLICATE_ROW: Final = "duplicate_row"
KEY_CONFLICT: Final = "key_conflict"
KEY_BYTES: Final = 16
"""Of a natural key's sha256: a million keys fit into 200 MB, and two of them never meet."""


class Unit(NamedTuple):
    """One thing an adapter made of a row, or why it made nothing."""

    row: Row
    made: Draft | Drop | Fault


class Tables(NamedTuple):
    """The four tables of a source's samples, open for appending."""

    samples: TableWriter[Sample]
    images: TableWriter[dict[str, Any]]
    drops: TableWriter[Left]
    quarantine: TableWriter[Left]


@contextmanager
def open_tables(out: Path) -> Iterator[Tables]:
    """Open the four tables in `out`; they appear when the block ends without an error, else not at all."""
    with (
        open_table(out / SAMPLES, samples_to_table) as samples,
        open_table(out / IMAGES, of_schema(IMAGE_SCHEMA)) as images,
        open_table(out / DROPS, left_to_table) as drops,
        open_table(out / QUARANTINE, left_to_table) as quarantine,
    ):
        yield Tables(samples, images, drops, quarantine)


class Intake:
    """Takes units in order, writes each to its table, and counts."""

    def __init__(
        self,
        source: Source,
        digests: Mapping[str, str],
        index: Index,
        described: Described,
        tables: Tables,
        hold_out: float = 0.0,
    ) -> None:
        """Args:
        source: the source's record.
        digests: sha256 of each file of the landing folder.
        index: where pictures lie.
        described: what they hold, for all that any unit names.
        tables: take what comes.
        hold_out: share of the images whose rows become evaluation rows, for a source without a split.
        """
        self._source = source
        self._digests = digests
        self._index = index
        self._described = described
        self._tables = tables
        self._hold_out = hold_out
        self._keys: dict[bytes, bytes] = {}
        self.taken = 0
        self.dropped: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.licences: set[str] = set()
        self.credentialed = False
        self.unpacked: set[str] = set()
        """Gzipped tars that hold a picture of a sample."""

    def take(self, unit: Unit, places: Sequence[int | Fault]) -> None:
        """Write one unit; `places` are those of its pictures, in order, or why there is none."""
        self.taken += 1
        made = unit.made
        if isinstance(made, Drop):
            return self._drop(unit, made)
        if isinstance(made, Fault):
            return self._quarantine(unit, made)
        good: list[tuple[int, Probe]] = []
        for place in places:
            picture = place if isinstance(place, Fault) else self._described[place]
            if isinstance(picture, Fault):
                return self._quarantine(unit, picture)
            assert not isinstance(place, Fault)
            good.append((place, picture))
        return self._place(unit, made, good)

    def _place(self, unit: Unit, draft: Draft, pictures: Sequence[tuple[int, Probe]]) -> None:
        ids = tuple(picture.image_id for _, picture in pictures)
        if self._hold_out and ids and held_out(self._source.key, ids[0], self._hold_out):
            draft = replace(draft, split="eval")
        identity = sample_id(self._source.key, draft, ids)
        key = bytes.fromhex(sha256_bytes(draft.key.encode()))[:KEY_BYTES]
        known = self._keys.setdefault(key, mine := bytes.fromhex(identity))
        if known == mine and known is not mine:
            return self._drop(unit, Drop(DUPLICATE_ROW, f"same as sample {identity}"))
        if known != mine:
            return self._quarantine(unit, Fault(KEY_CONFLICT, f"sample {known.hex()} has this key and other content"))
        for number, picture in pictures:
            self._add_image(number, picture)
        self.kinds[f"{draft.split}/{draft.kind}"] += 1
        sample = self._sample(unit.row, draft, identity, ids)
        self.licences.add(sample.licence)
        self.credentialed |= sample.credentialed
        return self._tables.samples.add(sample)

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
            credentialed=self._source.credentialed or draft.credentialed,
            origin=Origin(row.file, self._digests[row.file.partition("::")[0]], row.number),
            extra=draft.extra,
        )

    def _add_image(self, number: int, picture: Probe) -> None:
        if self._described.give(number):
            place = self._index.place(number)
            if place.kind == "gz":
                self.unpacked.add(place.file)
            where = {"source": self._source.key, "folder": self._source.folder}
            self._tables.images.add({**place._asdict(), **picture._asdict(), **where})

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
