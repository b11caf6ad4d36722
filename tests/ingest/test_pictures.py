"""Pictures opened once, in the order of their archives, and remembered in little room."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest import pictures
from medmax_pipeline.ingest.described import CHUNKS, Described
from medmax_pipeline.ingest.images import Probe, probe
from medmax_pipeline.ingest.index import Fault, Index
from medmax_pipeline.ingest.pictures import Prober
from medmax_pipeline.ingest.places import Files, Place
from medmax_pipeline.ingest.progress import Progress
from medmax_pipeline.ingest.steps import raw_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import ImageRef
from medmax_pipeline.sources import source
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, picture

PICTURES = {f"PMC{number}_Fig1_1.jpg": picture(number, "JPEG") for number in range(40)} | {"PMC99_x.jpg": b"no picture"}


class Watched(Files):
    """Notes which places are read, in which order and by whom."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, None)
        self.seen: list[tuple[int, int]] = []

    def read(self, place: Place, limit: int) -> bytes:
        self.seen.append((place.offset, threading.get_ident()))
        return super().read(place, limit)


class InOrder(Watched):
    """As if nothing could be read but in order."""

    @staticmethod
    def sequential(place: Place) -> bool:
        return True


@contextmanager
def opened(folder: Path, key: str, kind: type[Watched] = Watched) -> Iterator[tuple[Index, Watched]]:
    """The index and files of one source, laid out in `folder`."""
    ledger = Ledger(folder / "store", "test", folder)
    raw, _ = ledger.execute(raw_step(source(key), corpus=False))
    files = kind(folder / key)
    with files:
        yield Index(raw.folder), files


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    lay_pmc_oa(tmp_path, [], PICTURES)
    (tmp_path / "work").mkdir()
    return tmp_path


def numbers_of(index: Index) -> dict[str, int]:
    found = {name: index.find(ImageRef("", name)) for name in PICTURES}
    return {name: number for name, number in found.items() if isinstance(number, int)}


def wanted(index: Index) -> Described:
    return Described(np.array(sorted(numbers_of(index).values()), np.int64))


def quiet(line: str) -> None:
    """Takes a line and drops it."""


def complete(index: Index, files: Files, described: Described, work: Path) -> int:
    return Prober(index, files, {}).complete(described, work, "pmc_oa", quiet)


def test_each_picture_is_described_or_has_its_fault(archive: Path) -> None:
    with opened(archive, "pmc_oa") as (index, files):
        described = wanted(index)
        assert complete(index, files, described, archive / "work") == len(PICTURES)
        for name, number in numbers_of(index).items():
            if name == "PMC99_x.jpg":
                fault = described[number]
                assert isinstance(fault, Fault)
                assert fault.reason == "image_not_an_image"
            else:
                assert described[number] == probe(PICTURES[name])


def test_pictures_that_must_be_read_in_order_are_read_by_one_thread_in_order(archive: Path) -> None:
    with opened(archive, "pmc_oa", InOrder) as (index, files):
        complete(index, files, wanted(index), archive / "work")
    offsets = [offset for offset, _ in files.seen]
    assert offsets == sorted(offsets)
    assert {thread for _, thread in files.seen} == {threading.get_ident()}


def test_other_pictures_are_read_by_the_pool(archive: Path) -> None:
    with opened(archive, "pmc_oa") as (index, files):
        complete(index, files, wanted(index), archive / "work")
    assert threading.get_ident() not in {thread for _, thread in files.seen}


def test_what_was_kept_before_a_kill_is_not_opened_again(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "CHUNK_PICTURES", 1)
    monkeypatch.setattr(pictures, "TASK_PICTURES", 10)
    with opened(archive, "pmc_oa") as (index, files):
        whole = wanted(index)
        complete(index, files, whole, archive / "work")
        chunks = sorted((archive / "work").glob(CHUNKS))
        assert len(chunks) == 5
        chunks[1].unlink()
        chunks[3].write_bytes(chunks[3].read_bytes()[:200])
        files.seen.clear()
        again = wanted(index)
        assert again.recall(archive / "work") == 21
        assert not chunks[3].exists()
        assert complete(index, files, again, archive / "work") == 20 == len(files.seen)
        assert [again[number] for number in again.numbers] == [whole[number] for number in whole.numbers]


def test_nothing_is_left_under_way_when_a_picture_stops_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "TASK_PICTURES", 1)
    lay_vqa_rad(tmp_path, [], {f"{number}.jpg": picture(number, "JPEG") for number in range(60)})
    with opened(tmp_path, "vqa_rad") as (index, files):
        described = Described(np.arange(len(index), dtype=np.int64))
        before = threading.active_count()
        with pytest.raises(StoreError, match="changed while it was being read"):
            Prober(index, files, {}).complete(described, tmp_path, "vqa_rad", quiet)
        assert threading.active_count() == before


@pytest.mark.parametrize("numbers", [[], [3, 5], [8]])
def test_a_chunk_of_pictures_that_nobody_asked_for_is_thrown_away(tmp_path: Path, numbers: list[int]) -> None:
    before = Described(np.array([1, 7], np.int64))
    before.keep(tmp_path, [(1, probe(picture(1))), (7, Fault("image_missing", "gone"))])
    after = Described(np.array(numbers, np.int64))
    assert after.recall(tmp_path) == 0
    assert list(tmp_path.glob(CHUNKS)) == []
    assert after.missing().tolist() == numbers


def test_a_picture_that_nobody_named_before_is_refused() -> None:
    with pytest.raises(StoreError, match="the rows changed"):
        Described(np.array([3, 5], np.int64))[4]


def test_equal_bytes_at_two_places_are_given_once() -> None:
    one, other = probe(picture(1)), probe(picture(2))
    described = Described(np.array([2, 4, 7], np.int64))
    described.put([(2, one), (4, other), (7, one)])
    assert [described.give(number) for number in (7, 2, 4, 7)] == [True, False, True, False]


def test_a_million_pictures_fit_into_a_fifth_of_a_gigabyte() -> None:
    described = Described(np.arange(1_000_000, dtype=np.int64))
    arrays = [value for value in vars(described).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) < 130_000_000


def test_what_is_remembered_is_what_was_found() -> None:
    zeros = Probe(sha256_bytes(b"x")[:62] + "00", 1, "JPEG", "I;16B", 3, 2, True, "00" * 31 + "10", "80" + "0" * 14)
    described = Described(np.array([1], np.int64))
    described.put([(1, zeros)])
    assert described[1] == zeros


def test_progress_is_told_in_lines_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("medmax_pipeline.ingest.progress.time.monotonic", lambda: now[0])
    lines: list[str] = []
    told = Progress("pmc_oa: opening", "pictures", lines.append, 4000)
    for _ in range(3):
        now[0] += 4.0
        told.add(500)
    told.add(1)
    told.end()
    assert lines == [
        "pmc_oa: opening: [#######.............] 1,500 of 4,000 pictures, 125.0/s, 20 s left",
        "pmc_oa: opening: 1,501 pictures in 12.0 s, 125.1/s",
    ]
