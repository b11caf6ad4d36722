"""Records that are kept while they are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.journal import Journal
from tests.eval.conftest import record

ONE, TWO, THREE = record(1, True), record(2, False), record(3, None)
BATCHES = [[ONE.item_id, TWO.item_id], [THREE.item_id]]


def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    Journal(path, "same", BATCHES).append(0, [ONE, TWO])
    again = Journal(path, "same", BATCHES)
    assert again.done == {0: [ONE, TWO]}
    again.append(1, [THREE])
    assert again.records() == sorted([ONE, TWO, THREE], key=lambda each: each.item_id)


def test_every_cut_of_the_file_leaves_whole_batches_only(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    journal = Journal(path, "same", BATCHES)
    journal.append(0, [ONE, TWO])
    journal.append(1, [THREE])
    data = path.read_bytes()
    ends = [place for place, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(0, len(data) + 1, 7):
        path.write_bytes(data[:cut])
        expected = sum(cut >= end for end in ends[1:])
        assert sorted(Journal(path, "same", BATCHES).done) == list(range(expected))


def test_a_batch_twice_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl", "same", BATCHES)
    journal.append(0, [ONE, TWO])
    with pytest.raises(StoreError, match="each once"):
        journal.append(0, [ONE, TWO])


def test_records_of_another_batch_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl", "same", BATCHES)
    with pytest.raises(StoreError, match="batch 1"):
        journal.append(1, [ONE])


def test_an_unfinished_journal_gives_no_records(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl", "same", BATCHES)
    journal.append(0, [ONE, TWO])
    with pytest.raises(StoreError, match="all or none"):
        journal.records()


def test_another_identity_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    Journal(path, "same", BATCHES).append(0, [ONE, TWO])
    assert Journal(path, "other", BATCHES).done == {}
