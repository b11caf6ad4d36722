"""Writing: whole or not at all, and never out of the folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medmax_pipeline import files
from medmax_pipeline.errors import ArchiveError, DiskFull, StoreError
from tests.conftest import absent


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.open_atomic(path) as handle:
        handle.write(b"half of the new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_named_and_leaves_nothing() -> None:
    """/dev/full is a real device that is always full."""
    if not Path("/dev/full").exists():
        absent("dev_full", "this system has no /dev/full")
    with pytest.raises(DiskFull, match="no space left"), files.disk_errors(Path("/dev/full")):
        descriptor = os.open("/dev/full", os.O_WRONLY)
        try:
            os.write(descriptor, b"x")
        finally:
            os.close(descriptor)


def test_a_file_size_limit_stops_a_write_and_the_published_version_stays(tmp_path: Path) -> None:
    """A limit on file size makes a real write fail in the middle, in a process of its own."""
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from medmax_pipeline import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "files.write_bytes(Path(sys.argv[1]), b'x' * 5000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert str(errno.EFBIG) in done.stderr
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    code = (
        "import os, signal, sys; from pathlib import Path; from medmax_pipeline import files\n"
        "with files.open_atomic(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert len([*tmp_path.iterdir()]) == 1
    with files.open_atomic(path):
        files.sweep_temporaries(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b"])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError):
        files.inside(tmp_path, name)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    with pytest.raises(ArchiveError, match="link"):
        files.inside(tmp_path / "root", "out/x")


def test_published_folders_never_change(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(StoreError, match="published already"):
        files.publish_folder(tmp_path / "a", tmp_path / "b")


def test_the_digest_cache_sees_a_changed_byte_of_equal_size(tmp_path: Path) -> None:
    cache, path = files.DigestCache(tmp_path / "cache.sqlite"), tmp_path / "x"
    path.write_bytes(b"one")
    before = cache.sha256(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert cache.sha256(path) != before


def test_the_digest_cache_does_not_read_an_untouched_file_again(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    cache = files.DigestCache(tmp_path / "cache.sqlite")
    digest = cache.sha256(path)
    cache.save()
    mark = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(mark.st_atime_ns, mark.st_mtime_ns))
    assert files.DigestCache(tmp_path / "cache.sqlite").sha256(path) == digest


@pytest.mark.parametrize("torn", [b"", b"{}", b"SQLite format 3\0" + bytes(100)])
def test_a_torn_or_foreign_digest_cache_is_rebuilt(tmp_path: Path, torn: bytes) -> None:
    path, known = tmp_path / "x", tmp_path / "cache.sqlite"
    path.write_bytes(b"one")
    known.write_bytes(torn)
    cache = files.DigestCache(known)
    digest = cache.sha256(path)
    cache.save()
    mark = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(mark.st_atime_ns, mark.st_mtime_ns))
    assert files.DigestCache(known).sha256(path) == digest == files.sha256_bytes(b"one")


def test_two_digest_caches_over_one_file_keep_what_both_learnt(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    caches = [files.DigestCache(tmp_path / "cache.sqlite") for _ in paths]
    for cache, path in zip(caches, paths, strict=True):
        path.write_bytes(b"one")
        cache.sha256(path)
    for cache in caches:
        cache.save()
    marks = [path.stat() for path in paths]
    for path, mark in zip(paths, marks, strict=True):
        path.write_bytes(b"two")
        os.utime(path, ns=(mark.st_atime_ns, mark.st_mtime_ns))
    assert set(files.DigestCache(tmp_path / "cache.sqlite").sha256_all(paths)) == {files.sha256_bytes(b"one")}


def test_many_digests_come_in_the_order_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DIGESTS_A_BATCH", 3)
    paths = [tmp_path / str(number) for number in range(8)]
    for path in paths:
        path.write_text(path.name)
    cache = files.DigestCache(tmp_path / "cache.sqlite")
    assert list(cache.sha256_all(paths[::-1])) == [files.sha256_bytes(path.name.encode()) for path in paths[::-1]]


def test_canonical_json_does_not_depend_on_key_order() -> None:
    assert files.digest_of({"a": 1, "b": [1, 2]}) == files.digest_of({"b": [1, 2], "a": 1})


def test_lines_added_by_several_writers_at_once_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "lines"

    def add(number: int) -> None:
        for turn in range(5):
            files.append_bytes(path, f"{number} {turn}\n".encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    assert sorted(path.read_text().splitlines()) == [f"{number} {turn}" for number in range(4) for turn in range(5)]
    assert [found.name for found in tmp_path.iterdir()] == ["lines"]
