"""The closure from files alone, and the check that the bytes are still those."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medmax_pipeline import lineage
from medmax_pipeline.errors import StoreError
from medmax_pipeline.ingest import raw
from medmax_pipeline.ingest.steps import raw_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources.record import ExpectedFile
from tests.ingest.packed import record
from tests.test_ledger import Line


@pytest.fixture
def line(store: Path) -> Line:
    made = Line(store)
    (made.ledger.landing / "a.txt").write_text("abc")
    made.build()
    return made


def test_the_closure_reaches_the_raw_file_with_digest_and_licence(line: Line) -> None:
    found = lineage.to_json(lineage.closure(line.ledger, line.ledger.need("length")))
    raw = next(node for node in found["nodes"] if node["key"] == "raw")
    assert raw["files"][0]["path"] == "a.txt"
    assert len(raw["files"][0]["sha256"]) == 64
    assert [source.split("@")[0] for source, _ in found["edges"]] == ["length", "upper"]
    json.dumps(found)
    assert "CC0" in "\n".join(lineage.to_text(lineage.closure(line.ledger, line.ledger.need("length"))))


def test_the_closure_of_an_old_artifact_still_names_the_old_bytes(line: Line) -> None:
    old = line.ledger.need("length")
    before = lineage.to_json(lineage.closure(line.ledger, old))
    (line.ledger.landing / "a.txt").write_text("changed")
    line.build()
    assert lineage.to_json(lineage.closure(line.ledger, old)) == before


def test_the_closure_works_on_a_copied_store(line: Line, tmp_path: Path) -> None:
    shutil.copytree(line.ledger.store, tmp_path / "copy")
    copy = Ledger(tmp_path / "copy", "test", tmp_path)
    assert len(lineage.closure(copy, copy.need("length")).nodes) == 3


def test_a_link_of_the_chain_that_is_missing_is_named(line: Line) -> None:
    upper = line.ledger.need("upper")
    shutil.rmtree(upper.folder)
    with pytest.raises(StoreError, match="upper"):
        lineage.closure(line.ledger, line.ledger.need("length"))


def test_an_untouched_store_has_no_fault(line: Line) -> None:
    assert list(lineage.verify(line.ledger)) == []


def test_a_flipped_byte_is_found(line: Line) -> None:
    (line.ledger.need("upper").folder / "data").write_text("ABX")
    assert [fault.path for fault in lineage.verify(line.ledger)] == ["upper/data"]


def test_a_missing_and_a_surplus_file_are_found(line: Line) -> None:
    folder = line.ledger.need("upper").folder
    (folder / "data").rename(folder / "other")
    problems = {fault.path: fault.problem for fault in lineage.verify(line.ledger)}
    assert problems == {"upper/data": "is missing", "upper/other": "is not in the manifest"}


def test_a_raw_file_that_changed_since_is_found(line: Line) -> None:
    (line.ledger.landing / "a.txt").write_text("xyz")
    assert "has changed" in next(iter(lineage.verify(line.ledger))).problem


def test_many_raw_files_under_one_entry_are_verified(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MANY_FILES", 2)
    landing = store.parent / "landing"
    folder = landing / "packed"
    folder.mkdir(parents=True)
    for name in "abc":
        (folder / f"{name}.txt").write_text(name)
    ledger = Ledger(store, "test", landing)
    ledger.execute(raw_step(record(ExpectedFile("*.txt", "texts")), corpus=False))
    assert list(lineage.verify(ledger)) == []
    (folder / "b.txt").write_text("x")
    assert [(fault.path, fault.problem) for fault in lineage.verify(ledger)] == [
        ("packed/*.txt", "raw files of packed/raw have changed since they were read")
    ]
    (folder / "b.txt").unlink()
    assert "have 2 bytes, 3 when they were read" in next(iter(lineage.verify(ledger))).problem
    shutil.rmtree(folder)
    assert "are missing" in next(iter(lineage.verify(ledger))).problem


def test_a_change_among_many_raw_files_is_told_by_their_glob(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MANY_FILES", 2)
    landing = store.parent / "landing"
    (landing / "packed").mkdir(parents=True)
    for name in "abc":
        (landing / "packed" / f"{name}.txt").write_text(name)
    step = raw_step(record(ExpectedFile("*.txt", "texts")), corpus=False)
    ledger = Ledger(store, "test", landing)
    ledger.execute(step)
    (landing / "packed" / "b.txt").write_text("x")
    assert [planned.reason for planned in ledger.plan([step])] == ["packed/*.txt changed"]
