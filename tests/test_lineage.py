"""The closure from files alone, and the check that the bytes are still those."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medmax_pipeline import lineage, tracing, withdrawal
from medmax_pipeline.errors import StoreError
from medmax_pipeline.ingest import raw
from medmax_pipeline.ingest.steps import raw_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources.record import ExpectedFile
from tests.ingest.packed import record
from tests.test_ledger import Line
from tests.withdrawing import HELD, IMAGES, Store


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


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Built once; tests only read it."""
    made = Store(tmp_path_factory.mktemp("traced"))
    made.build()
    return made


def test_a_sample_is_followed_from_its_pack_to_its_row_and_raw_file(traced: Store) -> None:
    wanted = HELD["one"][0].sample_id
    found = tracing.trace_sample(traced.ledger, wanted[:8])
    (row,) = found["samples"]
    assert found["sample"] == row["sample_id"] == wanted
    assert (row["licence"], row["credentialed"], row["withdrawn"]) == ("Open", False, False)
    assert row["origin"] == {"file": "rows.json", "digest": "0" * 64, "row": 0}
    assert [held["key"] for held in (*row["held_by"], *row["raw"])] == ["one/samples", "one/raw"]
    assert [(pack["key"], pack["pack"], pack["sample_id"]) for pack in found["packs"]] == [("shards/r", 0, wanted)]
    assert [model["key"] for model in found["checkpoints"]] == ["checkpoint/r"]
    json.dumps(found)


def test_an_image_is_followed_to_all_that_has_seen_it(traced: Store) -> None:
    found = tracing.trace_image(traced.ledger, "a" * 8)
    assert [place["source"] for place in found["places"]] == ["one", "two"]
    assert sorted((row["source"], row["split"]) for row in found["samples"]) == [
        ("one", "eval"),
        ("one", "train"),
        ("two", "train"),
    ]
    assert len(found["packs"]) == 2
    assert [(row["key"], row["items"]) for row in found["evaluations"]] == [("eval/r/t", [HELD["one"][3].sample_id])]
    assert [row["key"] for row in found["checkpoints"]] == ["checkpoint/r"]
    text = "\n".join(tracing.to_text(found))
    assert "seen by checkpoint/r" in text
    assert "(not in use)" not in text


def test_another_file_of_the_same_pixels_is_named(traced: Store) -> None:
    assert tracing.trace_image(traced.ledger, IMAGES["c"])["same_pixels"] == [IMAGES["d"]]
    assert tracing.trace_image(traced.ledger, IMAGES["a"])["same_pixels"] == []


def test_an_image_outside_the_mixture_was_seen_by_nothing(traced: Store) -> None:
    found = tracing.trace_image(traced.ledger, IMAGES["c"])
    assert (found["packs"], found["checkpoints"]) == ([], [])
    sample_id = HELD["three"][0].sample_id
    assert "no published shards" in "\n".join(tracing.to_text(tracing.trace_sample(traced.ledger, sample_id)))


@pytest.mark.parametrize("prefix", ["a" * 7, "zzzzzzzz", "a" * 65, "../../../x", "0123456789"])
def test_a_prefix_that_names_no_image_is_refused(traced: Store, prefix: str) -> None:
    with pytest.raises(StoreError):
        tracing.trace_image(traced.ledger, prefix)


def test_a_checkpoint_made_before_the_withdrawal_is_still_said_to_have_seen_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build()
    withdrawal.mark(store.ledger.store, [IMAGES["a"]], "the patient asked")
    store.build()
    found = tracing.trace_image(store.ledger, IMAGES["a"])
    assert [(row["key"], row["current"]) for row in found["checkpoints"]] == [("checkpoint/r", False)]
    text = "\n".join(tracing.to_text(found))
    assert "the patient asked" in text
    assert "seen by checkpoint/r" in text
    assert "(not in use)" in text
