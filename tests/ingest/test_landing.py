"""What lies in a landing folder, and what is said when something is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.landing import find_lock, pattern, scan
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import ExpectedFile
from tests.ingest.landings import lay_vqa_rad, picture, question
from tests.ingest.packed import cut, record

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
    assert lock.reason.startswith(
        "vqa_rad/ holds 1 of the expected files (763 bytes); missing: 'VQA_RAD Dataset Public.json' (all questions"
    )


def test_a_missing_glob_locks(tmp_path: Path) -> None:
    (laid(tmp_path) / "VQA_RAD Image Folder" / "synpic1.jpg").unlink()
    lock = find_lock(VQA_RAD, tmp_path)
    assert lock is not None
    assert "missing: either 'VQA_RAD Image Folder/*.jpg'" in lock.reason


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


def lock_of(tmp_path: Path, *files: ExpectedFile) -> str:
    """The reason of the lock over `packed/`, empty for none."""
    lock = find_lock(record(*files), tmp_path)
    return lock.reason if lock else ""


def test_an_optional_file_that_is_absent_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "a.json").write_text("[]")
    assert lock_of(tmp_path, ExpectedFile("a.json", "rows"), ExpectedFile("b.json", "more", optional=True)) == ""


FORMS = (
    ExpectedFile("images.zip", "pictures", group="images", bytes=2_860_000_000),
    ExpectedFile("images/**", "the same, unpacked", group="images"),
)


@pytest.mark.parametrize("name", ["images.zip", "images/deep/a.jpg"])
def test_one_file_of_a_group_is_enough(tmp_path: Path, name: str) -> None:
    path = tmp_path / "packed" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert lock_of(tmp_path, *FORMS) == ""


def test_a_group_of_which_nothing_is_there_locks_with_all_its_forms_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    assert lock_of(tmp_path, *FORMS) == (
        "packed/ holds none of the expected files; missing: "
        "either 'images.zip' (pictures, 2.9 GB) or 'images/**' (the same, unpacked)."
    )


def test_a_missing_folder_lists_what_is_expected(tmp_path: Path) -> None:
    optional = ExpectedFile("extra.json", "more rows", optional=True)
    assert lock_of(tmp_path, ExpectedFile("a.json", "rows", bytes=20), optional, *FORMS) == (
        "no landing folder packed/; expected 'a.json' (rows, 20 bytes), "
        "either 'images.zip' (pictures, 2.9 GB) or 'images/**' (the same, unpacked), "
        "if you have it 'extra.json' (more rows)."
    )


def test_a_piece_that_lacks_between_others_locks(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    cut(tmp_path / "packed", "images.tar.gz", b"x" * 40, 4)[2].unlink()
    reason = lock_of(tmp_path, ExpectedFile("images.tar.gz.*", "pictures"))
    assert "missing: 'images.tar.gz.ac' (between the other pieces of images.tar.gz)" in reason


def test_the_folder_of_a_source_that_shares_one_is_asked(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a.json").write_text("[]")
    source = record(ExpectedFile("a.json", "rows"), key="one_of_two", shared_folder="shared")
    assert find_lock(source, tmp_path) is None


def test_a_landing_folder_on_another_disk_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.json").write_text("[]")
    (tmp_path / "disk" / "b.json").symlink_to("a.json")
    (tmp_path / "packed").symlink_to(tmp_path / "disk")
    found = scan(tmp_path / "packed", (ExpectedFile("*.json", "rows"),)).expected
    assert [file.name for file in found] == ["a.json", "b.json"]


@pytest.mark.parametrize(
    ("path", "matches", "others"),
    [
        ("a/*.jpg", ["a/b.jpg"], ["a/b/c.jpg", "ab.jpg", "a/b.jpeg"]),
        ("a/**", ["a/b.jpg", "a/b/c.jpg"], ["b/a/c.jpg"]),
        ("**/a.jpg", ["a.jpg", "b/c/a.jpg"], ["ba.jpg", "a.jpg/b"]),
        ("a/**/c.jpg", ["a/c.jpg", "a/b/b/c.jpg"], ["a/bc.jpg", "ac.jpg"]),
        ("a (1)/[b].jpg", ["a (1)/[b].jpg"], ["a (1)/b.jpg"]),
    ],
)
def test_stars_of_expected_paths(path: str, matches: list[str], others: list[str]) -> None:
    wanted = pattern(path)
    assert [name for name in matches + others if wanted.fullmatch(name)] == matches


def test_a_name_that_is_not_utf8_is_refused_readably(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"s\xfc.jpg")).write_bytes(b"x")
    with pytest.raises(ArchiveError, match="not UTF-8"):
        scan(tmp_path, (ExpectedFile("*.jpg", ""),))
