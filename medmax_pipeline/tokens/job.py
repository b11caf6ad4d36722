"""What an encoding process is asked to do: the job's file, and the plan of chunks that it is worked through by.

The plan is written before anything is encoded and stays as it is until the job's pictures change: chunks of pictures
in the order of their archives, open and credentialed ones apart. A chunk needs no other one and can be given to any
machine that sees the same folders; its report says that it is done, and which of its pictures could not be encoded.
Encoding a chunk is `encode.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import digest_of, read_json, remove_tree, sha256_file, write_json, write_table
from medmax_pipeline.strict import read_record
from medmax_pipeline.tokens.store import CodeStore

PLAN = "plan.parquet"
REPORTS = "chunks"
"""Folder of one report a chunk."""

Failures = dict[str, list[str]]
"""Reason and detail by image id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One encoding job as its JSON file says it. Paths are absolute."""

    tokenizer: str
    """Folder of the image tokenizer."""
    codes: str
    """Folder of the code store."""
    landing: str
    pictures: str
    """Parquet of image_id, source, credentialed: what is wanted."""
    images: tuple[str, ...]
    """images.parquet files that say where the bytes are."""
    results: str
    """Folder for the plan, the chunks' reports, failures.json, summary.json and reconstruction.png."""
    batch: int = 0
    """B; part of no result. 0: 8 on a CPU, 32 on a GPU."""
    part: int = 2048
    """Pictures of a chunk, which is published as one part."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: every CUDA device there is, else the CPU."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture to encode."""

    image_id: str
    source: str
    credentialed: bool


PICTURE_SCHEMA = pa.schema([("image_id", pa.string()), ("source", pa.string()), ("credentialed", pa.bool_())])
PLAN_SCHEMA = PICTURE_SCHEMA.append(pa.field("chunk", pa.int32()))


class Reader(Protocol):
    """Where bytes come from: `ingest.reader.ImageReader`."""

    def read(self, image_id: str) -> bytes:
        """The bytes of a picture's file."""
        ...

    def sequential(self, image_id: str) -> bool:
        """Whether it is cheap to read in the order of iteration only."""
        ...

    def __iter__(self) -> Iterator[str]:
        """Every image id, in the order in which reading is cheapest."""
        ...


class Chunk(NamedTuple):
    """A unit of work: pictures that are all open or all credentialed."""

    number: int
    image_ids: tuple[str, ...]
    credentialed: bool


class Report(NamedTuple):
    """What became of a chunk."""

    encoded: int
    """Pictures that this chunk gave codes to; not those that had some when it began."""
    failures: Failures


def read_job(path: Path) -> Job:
    """A job file, checked.

    Raises:
        ConfigError: keys or types are not a job's.
        StoreError: it is no JSON.
    """
    return read_record(Job, read_json(path), path.name)


def job_json(job: Job) -> dict[str, Any]:
    """The job as `read_job` reads it."""
    return asdict(job) | {"images": list(job.images)}


class Plan:
    """The chunks of a job."""

    def __init__(self, job: Job, table: pa.Table) -> None:
        self._results = Path(job.results)
        self._table = table
        numbers = table["chunk"].to_numpy()
        self._starts = np.flatnonzero(np.diff(numbers, prepend=-1)) if len(numbers) else numbers

    def __len__(self) -> int:
        return len(self._starts)

    def chunk(self, number: int) -> Chunk:
        """One chunk.

        Raises:
            ConfigError: the plan has none of this number.
        """
        if not 0 <= number < len(self):
            raise ConfigError(f"chunk {number}: the plan has {len(self)}, from 0 on.")
        end = self._starts[number + 1] if number + 1 < len(self) else len(self._table)
        rows = self._table.slice(self._starts[number], end - self._starts[number])
        return Chunk(number, tuple(rows["image_id"].to_pylist()), rows["credentialed"][0].as_py())

    def by_source(self) -> Mapping[str, list[str]]:
        """Image ids of each source, sorted."""
        found: dict[str, list[str]] = {}
        table = self._table.select(["source", "image_id"]).sort_by("image_id")
        for source, image_id in zip(table["source"].to_pylist(), table["image_id"].to_pylist(), strict=True):
            found.setdefault(source, []).append(image_id)
        return found

    def report(self, number: int) -> Report | None:
        """What became of a chunk, or None where it was not finished."""
        path = self._path(number)
        if not path.exists():
            return None
        found = read_json(path)
        return Report(found["encoded"], found["failures"])

    def write_report(self, number: int, report: Report) -> None:
        """Note that a chunk is done: its codes are in the store."""
        write_json(self._path(number), report._asdict())

    def open_chunks(self, store: CodeStore) -> list[int]:
        """Numbers of chunks that are not done: without a report, or the store has lost what it reports."""
        found = []
        for number in range(len(self)):
            report = self.report(number)
            if report is None or set(store.missing(self.chunk(number).image_ids)) - set(report.failures):
                found.append(number)
        return found

    def _path(self, number: int) -> Path:
        return self._results / REPORTS / f"{number:06d}.json"


def plan_of(job: Job, store: CodeStore, reader: Reader) -> Plan:
    """The job's plan as it was written; where there is none, or one of other pictures, what the store lacks, cut anew.

    Any number of processes may ask at once only when the plan is there.
    """
    path = Path(job.results) / PLAN
    key = digest_of([sha256_file(Path(job.pictures)), list(job.images), job.codes, job.part]).encode()
    if path.exists():
        table = pq.read_table(path)
        if (table.schema.metadata or {}).get(b"job") == key:
            return Plan(job, table)
    remove_tree(Path(job.results) / REPORTS)
    table = _cut(job, store, reader).replace_schema_metadata({b"job": key})
    write_table(path, table)
    return Plan(job, table)


def _cut(job: Job, store: CodeStore, reader: Reader) -> pa.Table:
    """Wanted pictures without codes in archive order, those whose place nobody knows last; open before credentialed."""
    wanted = pq.read_table(job.pictures, schema=PICTURE_SCHEMA)
    image_ids = wanted["image_id"].to_pylist()
    rows = {image_id: row for row, image_id in enumerate(image_ids)}
    absent = set(store.missing(image_ids))
    places = [rows[image_id] for image_id in reader if image_id in absent] if absent else []
    places += [rows[image_id] for image_id in sorted(absent - {image_ids[row] for row in places})]
    table = wanted.take(pa.array(places, pa.int64()))
    secret = table["credentialed"].to_numpy()
    shares = [table.take(np.flatnonzero(secret == which)) for which in (False, True)]
    chunks: list[int] = []
    for share in shares:
        first = chunks[-1] + 1 if chunks else 0
        chunks += [first + row // job.part for row in range(len(share))]
    return pa.concat_tables(shares).append_column(PLAN_SCHEMA.field("chunk"), pa.array(chunks, pa.int32()))
