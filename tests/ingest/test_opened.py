"""The files of a source opened for reading rows, loose and in archives."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.files import write_bytes, write_table
from medmax_pipeline.ingest import opened
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.opened import SourceFiles
from medmax_pipeline.ingest.places import SEEK, Files
from medmax_pipeline.ingest.steps import raw_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import ImageRef
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Access, ExpectedFile, RowFiles
from tests.ingest.landings import write_zip

ARRAY = json.dumps([{"a": 1}, {"a": 2}]).encode()
LINES = b'{"a": 1}\n{"a": 2}\n'
LISTS = json.dumps({"k": [{"a": 1}, {"a": 2}]}).encode()
TABLE = b"a\n1\n2\n"


def tarred(members: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def lay(landing: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        write_bytes(landing / "vqa_rad" / name, data)


@contextmanager
def reading(tmp_path: Path) -> Iterator[SourceFiles]:
    """Raw of whatever lies in the landing folder, opened."""
    manual = Access("manual", "https://example.org", "Place the files.")
    record = replace(source("vqa_rad"), access=manual, files=(ExpectedFile("**", "any file"),))
    landing = tmp_path / "landing"
    raw, _ = Ledger(tmp_path / "store", "test", landing).execute(raw_step(record, corpus=False))
    with Files(landing / "vqa_rad", raw.folder / SEEK) as files:
        yield SourceFiles(Index(raw.folder), files)


def first_column(files: SourceFiles) -> dict[str, list[object]]:
    """What each of the four text readers gives of the files called a.json, a.jsonl, lists.json and a.csv."""
    (array,), (lines,), (lists,), (table,) = map(files.names, ("a.json", "a.jsonl", "lists.json", "a.csv"))
    return {
        array: [row.values["a"] for row in files.json_array(array)],
        lines: [row.values["a"] for row in files.jsonl(lines)],
        lists: [(keys, row.values["a"]) for keys, row in files.json_lists(lists)],
        table: [row.values["a"] for row in files.csv(table)],
    }


MEMBERS = {"d/a.json": ARRAY, "d/a.jsonl": LINES, "d/lists.json": LISTS, "d/a.csv": TABLE}


@pytest.mark.parametrize(
    ("archive", "pack"),
    [
        ("", None),
        ("all.tar::", lambda members: tarred(members, "w")),
        ("all.tar.gz::", lambda members: tarred(members, "w:gz")),
    ],
    ids=["loose", "tar", "tar.gz"],
)
def test_rows_read_alike_loose_and_in_archives(
    tmp_path: Path, archive: str, pack: Callable[[dict[str, bytes]], bytes] | None
) -> None:
    lay(tmp_path / "landing", {archive.removesuffix("::"): pack(MEMBERS)} if pack else MEMBERS)
    with reading(tmp_path) as files:
        assert first_column(files) == {
            f"{archive}d/a.json": [1, 2],
            f"{archive}d/a.jsonl": [1, 2],
            f"{archive}d/lists.json": [(("k",), 1), (("k",), 2)],
            f"{archive}d/a.csv": ["1", "2"],
        }


def test_rows_of_a_zip_are_read_in_place(tmp_path: Path) -> None:
    write_zip(tmp_path / "landing" / "vqa_rad" / "all.zip", MEMBERS)
    with reading(tmp_path) as files:
        assert first_column(files)["all.zip::d/a.json"] == [1, 2]
        (row, _) = files.jsonl("all.zip::d/a.jsonl")
        assert row.file == "all.zip::d/a.jsonl"


def test_a_gzipped_table_and_a_parquet_table_are_rows(tmp_path: Path) -> None:
    pictures = pa.array(
        [{"bytes": b"x", "path": None}, None], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    lay(tmp_path / "landing", {"a.csv.gz": gzip.compress(TABLE)})
    write_table(tmp_path / "landing" / "vqa_rad" / "t.parquet", pa.table({"image": pictures}))
    with reading(tmp_path) as files:
        assert [row.values["a"] for row in files.csv("a.csv.gz")] == ["1", "2"]
        assert [row.values["image"] for row in files.parquet("t.parquet")] == [ImageRef("t.parquet", "image/0"), None]


def test_a_torn_member_names_archive_and_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "landing" / "vqa_rad" / "all.zip", {"a.jsonl": LINES * 50})
    with reading(tmp_path) as files:
        data = bytearray(path.read_bytes())
        data[45:55] = bytes(10)
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match=r"^all\.zip::a\.jsonl: cannot be read on"):
            list(files.jsonl("all.zip::a.jsonl"))


def test_a_name_that_raw_has_not_listed_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path / "landing", {"a.json": ARRAY})
    with reading(tmp_path) as files, pytest.raises(ArchiveError, match=r"'\.\./b\.json': raw has listed no such file"):
        list(files.json_array("../b.json"))


def test_a_text_is_found_loose_before_archived_and_absent_is_none(tmp_path: Path) -> None:
    lay(tmp_path / "landing", {"files/s1.txt": b"loose \xff"})
    members = {"mimic/files/s1.txt": b"archived", "mimic/files/s2.txt": b"archived"}
    write_zip(tmp_path / "landing" / "vqa_rad" / "reports.zip", members)
    with reading(tmp_path) as files:
        assert files.text("files/s1.txt") == "loose \ufffd"
        assert files.text("files/s2.txt") == "archived"
        assert files.text("files/s3.txt") is None
        assert files.text("iles/s2.txt") is None


def test_two_texts_of_one_path_are_an_error(tmp_path: Path) -> None:
    lay(tmp_path / "landing", {"a/s1.txt": b"one", "b/s1.txt": b"two"})
    with reading(tmp_path) as files, pytest.raises(ArchiveError, match=r"'s1\.txt': 'a/s1\.txt' and 'b/s1\.txt'"):
        files.text("s1.txt")


def test_the_path_to_the_letter_goes_before_longer_ones(tmp_path: Path) -> None:
    lay(tmp_path / "landing", {"files/s1.txt": b"one", "old/files/s1.txt": b"two"})
    with reading(tmp_path) as files:
        assert files.text("files/s1.txt") == "one"


def test_a_text_above_the_limit_is_refused(tmp_path: Path) -> None:
    lay(tmp_path / "landing", {"full.txt": b"x" * opened.MAX_TEXT_BYTES, "s1.txt": b"x" * (opened.MAX_TEXT_BYTES + 1)})
    with reading(tmp_path) as files:
        assert len(files.text("full.txt") or "") == opened.MAX_TEXT_BYTES
        with pytest.raises(ArchiveError, match=r"'s1\.txt': larger than 1048576 bytes"):
            files.text("s1.txt")


def test_an_opened_source_is_what_records_ask_for(tmp_path: Path) -> None:
    lay(tmp_path / "landing", {"a.json": ARRAY})
    with reading(tmp_path) as files:
        asked: RowFiles = files
        assert asked.names("*.json") == ["a.json"]
