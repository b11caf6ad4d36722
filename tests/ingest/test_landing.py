"""What lies in a landing folder, and what is said when something is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.landing import Landing, find_lock, scan
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import ExpectedFile
from tests.ingest.landings import lay_vqa_rad, picture, question

VQA_RAD = source("vqa_rad")
QUESTIONS = "VQA_RAD Dataset Public.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def laid(landing: Path) -> Path:
    return lay_vqa_rad(landing, [question(1, "synpic1.jpg")], {"synpic1.jpg": picture(1, "JPEG")})


def test_a_complete_folder_is_not_locked(tmp_path: Path) -> None:
    laid(tmp_path)
    assert find_lock(VQA_RAD, tmp_path) is None


def test_a_missing_folder_locks_with_page_and_place(tmp_path: Path) -> None:
    lock = find_lock(VQA_RAD, tmp_path)
    assert lock is not None
    assert "no landing folder vqa_rad/" in lock.reason
    assert QUESTIONS in lock.reason
    assert "https://osf.io/89kps/" in lock.cure
    assert "$MEDMAX_LANDING/vqa_rad/" in lock.cure


def test_a_missing_file_locks_and_says_what_was_found(tmp_path: Path) -> None:
    (laid(tmp_path) / QUESTIONS).unlink()
    lock = find_lock(VQA_RAD, tmp_path)
    assert lock is not None
    assert lock.reason.startswith("vqa_rad/ holds 1 of the expected files; missing: 'VQA_RAD Dataset Public.json'")


def test_a_missing_glob_locks(tmp_path: Path) -> None:
    (laid(tmp_path) / "VQA_RAD Image Folder" / "synpic1.jpg").unlink()
    lock = find_lock(VQA_RAD, tmp_path)
    assert lock is not None
    assert "missing: 'VQA_RAD Image Folder/*.jpg'" in lock.reason


@pytest.mark.parametrize("name", [QUESTIONS, "VQA_RAD Image Folder/synpic1.jpg"])
def test_a_git_lfs_pointer_locks_with_its_cure(tmp_path: Path, name: str) -> None:
    (laid(tmp_path) / name).write_bytes(POINTER)
    lock = find_lock(VQA_RAD, tmp_path)
    assert lock is not None
    assert f"1 files are Git LFS pointers and not data, the first is {name!r}" in lock.reason
    assert "git lfs pull" in lock.cure


def test_a_lock_names_no_place_of_this_machine_in_its_reason(tmp_path: Path) -> None:
    lock = find_lock(VQA_RAD, tmp_path)
    assert lock is not None
    assert str(tmp_path) not in lock.reason


def test_hidden_and_unexpected_files_are_no_input(tmp_path: Path) -> None:
    folder = laid(tmp_path)
    (folder / "Readme.docx").write_bytes(b"x")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "VQA_RAD Image Folder" / "._synpic1.jpg").write_bytes(b"x")
    found = scan(folder, VQA_RAD.files)
    assert [file.name for file in found.expected] == [QUESTIONS, "VQA_RAD Image Folder/synpic1.jpg"]
    assert found.unexpected == 1


def test_a_star_does_not_cross_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.jpg").write_bytes(b"x")
    assert scan(tmp_path, (ExpectedFile("a/*.jpg", ""),)).expected == ()


def test_an_expected_file_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    folder = laid(tmp_path)
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "VQA_RAD Image Folder" / "synpic2.jpg").symlink_to(tmp_path / "secret")
    with pytest.raises(ArchiveError, match="leads out of vqa_rad/"):
        scan(folder, VQA_RAD.files)


def test_only_expected_files_may_be_opened(tmp_path: Path) -> None:
    folder = laid(tmp_path)
    (folder / "other.json").write_text("[]")
    landing = Landing(folder, VQA_RAD.files)
    with pytest.raises(ArchiveError, match=r"'other\.json': not in vqa_rad/"):
        landing.json_array("other.json")
    with pytest.raises(ArchiveError):
        landing.path("../vqa_rad/other.json")


def test_a_text_that_is_absent_is_none_and_a_giant_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.txt").write_bytes(b"na\xefve")
    landing = Landing(tmp_path, (ExpectedFile("*.txt", ""),))
    assert landing.text("other.txt") is None
    assert landing.text("r.txt") == "na\ufffdve"
    monkeypatch.setattr("medmax_pipeline.ingest.landing.MAX_TEXT_BYTES", 3)
    with pytest.raises(ArchiveError, match="larger than 3 bytes"):
        landing.text("r.txt")
