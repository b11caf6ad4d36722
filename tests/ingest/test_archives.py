"""Hostile and broken archives, and pictures read in place."""

from __future__ import annotations

import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from medmax_pipeline.errors import ArchiveError, ImageError
from medmax_pipeline.ingest.archives import PictureFiles, list_members, open_zip
from medmax_pipeline.records import ImageRef
from tests.ingest.landings import picture, write_zip


def faults(path: Path) -> dict[str, str]:
    with open_zip(path) as archive:
        return {member.name: member.fault for member in list_members(archive)}


@pytest.mark.parametrize("name", ["../out.jpg", "a/../../out.jpg", "/etc/passwd", "a\\..\\out.jpg", "C:/out.jpg"])
def test_a_path_that_leaves_is_listed_and_never_read(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "images.zip", {name: b"x", "good.jpg": b"y"})
    listed = faults(path)
    assert set(listed.values()) == {"member_unsafe_path", ""}
    with PictureFiles(tmp_path) as files, pytest.raises(ImageError, match=r"image_refused|image_missing"):
        files.read(ImageRef("images.zip", name))


def test_twins_of_one_name_are_both_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("a.jpg", b"one")
        archive.writestr("a.jpg", b"two")
    with open_zip(path) as archive:
        assert [member.fault for member in list_members(archive)] == ["member_duplicate", "member_duplicate"]


def test_a_link_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link.jpg")
    info.external_attr = 0o120777 << 16
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert faults(path) == {"link.jpg": "member_link"}


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": b"x"})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1  # general purpose flag of the index entry
    path.write_bytes(bytes(data))
    assert faults(path) == {"a.jpg": "member_encrypted"}


def test_a_bomb_by_ratio_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"bomb.jpg": bytes(4 << 20), "good.jpg": picture(1)})
    assert faults(path) == {"bomb.jpg": "member_bomb", "good.jpg": ""}


def test_a_member_above_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"big.jpg": b"x"})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 300 << 20)
    path.write_bytes(bytes(data))
    assert faults(path) == {"big.jpg": "member_too_large"}


def test_members_that_overlap_are_refused_with_the_archive(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": b"x" * 50})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 20, 100_000)
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match=r"images\.zip: members claim 100000 packed bytes"):
        open_zip(path)


@pytest.mark.parametrize("keep", [0, 10, -30])
def test_a_broken_zip_is_an_error_that_names_the_file(tmp_path: Path, keep: int) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": b"x" * 500})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArchiveError, match=r"images\.zip: not readable as a zip .*Fetch it again"):
        open_zip(path)


def test_a_member_that_does_not_unpack_is_an_image_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.jpg": picture(1)})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))
    with PictureFiles(tmp_path) as files, pytest.raises(ImageError) as caught:
        files.read(ImageRef("images.zip", "a.jpg"))
    assert caught.value.reason == "image_unreadable"


def test_loose_files_and_members_are_read_in_place(tmp_path: Path) -> None:
    write_zip(tmp_path / "images.zip", {"deep/a.png": picture(1)})
    (tmp_path / "b.png").write_bytes(picture(2))
    with PictureFiles(tmp_path) as files:
        assert files.read(ImageRef("images.zip", "deep/a.png")) == picture(1)
        assert files.read(ImageRef("b.png")) == picture(2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "images.zip"]


def test_a_loose_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "secret")
    with PictureFiles(folder) as files, pytest.raises(ArchiveError, match="leads out of source/"):
        files.read(ImageRef("a.png"))
