"""Hostile, broken and odd archives: what is listed, what is listed as not to be read, what is refused whole."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path
from random import Random
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.errors import ArchiveError, ImageError
from medmax_pipeline.ingest.archives import kind_of, list_members
from medmax_pipeline.ingest.places import Files
from tests.ingest.landings import picture, write_zip
from tests.ingest.packed import cut, tar_bytes, tar_entry


def faults(path: Path) -> dict[str, str]:
    """Fault by member."""
    members = list_members(path.parent, path.name, kind_of(path.parent, path.name))
    return {member.place.member: member.fault for member in members}


def patch_index(path: Path, at: int, form: str, value: int) -> None:
    """Change a field of the first entry of a zip's directory."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, data.index(b"PK\x01\x02") + at, value)
    path.write_bytes(bytes(data))


UNSAFE = ["../out.jpg", "a/../../out.jpg", "/etc/passwd", "a\\..\\out.jpg", "C:/out.jpg", "./../out.jpg"]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_zip_path_that_leaves_is_listed_as_unsafe(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "images.zip", {name: b"x", "good.jpg": b"y"})
    assert sorted(faults(path).values()) == ["", "member_unsafe_path"]


@pytest.mark.parametrize("packing", ["", "gz"])
@pytest.mark.parametrize("name", UNSAFE)
def test_a_tar_path_that_leaves_is_listed_as_unsafe(tmp_path: Path, name: str, packing: Literal["", "gz"]) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes({name: b"x", "good.jpg": b"y"}, packing))
    assert sorted(faults(path).values()) == ["", "member_unsafe_path"]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (tarfile.SYMTYPE, "member_link"),
        (tarfile.LNKTYPE, "member_link"),
        (tarfile.CHRTYPE, "member_no_plain_file"),
        (tarfile.BLKTYPE, "member_no_plain_file"),
        (tarfile.FIFOTYPE, "member_no_plain_file"),
    ],
)
def test_links_and_devices_in_a_tar_are_never_read(tmp_path: Path, kind: bytes, fault: str) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes([(tar_entry("odd.jpg", type=kind, linkname="/etc/passwd"), b""), ("a.jpg", b"x")]))
    assert faults(path) == {"odd.jpg": fault, "a.jpg": ""}


@pytest.mark.parametrize(("mode", "fault"), [(0o120777, "member_link"), (0o020666, "member_no_plain_file")])
def test_links_and_devices_in_a_zip_are_never_read(tmp_path: Path, mode: int, fault: str) -> None:
    info = zipfile.ZipInfo("odd.jpg")
    info.external_attr = mode << 16
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert faults(path) == {"odd.jpg": fault}


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": b"x"})
    patch_index(path, 8, "<H", 1)
    assert faults(path) == {"a.jpg": "member_encrypted"}


def test_an_unknown_packing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.jpg", b"x" * 50)
    assert faults(path) == {"a.jpg": "member_unknown_packing"}


def test_a_zip_bomb_by_ratio_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"bomb.jpg": bytes(4 << 20), "good.jpg": picture(1)})
    assert faults(path) == {"bomb.jpg": "member_bomb", "good.jpg": ""}


def test_a_gzipped_tar_that_swells_absurdly_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medmax_pipeline.ingest.archives.TAR_FREE_BYTES", 1 << 20)
    path = tmp_path / "images.tar.gz"
    path.write_bytes(tar_bytes({"bomb.jpg": bytes(40 << 20)}, "gz"))
    with pytest.raises(ArchiveError, match=r"images\.tar\.gz: \d+ packed bytes give \d+ and more; taken for a bomb"):
        faults(path)


def test_a_tar_header_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes({"n" * (2 << 20): b"x"}, format=tarfile.GNU_FORMAT))
    with pytest.raises(ArchiveError, match="headers claim more than"):
        faults(path)


def test_a_tar_member_of_negative_size_is_refused_instead_of_read_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes([(tar_entry("a.jpg", pax_headers={"size": "-1536"}), b"")], format=tarfile.PAX_FORMAT))
    with pytest.raises(ArchiveError, match=r"'a\.jpg' claims -1536 bytes"):
        faults(path)


def test_a_sparse_member_is_never_read_and_its_map_is_bounded(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.jpg"}
    path = tmp_path / "images.tar"
    for count, size in ((1, 512), (10**6, 4 << 20)):
        headers["GNU.sparse.realsize"] = str(count)
        table = f"{count}\n".encode() + b"0\n" * (2 * count)
        entry = tar_entry("a.jpg", pax_headers=headers)
        path.write_bytes(tar_bytes([(entry, table.ljust(size, b"\0"))], format=tarfile.PAX_FORMAT))
        if count == 1:
            assert faults(path) == {"a.jpg": "member_no_plain_file"}
        else:
            with pytest.raises(ArchiveError, match="headers claim more than"):
                faults(path)


def test_zip_members_that_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": b"x" * 50})
    patch_index(path, 20, "<I", 100_000)
    with pytest.raises(ArchiveError, match=r"images\.zip: members claim 100000 packed bytes"):
        faults(path)


def test_zip_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.jpg", "b.jpg"):
            archive.writestr(name, b"x" * 500)
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, second + 42, 10)  # the second local header inside the first member
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="overlap"):
        faults(path)


@pytest.mark.parametrize("keep", [0, 10, -30])
def test_a_broken_zip_is_an_error_that_names_the_file(tmp_path: Path, keep: int) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": b"x" * 500})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArchiveError, match=r"images\.zip: not readable as a zip .*Fetch it again"):
        faults(path)


@pytest.mark.parametrize("packing", ["", "gz"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.95])
def test_a_tar_that_breaks_off_is_an_error_that_names_the_file(
    tmp_path: Path, packing: Literal["", "gz"], keep: float
) -> None:
    whole = tar_bytes({f"{number}.png": picture(number) * 9 for number in range(20)}, packing, bufsize=512)
    if not packing:
        whole = whole.rstrip(b"\0")
    path = tmp_path / "images.tar"
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ArchiveError, match=r"images\.tar: .*Fetch it again"):
        faults(path)


def test_a_tar_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes({"a.jpg": b"x", "b.jpg": b"y"})[:1024])
    with pytest.raises(ArchiveError, match="without an end mark"):
        faults(path)


def test_garbage_between_two_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    data = bytearray(tar_bytes({"a.jpg": b"x", "b.jpg": b"y"}))
    data[1024 + 148] ^= 0xFF  # the second header's checksum
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="breaks off"):
        faults(path)


def test_a_gzipped_tar_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    data = bytearray(tar_bytes({"a.jpg": b"x" * 5000}, "gz"))
    data[-8] ^= 0xFF
    path = tmp_path / "images.tar.gz"
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="CRC"):
        faults(path)


def test_a_missing_middle_piece_is_named(tmp_path: Path) -> None:
    cut(tmp_path, "images.tar.gz", tar_bytes({"a.png": picture(1)}, "gz"), 4)[2].unlink()
    with pytest.raises(ArchiveError, match=r"images\.tar\.gz: images\.tar\.gz\.ac is missing"):
        faults(tmp_path / "images.tar.gz.aa")


def test_a_missing_last_piece_breaks_off(tmp_path: Path) -> None:
    cut(tmp_path, "images.tar.gz", tar_bytes({"a.png": picture(1, size=(90, 90))}, "gz"), 4)[3].unlink()
    with pytest.raises(ArchiveError, match=r"images\.tar\.gz\.aa: .*Fetch it again"):
        faults(tmp_path / "images.tar.gz.aa")


def test_folders_are_no_members(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(tar_bytes([(tar_entry("a.jpg", type=tarfile.DIRTYPE), b""), ("b.jpg", b"")]))
    write_zip(tmp_path / "images.zip", {"a.jpg/": b"", "b.jpg": b""})
    assert faults(tmp_path / "images.tar") == faults(tmp_path / "images.zip") == {"b.jpg": ""}


def test_an_archive_inside_an_archive_is_a_file(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"a.jpg": b"x"}).read_bytes()
    assert faults(write_zip(tmp_path / "images.zip", {"inner.zip": inner})) == {"inner.zip": ""}


def test_a_name_of_300_characters_is_kept(tmp_path: Path) -> None:
    name = "d/" * 20 + "n" * 260
    assert list(faults(write_zip(tmp_path / "images.zip", {name: b"x"}))) == [name]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        (tmp_path / "images.tar").write_bytes(tar_bytes({name: b"x"}, format=form))
        assert list(faults(tmp_path / "images.tar")) == [name]


@pytest.mark.parametrize(
    ("raw", "name"), [("süß.jpg".encode(), "süß.jpg"), (b"s\x81\xe1.jpg", "süß.jpg")], ids=["UTF-8", "cp437"]
)
def test_a_zip_name_without_the_utf8_flag_is_read_as_its_bytes_are(tmp_path: Path, raw: bytes, name: str) -> None:
    path = write_zip(tmp_path / "images.zip", {"x" * len(raw): b"x"})
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    assert faults(path) == {name: ""}


def test_a_tar_name_that_is_not_utf8_is_listed_readably(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes({"s\xfc.jpg": b"x"}, format=tarfile.USTAR_FORMAT, encoding="latin-1"))
    assert faults(path) == {"s\\xfc.jpg": "member_name_not_text"}


def test_a_leading_dot_folder_is_not_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(tar_bytes({"./images/a.jpg": b"x"}))
    assert faults(tmp_path / "images.tar") == {"images/a.jpg": ""}


def test_what_an_archive_is_goes_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "plain.tar.gz").write_bytes(tar_bytes({"a": b"x"}))
    (tmp_path / "packed.tar").write_bytes(tar_bytes({"a": b"x"}, "gz"))
    assert kind_of(tmp_path, "plain.tar.gz") == "tar"
    assert kind_of(tmp_path, "packed.tar") == "gz"


def test_gzipped_tables_and_other_names_are_loose_whatever_they_hold(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"a,b"))
    write_zip(tmp_path / "text.docx", {"a": b"x"})
    assert kind_of(tmp_path, "rows.csv.gz") == kind_of(tmp_path, "text.docx") == "loose"


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.parquet", "a.tgz"])
def test_an_archive_by_name_that_holds_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>Sign in</html>")
    with pytest.raises(ArchiveError, match="it begins with b'<html>Sign in"):
        kind_of(tmp_path, name)


def test_pictures_in_a_table_are_listed_without_nulls(tmp_path: Path) -> None:
    table = pa.table(
        {"text": ["a", "b"], "image": [{"bytes": b"one", "path": "1.png"}, None], "mask": [b"two", b"three"]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert list(faults(tmp_path / "t.parquet")) == ["image/0", "mask/0", "mask/1"]


def test_a_torn_table_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x" * 1000]}), tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data[:-20])
    with pytest.raises(ArchiveError, match=r"t\.parquet: not readable as Parquet"):
        faults(tmp_path / "t.parquet")


def test_a_zip_says_where_its_members_lie(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        archive.writestr("a.jpg", b"x" * 500)
        archive.writestr("b.jpg", b"y")
        infos = archive.infolist()
    places = [member.place for member in list_members(tmp_path, "images.zip", "zip")]
    assert [(place.offset, place.packed, place.bytes) for place in places] == [
        (info.header_offset, info.compress_size, info.file_size) for info in infos
    ]
    assert places[0].crc == zlib.crc32(b"x" * 500)


def damaged(data: bytes, draw: Random) -> bytes:
    """The same with some bits flipped, and bytes set, cut out or put in, half of them near the end."""
    broken = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(broken)) if draw.random() < 0.5 else max(0, len(broken) - draw.randrange(1, 600))
        at = min(at, len(broken) - 1)
        change = draw.choice(["flip", "set", "cut", "add"])
        if change == "flip":
            broken[at] ^= 1 << draw.randrange(8)
        elif change == "set":
            broken[at] = draw.choice([0, 127, 128, 255])
        elif change == "cut" and len(broken) > 100:
            del broken[at : at + draw.randrange(1, 40)]
        else:
            broken[at:at] = draw.randbytes(draw.randrange(1, 20))
    return bytes(broken)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.parquet"])
def test_a_damaged_archive_gives_members_or_errors_of_ours(tmp_path: Path, name: str) -> None:
    pictures = {f"{'x' * (40 * number)}{number}.png": Random(number).randbytes(300) + bytes(99) for number in range(8)}
    if name == "a.parquet":
        pq.write_table(pa.table({"image": [{"bytes": data} for data in pictures.values()]}), tmp_path / name)
    elif name == "a.zip":
        write_zip(tmp_path / name, pictures)
    else:
        (tmp_path / name).write_bytes(tar_bytes(pictures, "gz" if name.endswith("gz") else ""))
    whole = (tmp_path / name).read_bytes()
    refused: list[str] = []
    for seed in range(120):
        (tmp_path / name).write_bytes(damaged(whole, Random(seed)))
        try:
            members = list(list_members(tmp_path, name, kind_of(tmp_path, name)))
        except ArchiveError as error:
            refused.append(str(error))
            continue
        with Files(tmp_path, None) as files:
            for member in members:
                if not member.fault:
                    with contextlib.suppress(ImageError):
                        files.read(member.place, 1 << 20)
    assert all(message.startswith(name) for message in refused)
    assert 20 < len(refused) < 120
