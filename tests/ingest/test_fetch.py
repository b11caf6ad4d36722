"""What is still to be fetched, told without a network, and how the ledger goes on when it does not come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.errors import DiskFull, StoreError
from medmax_pipeline.ingest import fetch
from medmax_pipeline.ingest.pins import PIN, Pin, read_pin, write_pin
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.planning import Volume, volume
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Access, ExpectedFile, Source
from medmax_pipeline.steps import PendingFile
from tests.ingest.hub_server import Fault, Hub, serving
from tests.ingest.landings import picture, question

COMMIT = "a" * 40
ROWS = "VQA_RAD Dataset Public.json"
PICTURE = "VQA_RAD Image Folder/p0.jpg"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def hub_source(*files: ExpectedFile, revision: str = "main", gated: bool = False) -> Source:
    access = Access("hub", "https://example.org/terms", "Ask.", repo="some/body", revision=revision, gated=gated)
    return replace(source("vqa_rad"), key="thing", access=access, files=files)


def put(landing: Path, *names: str) -> None:
    for name in names:
        (landing / "thing" / name).parent.mkdir(parents=True, exist_ok=True)
        (landing / "thing" / name).write_bytes(b"x")


ROW_FILE = ExpectedFile("rows.json", "rows", bytes=10)
ZIPS = ExpectedFile("images_*.zip", "pictures", bytes=2_000)
NOTES = ExpectedFile("notes.txt", "notes", optional=True)


def test_what_is_pending_has_paths_sizes_and_origin(tmp_path: Path) -> None:
    pending = fetch.pending(hub_source(ROW_FILE, ZIPS), tmp_path)
    assert pending is not None
    assert pending.files == (PendingFile("thing/rows.json", 10), PendingFile("thing/images_*.zip", 2_000))
    assert pending.origin == "some/body at main (its commit is pinned by the first fetch)"
    assert pending.lock is None


def test_a_pinned_commit_is_named_shortly(tmp_path: Path) -> None:
    pending = fetch.pending(hub_source(ROW_FILE), tmp_path, COMMIT)
    assert pending is not None
    assert pending.origin == f"some/body at {COMMIT[:12]}"


def test_whoever_has_the_required_files_needs_nothing(tmp_path: Path) -> None:
    put(tmp_path, "rows.json", "images_3.zip")
    assert fetch.pending(hub_source(ROW_FILE, ZIPS, NOTES, gated=True), tmp_path) is None


def test_one_of_a_group_is_enough(tmp_path: Path) -> None:
    group = (replace(ZIPS, group="p"), ExpectedFile("images/**", "unpacked", group="p"))
    put(tmp_path, "rows.json", "images/a/b.jpg")
    assert fetch.pending(hub_source(ROW_FILE, *group), tmp_path) is None


def test_of_an_absent_group_the_first_counts(tmp_path: Path) -> None:
    group = (replace(ZIPS, group="p"), ExpectedFile("images/**", "unpacked", group="p"))
    pending = fetch.pending(hub_source(*group), tmp_path)
    assert pending is not None
    assert [file.path for file in pending.files] == ["thing/images_*.zip"]


def test_an_alternative_by_hand_is_not_missing_where_another_is_fetched(tmp_path: Path) -> None:
    group = (replace(ZIPS, group="p"), ExpectedFile("images/**", "unpacked", group="p", by_hand=True))
    record = hub_source(*group)
    assert fetch.by_hand(record, fetch.held(record, tmp_path)) == ()


def test_by_hand_alternatives_are_told_as_such(tmp_path: Path) -> None:
    group = (replace(ZIPS, group="p", by_hand=True), ExpectedFile("images/**", "loose", group="p", by_hand=True))
    pending = fetch.pending(hub_source(ROW_FILE, *group), tmp_path)
    assert pending is not None
    assert pending.missing == "either images_*.zip (pictures, 2.0 kB) or images/** (loose)"


def test_a_gated_source_without_a_token_is_closed_before_anybody_is_asked(tmp_path: Path) -> None:
    pending = fetch.pending(hub_source(ROW_FILE, gated=True), tmp_path)
    assert pending is not None
    assert pending.lock is not None
    assert "HF_TOKEN" in pending.lock.cure


@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_token_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    if where == "environment":
        monkeypatch.setenv("HF_TOKEN", "hf_x")
    else:
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "token").write_text("hf_x")
    pending = fetch.pending(hub_source(ROW_FILE, gated=True), tmp_path)
    assert pending is not None
    assert pending.lock is None


def test_manual_sources_have_nothing_to_fetch(tmp_path: Path) -> None:
    assert fetch.fetch_of(source("vqa_rad")) is None
    assert fetch.pending(source("vqa_rad"), tmp_path) is None


def test_names_that_were_begun_and_are_gone_are_pending_again(tmp_path: Path) -> None:
    put(tmp_path, "rows.json", "images_0.zip")
    write_pin(tmp_path / "thing", "some/body", Pin(commit=COMMIT, wanted={"images_0.zip": 5, "images_1.zip": 7}))
    pending = fetch.pending(hub_source(ROW_FILE, ZIPS), tmp_path)
    assert pending is not None
    assert pending.files == (PendingFile("thing/images_1.zip", 7),)


def test_two_origins_share_a_pin_file(tmp_path: Path) -> None:
    write_pin(tmp_path, "a/b", Pin(commit=COMMIT))
    write_pin(tmp_path, "url", Pin(digests={"x": "y"}))
    assert read_pin(tmp_path, "a/b").commit == COMMIT
    assert read_pin(tmp_path, "url").digests == {"x": "y"}
    assert read_pin(tmp_path, "else") == Pin()


@pytest.mark.parametrize("text", ["[1]", "{", '{"a/b": {"other": 1}}', '{"a/b": {"commit": "main"}}'])
def test_a_pin_that_is_none_of_ours_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / PIN).write_text(text)
    with pytest.raises(StoreError, match=r"\.pin\.json"):
        read_pin(tmp_path, "a/b")


def test_a_shared_file_is_counted_once() -> None:
    files = [PendingFile("shared/a", 5), PendingFile("shared/a", 5), PendingFile("b", None)]
    assert volume(files) == Volume(2, 5, 1)
    assert volume(files).words == "2 files, 5 bytes and 1 of unpublished size"
    assert volume([PendingFile("b", None)]).words == "1 file, size not published"


# -- with the ledger ------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Hub]:
    """A publisher's address with a VQA-RAD of one question."""
    with serving() as served:
        served.pages["/plain/rows"] = json.dumps([question(1, "p0.jpg")]).encode()
        served.pages["/plain/picture"] = picture(0, "JPEG")
        yield served


def url_source(server: Hub) -> Source:
    files = (
        ExpectedFile(ROWS, "questions", url=f"{server.url}/plain/rows"),
        ExpectedFile(PICTURE, "picture", url=f"{server.url}/plain/picture", pictures=True, bytes=600),
    )
    access = Access("url", "https://example.org", "Download it.")
    server.pages["/plain/picture"] = server.pages["/plain/picture"][:600].ljust(600, b"\0")
    return replace(source("vqa_rad"), access=access, files=files)


def test_a_build_fetches_before_it_reads(server: Hub, store: Path, tmp_path: Path) -> None:
    ledger = Ledger(store, "test", tmp_path / "landing")
    step = raw_step(url_source(server), corpus=False)
    planned = ledger.plan([step])[0]
    assert planned.action == "fetch"
    assert planned.reason.startswith("would fetch 2 files, 600 bytes and 1 of unpublished size of 127.0.0.1")
    assert server.seen == []
    raw, made = ledger.execute(step)
    assert made
    assert not raw.locked
    assert [entry.path for entry in raw.manifest.external] == [f"vqa_rad/{ROWS}", f"vqa_rad/{PICTURE}"]
    assert ledger.plan([step])[0].action == "reuse"


def test_what_reads_it_waits_for_the_fetch(server: Hub, store: Path, tmp_path: Path) -> None:
    record = url_source(server)
    ledger = Ledger(store, "test", tmp_path / "landing")
    plan = ledger.plan([raw_step(record, corpus=False), samples_step(record)])
    assert [(item.action, item.reason) for item in plan[1:]] == [("after", "vqa_rad/raw runs first")]


def test_a_file_that_does_not_come_locks_and_the_next_build_tries_again(
    server: Hub, store: Path, tmp_path: Path
) -> None:
    ledger = Ledger(store, "test", tmp_path / "landing")
    record = url_source(server)
    step = raw_step(record, corpus=False)
    server.faults.append(Fault("GET", "picture", 404))
    raw, _ = ledger.execute(step)
    lock = raw.manifest.lock
    assert lock is not None
    assert "no longer has the file (404)" in lock.reason
    assert PICTURE in lock.reason
    assert "Or by hand: Download it." in lock.cure
    samples, _ = ledger.execute(samples_step(record))
    assert samples.locked
    assert ledger.plan([step])[0].action == "fetch"
    assert not ledger.execute(step)[0].locked


def test_a_lock_that_stays_is_published_once(server: Hub, store: Path, tmp_path: Path) -> None:
    ledger = Ledger(store, "test", tmp_path / "landing")
    step = raw_step(url_source(server), corpus=False)
    server.faults.append(Fault("GET", "picture", 404, times=9))
    first, _ = ledger.execute(step)
    second, made = ledger.execute(step)
    assert not made
    assert first.manifest.fingerprint == second.manifest.fingerprint


def test_a_full_disk_fails_and_does_not_lock(
    server: Hub, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medmax_pipeline.ingest.url._write", full)
    with pytest.raises(DiskFull):
        Ledger(store, "test", tmp_path / "landing").execute(raw_step(url_source(server), corpus=False))


def test_a_landing_root_that_may_not_be_written_locks_what_would_be_fetched(
    server: Hub, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("fcntl.flock", refuse)
    lock = fetch.bring(url_source(server), tmp_path / "landing", "", lambda line: None)
    assert lock is not None
    assert "cannot be written" in lock.reason
    assert server.seen == []


def test_what_stays_locked_after_a_fetch_is_planned_with_its_cure(server: Hub, store: Path, tmp_path: Path) -> None:
    record = url_source(server)
    half = replace(record, files=(record.files[0], replace(record.files[1], by_hand=True)))
    ledger = Ledger(store, "test", tmp_path / "landing")
    planned = ledger.plan([raw_step(half, corpus=False)])[0]
    assert planned.action == "fetch"
    assert f"stays locked without {PICTURE}" in planned.reason
    assert "Download it." in planned.cure
    raw, _ = ledger.execute(raw_step(half, corpus=False))
    assert raw.locked
    assert (tmp_path / "landing" / "vqa_rad" / ROWS).exists()
    assert ledger.plan([raw_step(half, corpus=False)])[0].action == "locked"


def test_an_absent_gated_source_is_planned_as_locked_with_its_cure(store: Path, tmp_path: Path) -> None:
    ledger = Ledger(store, "test", tmp_path / "landing")
    record = hub_source(ROW_FILE, gated=True)
    plan = ledger.plan([raw_step(record, corpus=False), samples_step(record)])
    assert [item.action for item in plan] == ["locked", "locked"]
    assert "HF_TOKEN" in plan[0].cure
    assert plan[1].reason.startswith("thing/raw is locked: ")
    raw, _ = ledger.execute(raw_step(record, corpus=False))
    assert raw.manifest.lock == Lock(plan[0].reason, plan[0].cure)


def test_the_sample_corpus_is_never_fetched() -> None:
    assert raw_step(hub_source(ROW_FILE), corpus=True).fetch is None


def test_another_variant_is_another_artifact() -> None:
    record = hub_source(ROW_FILE)
    assert raw_step(record, False, "v2").params != raw_step(record, False).params
    assert samples_step(record, "v2").params != samples_step(record).params


def test_the_manifest_names_the_fetched_commit_and_none_for_files_by_hand(
    server: Hub, store: Path, tmp_path: Path
) -> None:
    landing = tmp_path / "landing"
    record = replace(url_source(server), access=replace(hub_source().access, kind="hub"))
    ledger = Ledger(store, "test", landing)
    assert ledger.execute(raw_step(record, corpus=False))[0].manifest.revision == ""
    write_pin(landing / "vqa_rad", "some/body", Pin(commit=COMMIT, wanted={ROWS: 1}))
    ledger.raise_counter("vqa_rad/raw")
    assert ledger.execute(raw_step(record, corpus=False))[0].manifest.revision == COMMIT
