"""Upstream rows turned into samples whose pictures are image ids, in three passes.

First the rows are streamed and adapted by the source's own rule, and the places of the pictures they name are marked.
Then each marked picture is opened, once, in the order of the archives (`pictures.py`). Then the rows are streamed
again, and each unit is written to the table where it belongs (`intake.py`). So memory holds a line a picture and two
short digests a sample, however many rows there are. A row that cannot be read, or whose picture is bad, is
quarantined with its reason and never mended or given another picture. Which samples stay belongs to `curation/`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import RowError, StoreError
from medmax_pipeline.files import Json, open_atomic
from medmax_pipeline.ingest.carried import carry_over, files_of
from medmax_pipeline.ingest.described import Described
from medmax_pipeline.ingest.gz import seek_file
from medmax_pipeline.ingest.index import Fault, Index
from medmax_pipeline.ingest.intake import Intake, Unit, open_tables
from medmax_pipeline.ingest.landing import scan
from medmax_pipeline.ingest.opened import SourceFiles
from medmax_pipeline.ingest.pictures import Prober
from medmax_pipeline.ingest.places import SEEK, Files
from medmax_pipeline.ingest.progress import Progress
from medmax_pipeline.records import Draft, Drop, check_draft
from medmax_pipeline.sources.record import Row, RowFiles, Source
from medmax_pipeline.steps import Artifact, Outcome, Run

ROW_UNREADABLE: Final = "row_unreadable"
ROW_UNKNOWN_SHAPE: Final = "row_unknown_shape"


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


class Reading:
    """One pass over a source's rows: its units, each with the places of its pictures."""

    def __init__(self, source: Source, files: RowFiles, index: Index, progress: Progress) -> None:
        """Args:
        source: the source's record.
        files: its opened files.
        index: where its pictures lie.
        progress: is told each row.
        """
        self._source = source
        self._files = files
        self._index = index
        self._progress = progress
        self._digest = hashlib.blake2b(digest_size=16)

    def __iter__(self) -> Iterator[tuple[Unit, list[int | Fault]]]:
        for row in self._source.rows(self._files):
            for unit in adapt_row(self._source, row):
                named = unit.made.images if isinstance(unit.made, Draft) else ()
                places = [self._index.find(ref) for ref in named]
                what = unit.made.key if isinstance(unit.made, Draft) else unit.made.reason
                self._digest.update(repr((row.file, row.number, what, places)).encode(errors="surrogatepass"))
                yield unit, places
            self._progress.add()
        self._progress.end()

    @property
    def mark(self) -> str:
        """Equal for passes that gave the same rows."""
        return self._digest.hexdigest()

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._progress.done


def make_samples(source: Source, run: Run, code_version: str, hold_out: float = 0.0) -> Outcome:
    """Write samples, images, drops and quarantine of one source.

    Args:
        source: its record.
        run: holds the source's published raw artifact, and what was published of the samples so far.
        code_version: of this step; pictures are taken over only from what the same version published.
        hold_out: share of the images whose rows become evaluation rows, for a source without a split.

    Raises:
        ArchiveError: a table or an archive cannot be read on.
        StoreError: files changed since raw was made, or while they were read.
    """
    raw = run.inputs[f"{source.key}/raw"]
    folder = run.landing / source.folder
    digests = _digests(source, raw, folder)
    index = Index(raw.folder)
    with Files(folder, raw.folder / SEEK) as files:
        rows = SourceFiles(index, files)
        first = Reading(source, rows, index, Progress(f"{source.key}: looking through", "rows", run.log))
        described = Described(np.flatnonzero(_named(first, len(index))).astype(np.int64))
        _describe(described, source.key, raw, digests, index, files, run, code_version)
        second = Reading(source, rows, index, Progress(f"{source.key}: writing", "rows", run.log))
        with open_tables(run.out) as tables:
            intake = Intake(source, digests, index, described, tables, hold_out)
            for unit, places in second:
                intake.take(unit, places)
            if second.mark != first.mark:
                raise StoreError(f"{source.key}: reading the rows twice gave other rows. Let the files settle.")
            images = tables.images.written
    for file in sorted(intake.unpacked):
        _copy(seek_file(raw.folder / SEEK, file), seek_file(run.out / SEEK, file))
    summary: dict[str, Json] = {
        "rows": second.rows,
        "images": images,
        "pictures_unused": index.pictures - len(described.numbers),
        **{f"kept {kind}": number for kind, number in sorted(intake.kinds.items())},
    }
    return Outcome(
        counts=intake.counts,
        licences=tuple(sorted(intake.licences)),
        credentialed=intake.credentialed,
        summary=summary,
    )


def _digests(source: Source, raw: Artifact, folder: Path) -> dict[str, str]:
    """Digest of each file, as raw found them; a folder that holds others by now is refused."""
    before = files_of(raw.folder)
    now = {file.name: file.bytes for file in scan(folder, source.files).expected}
    for name in sorted(before.keys() | now.keys()):
        if name not in before or now.get(name) != before[name].bytes:
            where = f"{source.folder}/{name}"
            raise StoreError(f"{where}: came, went or grew since raw was made. Let it settle and build again.")
    return {name: file.sha256 for name, file in before.items()}


def _named(reading: Reading, places: int) -> npt.NDArray[np.bool_]:
    """Whether any unit names the picture at each place."""
    named = np.zeros(places, np.bool_)
    for _, found in reading:
        for place in found:
            if not isinstance(place, Fault):
                named[place] = True
    return named


def _describe(
    described: Described,
    key: str,
    raw: Artifact,
    digests: dict[str, str],
    index: Index,
    files: Files,
    run: Run,
    code_version: str,
) -> None:
    """Learn what all named pictures hold: from a killed run of this step, from what is published, by opening."""
    recalled = described.recall(run.work)
    carried = 0
    if run.previous is not None:
        carried = carry_over(run.previous, code_version, run.store, raw, described, index)
    opened = Prober(index, files, digests).complete(described, run.work, f"{key}: opening", run.log)
    told = f"{key}: {len(described.numbers):,} pictures are named, {opened:,} of them were opened now"
    told += f", {recalled:,} before the step was cut off" if recalled else ""
    run.log(told + (f", {carried:,} for the published version" if carried else ""))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, open_atomic(target) as write:
        shutil.copyfileobj(read, write)
