"""Bytes read where they lie, whatever they lie in."""

from __future__ import annotations

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.errors import ArchiveError, ImageError
from medmax_pipeline.ingest.archives import kind_of, list_members
from medmax_pipeline.ingest.gz import Unpacked, seek_file, write_seek_points
from medmax_pipeline.ingest.places import Files, Place, open_container
from tests.ingest.landings import picture, write_zip
from tests.ingest.packed import cut, tar_bytes

LIMIT = 1 << 20
PICTURES = {f"images/{number}.png": picture(number, size=(40, 40)) for number in range(12)}


def lay(folder: Path) -> list[str]:
    """The same pictures in each kind of archive; names of the archives."""
    write_zip(folder / "images.zip", PICTURES)
    with zipfile.ZipFile(folder / "stored.zip", "w") as archive:
        for name, data in PICTURES.items():
            archive.writestr(name, data)
    (folder / "images.tar").write_bytes(tar_bytes(PICTURES))
    (folder / "images.tgz").write_bytes(tar_bytes(PICTURES, "gz"))
    cut(folder, "pieces.tar", tar_bytes(PICTURES), 3)
    cut(folder, "pieces.tar.gz", tar_bytes(PICTURES, "gz"), 3)
    return ["images.zip", "stored.zip", "images.tar", "images.tgz", "pieces.tar.aa", "pieces.tar.gz.aa"]


def places(folder: Path, file: str) -> dict[str, Place]:
    listed = list_members(folder, file, kind_of(folder, file))
    return {member.place.member: member.place for member in listed}


def one(folder: Path, file: str) -> Place:
    return next(iter(places(folder, file).values()))


def loose(name: str, size: int = 0) -> Place:
    return Place(name, "", "loose", 0, size, size, 0)


def test_members_of_every_kind_of_archive_are_read_in_any_order(tmp_path: Path) -> None:
    files = lay(tmp_path)
    before = sorted(tmp_path.iterdir())
    with Files(tmp_path, None) as opened:
        for file in files:
            listed = places(tmp_path, file)
            assert set(listed) == set(PICTURES)
            for name in reversed(PICTURES):
                assert opened.read(listed[name], LIMIT) == PICTURES[name], (file, name)
    assert sorted(tmp_path.iterdir()) == before, "something was unpacked to disk"


def test_members_of_every_kind_of_archive_are_streams(tmp_path: Path) -> None:
    with Files(tmp_path, None) as opened:
        for file in lay(tmp_path):
            for name, place in list(places(tmp_path, file).items())[3:5]:
                with opened.open(place) as stream:
                    assert stream.read(10) + stream.read() == PICTURES[name], (file, name)


def test_a_loose_file_is_read_and_streamed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    with Files(tmp_path, None) as opened, opened.open(loose("a.png")) as stream:
        assert opened.read(loose("a.png"), LIMIT) == stream.read() == b"abc"


def test_threads_share_the_archives(tmp_path: Path) -> None:
    wanted = [place for file in lay(tmp_path) for place in places(tmp_path, file).values()] * 3
    with Files(tmp_path, None) as opened, ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda place: opened.read(place, LIMIT), wanted))
    assert found == [PICTURES[place.member] for place in wanted]


def test_pictures_in_a_table_are_read_across_row_groups(tmp_path: Path) -> None:
    values = [f"picture {number}".encode() for number in range(7)]
    structs = [{"bytes": value, "path": None} for value in values]
    pq.write_table(pa.table({"image": structs, "plain": values}), tmp_path / "t.parquet", row_group_size=3)
    with Files(tmp_path, None) as opened:
        for name, place in reversed(places(tmp_path, "t.parquet").items()):
            assert opened.read(place, LIMIT) == values[int(name.partition("/")[2])]


@pytest.mark.parametrize("file", ["images.tgz", "pieces.tar.gz.aa"])
def test_seek_points_spare_unpacking_what_stands_before(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medmax_pipeline.ingest.gz.SEEK_SPACING", 1 << 16)
    many = {f"{number}.png": Random(number).randbytes(40_000) for number in range(30)}
    packed = tar_bytes(many, "gz")
    (tmp_path / "images.tgz").write_bytes(packed)
    cut(tmp_path, "pieces.tar.gz", packed, 3)
    with open_container(tmp_path, file) as joined:
        write_seek_points(joined, seek_file(tmp_path / "seek", file))
    listed = places(tmp_path, file)
    spoilt = tmp_path / ("images.tgz" if file == "images.tgz" else "pieces.tar.gz.aa")
    spoilt.write_bytes(b"\0" * 2000 + spoilt.read_bytes()[2000:])  # what stands before cannot be unpacked any more
    with Files(tmp_path, tmp_path / "seek") as opened:
        assert opened.read(listed["29.png"], LIMIT) == many["29.png"]
    with Files(tmp_path, None) as opened, pytest.raises(ImageError, match="image_unreadable"):
        opened.read(listed["29.png"], LIMIT)


def test_places_read_in_their_order_unpack_each_stretch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medmax_pipeline.ingest.gz.SEEK_SPACING", 1 << 16)
    many = {f"{number}.png": Random(number).randbytes(7_000) for number in range(100)}
    (tmp_path / "images.tgz").write_bytes(tar_bytes(many, "gz"))
    with open_container(tmp_path, "images.tgz") as joined:
        write_seek_points(joined, seek_file(tmp_path / "seek", "images.tgz"))
    unpacked: list[int] = []
    plain = Unpacked._unpack

    def watched(self: Unpacked, offset: int, size: int) -> bytes:
        unpacked.append(offset)
        return plain(self, offset, size)

    monkeypatch.setattr(Unpacked, "_unpack", watched)
    with Files(tmp_path, tmp_path / "seek") as opened:
        for name, place in places(tmp_path, "images.tgz").items():
            assert opened.read(place, LIMIT) == many[name]
    assert len(unpacked) == len(set(unpacked)) < 15


def test_seek_points_are_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "images.tgz").write_bytes(tar_bytes(PICTURES, "gz"))
    for name in ("one", "two"):
        with open_container(tmp_path, "images.tgz") as joined:
            write_seek_points(joined, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_only_gzipped_tars_and_tables_want_their_order(tmp_path: Path) -> None:
    kinds = {file: Files.sequential(one(tmp_path, file)) for file in lay(tmp_path)}
    assert [file for file, ordered in kinds.items() if ordered] == ["images.tgz", "pieces.tar.gz.aa"]
    assert not Files.sequential(loose("a.png"))


def test_a_missing_loose_file_is_missing(tmp_path: Path) -> None:
    with Files(tmp_path, None) as opened, pytest.raises(ImageError, match="image_missing"):
        opened.read(loose("a.png"), LIMIT)


@pytest.mark.parametrize("file", ["images.zip", "images.tar", "images.tgz", "a.png"])
def test_a_file_above_the_limit_is_not_read(tmp_path: Path, file: str) -> None:
    lay(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x" * 200)
    place = loose(file) if file == "a.png" else one(tmp_path, file)
    with Files(tmp_path, None) as opened, pytest.raises(ImageError, match="image_too_large"):
        opened.read(place, 100)


@pytest.mark.parametrize("at", [3, 60])
def test_a_zip_member_that_does_not_unpack_is_unreadable(tmp_path: Path, at: int) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.png": picture(1)})
    place = one(tmp_path, "images.zip")
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    with Files(tmp_path, None) as opened, pytest.raises(ImageError, match="image_unreadable"):
        opened.read(place, LIMIT)


def test_a_zip_member_with_a_wrong_checksum_is_unreadable(tmp_path: Path) -> None:
    write_zip(tmp_path / "images.zip", {"a.png": picture(1)})
    place = one(tmp_path, "images.zip")
    with Files(tmp_path, None) as opened, pytest.raises(ImageError, match=r"image_unreadable.*CRC"):
        opened.read(place._replace(crc=1), LIMIT)


@pytest.mark.parametrize("claimed", [10, 10_000])
def test_a_zip_member_whose_size_is_not_what_it_claims_is_unreadable(tmp_path: Path, claimed: int) -> None:
    write_zip(tmp_path / "images.zip", {"a.png": picture(1)})
    place = one(tmp_path, "images.zip")
    with Files(tmp_path, None) as opened, pytest.raises(ImageError, match="image_unreadable"):
        opened.read(place._replace(bytes=claimed), LIMIT)


def test_a_tar_that_shrank_since_it_was_listed_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(tar_bytes(PICTURES))
    last = list(places(tmp_path, "images.tar").values())[-1]
    (tmp_path / "images.tar").write_bytes(tar_bytes(PICTURES)[: last.offset + 10])
    with Files(tmp_path, None) as opened, pytest.raises(ImageError, match="image_unreadable"):
        opened.read(last, LIMIT)


@pytest.mark.parametrize("name", ["a.png", "images.zip"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    write_zip(tmp_path / "secret", {"a.png": b"x"})
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).symlink_to(tmp_path / "secret")
    place = loose(name) if name == "a.png" else Place(name, "a.png", "zip", 0, 3, 1, 0)
    with Files(tmp_path / "source", None) as opened, pytest.raises(ArchiveError, match="leads out of source/"):
        opened.read(place, LIMIT)


def test_a_landing_folder_that_is_a_link_to_another_disk_is_read(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.png").write_bytes(b"x")
    (tmp_path / "source").symlink_to(tmp_path / "disk")
    with Files(tmp_path / "source", None) as opened:
        assert opened.read(loose("a.png"), LIMIT) == b"x"


def test_a_value_of_a_table_is_no_stream(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "t.parquet")
    with Files(tmp_path, None) as opened, pytest.raises(ArchiveError, match="inside a table"):
        opened.open(one(tmp_path, "t.parquet"))
