"""What raw publishes of a landing folder: files, places, refusals, seek points, and what its manifest refers to."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.files import DigestCache, sha256_bytes
from medmax_pipeline.ingest import raw
from medmax_pipeline.manifest import External
from medmax_pipeline.sources.record import ExpectedFile, Source
from tests.ingest.landings import picture, write_zip
from tests.ingest.packed import cut, index, record, tar_bytes

ZIPS = ExpectedFile("*.zip", "pictures", pictures=True)
TARS = ExpectedFile("*.tar.gz.*", "pictures", pictures=True)


def rows(path: Path) -> list[dict[str, object]]:
    return list(pq.read_table(path).to_pylist())


def external(source: Source, landing: Path) -> tuple[External, ...]:
    return raw.list_external(source, landing, DigestCache(landing.parent / "digests"))


def test_every_file_is_listed_with_its_digest(tmp_path: Path) -> None:
    data = write_zip(tmp_path / "packed" / "a.zip", {"a.png": picture(1)}).read_bytes()
    (tmp_path / "packed" / "rows.json").write_text("[]")
    (tmp_path / "packed" / "other.txt").write_text("not expected")
    outcome = index(tmp_path, tmp_path / "raw", ExpectedFile("rows.json", "rows", group="g"), ZIPS)
    assert rows(tmp_path / "raw" / raw.FILES) == [
        {"path": "a.zip", "bytes": len(data), "sha256": sha256_bytes(data), "pictures": True, "group": "", "rank": 1},
        {"path": "rows.json", "bytes": 2, "sha256": sha256_bytes(b"[]"), "pictures": False, "group": "g", "rank": 0},
    ]
    assert outcome.summary == {"files": 2, "archives": 1, "bytes": len(data) + 2, "unexpected_files": 1}


def test_places_come_file_by_file_in_their_archives_order(tmp_path: Path) -> None:
    write_zip(tmp_path / "packed" / "b.zip", {"z.png": b"1", "a.png": b"2"})
    write_zip(tmp_path / "packed" / "a.zip", {"m.png": b"3"})
    pq.write_table(pa.table({"image": [b"4"]}), tmp_path / "packed" / "c.parquet")
    index(tmp_path, tmp_path / "raw", ZIPS, ExpectedFile("*.parquet", "rows"))
    places = rows(tmp_path / "raw" / raw.MEMBERS)
    assert [(row["file"], row["member"], row["kind"]) for row in places] == [
        ("a.zip", "m.png", "zip"),
        ("b.zip", "z.png", "zip"),
        ("b.zip", "a.png", "zip"),
        ("c.parquet", "", "loose"),
        ("c.parquet", "image/0", "parquet"),
    ]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_twins_of_one_name_are_both_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "packed").mkdir()
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "packed" / "a.zip", "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("a.jpg", "./a.jpg", "b.jpg"):
                archive.writestr(name, b"one")
    else:
        (tmp_path / "packed" / "a.tar").write_bytes(tar_bytes([("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3")]))
    outcome = index(tmp_path, tmp_path / "raw", ZIPS, ExpectedFile("*.tar", "pictures"))
    assert [row["member"] for row in rows(tmp_path / "raw" / raw.MEMBERS)] == ["b.jpg"]
    left = rows(tmp_path / "raw" / raw.QUARANTINE)
    assert [(row["file"], row["unit"], row["reason"]) for row in left] == [
        (f"a.{kind}", "a.jpg", "member_duplicate")
    ] * 2
    assert outcome.counts.quarantined == {"member_duplicate": 2}
    assert (outcome.counts.taken, outcome.counts.kept) == (3, 1)


def test_one_name_in_two_archives_is_no_twin(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_zip(tmp_path / "packed" / name, {"a.png": b"x"})
    assert index(tmp_path, tmp_path / "raw", ZIPS).counts.kept == 2


def test_refused_members_are_quarantined_with_their_archive(tmp_path: Path) -> None:
    write_zip(tmp_path / "packed" / "a.zip", {"../out.jpg": b"x", "bomb.jpg": bytes(4 << 20), "good.jpg": b"y"})
    outcome = index(tmp_path, tmp_path / "raw", ZIPS)
    assert outcome.counts.quarantined == {"member_bomb": 1, "member_unsafe_path": 1}
    assert {row["file"] for row in rows(tmp_path / "raw" / raw.QUARANTINE)} == {"a.zip"}


def test_an_archive_in_pieces_is_listed_once_with_seek_points(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    cut(tmp_path / "packed", "images.tar.gz", tar_bytes({"a.png": picture(1), "b.png": picture(2)}, "gz"), 3)
    outcome = index(tmp_path, tmp_path / "raw", TARS)
    places = rows(tmp_path / "raw" / raw.MEMBERS)
    assert [(row["file"], row["member"]) for row in places] == [
        ("images.tar.gz.aa", "a.png"),
        ("images.tar.gz.aa", "b.png"),
    ]
    assert outcome.summary["archives"] == 1
    assert outcome.summary["files"] == 3
    assert [path.name for path in (tmp_path / "raw" / "seek").iterdir()] == ["images.tar.gz.aa.gzidx"]


@pytest.mark.parametrize("piece", [0, 1])
def test_a_missing_piece_is_refused_by_name(tmp_path: Path, piece: int) -> None:
    (tmp_path / "packed").mkdir()
    gone = cut(tmp_path / "packed", "images.tar.gz", tar_bytes({"a.png": picture(1)}, "gz"), 3)[piece]
    gone.unlink()
    with pytest.raises(ArchiveError, match=f"{gone.name} is missing"):
        index(tmp_path, tmp_path / "raw", TARS)


def test_the_manifest_refers_to_each_file(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "b.txt").write_bytes(b"b")
    (tmp_path / "packed" / "a.txt").write_bytes(b"a")
    assert external(record(ExpectedFile("*.txt", "texts")), tmp_path) == (
        External("packed/a.txt", sha256_bytes(b"a"), 1, "CC0-1.0"),
        External("packed/b.txt", sha256_bytes(b"b"), 1, "CC0-1.0"),
    )


def test_a_glob_of_many_files_is_one_entry_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MANY_FILES", 2)
    (tmp_path / "packed" / "t").mkdir(parents=True)
    for name in ("t/c.txt", "t/a.txt", "t/b.txt", "rows.json"):
        (tmp_path / "packed" / name).write_text(name)
    source = record(ExpectedFile("t/*.txt", "texts"), ExpectedFile("*.json", "rows"))
    lines = "".join(f"{sha256_bytes(name.encode())}  {name}\n" for name in ("t/a.txt", "t/b.txt", "t/c.txt"))
    many, one = sorted(external(source, tmp_path), key=lambda entry: entry.path, reverse=True)
    assert many == External("packed/t/*.txt", hashlib.sha256(lines.encode()).hexdigest(), 21, "CC0-1.0")
    assert one.path == "packed/rows.json"


def test_a_changed_byte_among_many_files_changes_their_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MANY_FILES", 2)
    (tmp_path / "packed").mkdir()
    for number in range(3):
        (tmp_path / "packed" / f"{number}.txt").write_text("x")
    source = record(ExpectedFile("*.txt", "texts"))
    before = external(source, tmp_path)
    (tmp_path / "packed" / "1.txt").write_text("y")
    assert external(source, tmp_path) != before


def test_sources_that_share_a_folder_read_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a.txt").write_bytes(b"a")
    source = record(ExpectedFile("*.txt", "texts"), key="one_of_two", shared_folder="shared")
    assert [entry.path for entry in external(source, tmp_path)] == ["shared/a.txt"]
