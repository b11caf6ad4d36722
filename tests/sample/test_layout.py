"""Laying files out: once, whole, and never over somebody's changes."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.sample.layout import (
    MARKER,
    Tree,
    gzipped,
    is_laid_out,
    layout_key,
    split_parts,
    tar_gzipped,
    tarred,
    write_tree,
    zipped,
)


@pytest.fixture
def tree() -> Tree:
    return Tree("source", files={"a.txt": b"one", "folder/b.txt": b"two"})


def test_files_appear_with_a_finished_marker(tmp_path: Path, tree: Tree) -> None:
    write_tree(tmp_path / "source", tree, "k1", print)
    assert (tmp_path / "source/folder/b.txt").read_bytes() == b"two"
    assert is_laid_out(tmp_path / "source", "k1")
    assert not is_laid_out(tmp_path / "source", "k2")


def test_a_second_run_leaves_changed_and_removed_files_alone(tmp_path: Path, tree: Tree) -> None:
    write_tree(tmp_path / "source", tree, "k1", print)
    (tmp_path / "source/a.txt").write_bytes(b"mine")
    (tmp_path / "source/folder/b.txt").unlink()
    write_tree(tmp_path / "source", tree, "k1", print)
    assert (tmp_path / "source/a.txt").read_bytes() == b"mine"
    assert not (tmp_path / "source/folder/b.txt").exists()


def test_a_new_layout_replaces_its_own_files_and_keeps_changed_ones(tmp_path: Path, tree: Tree) -> None:
    log: list[str] = []
    folder = tmp_path / "source"
    write_tree(folder, Tree("source", files={**tree.files, "old.txt": b"old", "old2.txt": b"old"}), "k1", log.append)
    (folder / "a.txt").write_bytes(b"mine")
    (folder / "old2.txt").write_bytes(b"mine too")
    write_tree(folder, Tree("source", files={"a.txt": b"ONE", "folder/b.txt": b"TWO"}), "k2", log.append)
    assert (folder / "a.txt").read_bytes() == b"mine"
    assert (folder / "folder/b.txt").read_bytes() == b"TWO"
    assert not (folder / "old.txt").exists()
    assert (folder / "old2.txt").exists()
    assert any("a.txt was changed by hand" in line for line in log)


def test_somebody_elses_folder_is_not_touched(tmp_path: Path, tree: Tree) -> None:
    log: list[str] = []
    (tmp_path / "source").mkdir()
    (tmp_path / "source/real.json").write_text("real")
    write_tree(tmp_path / "source", tree, "k1", log.append)
    assert [path.name for path in (tmp_path / "source").iterdir()] == ["real.json"]
    assert "not ours" in log[0]


def test_an_interrupted_layout_is_finished(tmp_path: Path, tree: Tree) -> None:
    folder = tmp_path / "source"
    write_tree(folder, tree, "k1", print)
    (folder / "folder/b.txt").unlink()
    write_json(folder / MARKER, {"key": "k1", "complete": False, "files": {}})
    write_tree(folder, tree, "k1", print)
    assert (folder / "folder/b.txt").read_bytes() == b"two"
    assert read_json(folder / MARKER)["complete"]


def test_archives_hold_no_date_of_today_and_no_order_of_insertion() -> None:
    first, second = zipped({"a": b"1", "b": b"2"}), zipped({"b": b"2", "a": b"1"})
    assert first == second
    assert zipfile.ZipFile(io.BytesIO(first)).infolist()[0].date_time[0] == 2020
    assert gzipped("x")[4:8] == b"\0\0\0\0"


def test_a_tar_holds_neither_date_nor_owner_nor_order_of_insertion() -> None:
    data = tar_gzipped({"b/long.png": b"2" * 3000, "a.png": b"1"})
    assert data == tar_gzipped({"a.png": b"1", "b/long.png": b"2" * 3000})
    assert data[4:8] == b"\0\0\0\0"
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        found = [(member.name, member.mtime, member.uid, member.uname) for member in archive]
    assert found == [("a.png", 0, 0, ""), ("b/long.png", 0, 0, "")]
    assert gzip.decompress(data) == tarred({"a.png": b"1", "b/long.png": b"2" * 3000})


def test_pieces_in_the_order_of_their_names_are_the_whole() -> None:
    pieces = split_parts("images.tar.gz", b"0123456789", (3, 0, 4))
    assert list(pieces) == [f"images.tar.gz.a{letter}" for letter in "abcd"]
    assert [len(piece) for piece in pieces.values()] == [3, 0, 4, 3]
    assert b"".join(pieces[name] for name in sorted(pieces)) == b"0123456789"


def test_the_key_follows_the_packages_not_their_order() -> None:
    assert layout_key(["a", "b"]) == layout_key(["b", "a"]) != layout_key(["a"])
