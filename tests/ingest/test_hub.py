"""Fetching from a hub with the real client, against a server on this machine: what arrives, and what locks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from medmax_pipeline.errors import ArchiveError, FetchError
from medmax_pipeline.ingest import fetch, hub
from medmax_pipeline.ingest.pins import read_pin
from medmax_pipeline.manifest import Lock
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Access, ExpectedFile, Source
from tests.ingest.hub_server import Fault, Hub, Repo, commit, serving

NAME = "somebody/pictures"
PROJECT = Path(__file__).resolve().parent.parent.parent
BIG = bytes(index * 7 % 251 for index in range(200_000))
FILES = {"train.json": b'[{"a": 1}]\n', "images_0.zip": BIG, "images_1.zip": BIG[::-1], ".gitattributes": b"x"}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 200000\n"


@pytest.fixture
def repo() -> Repo:
    lfs = frozenset({"images_0.zip", "images_1.zip"})
    return Repo(NAME, {commit(1): FILES}, {"main": commit(1)}, lfs=lfs)


@pytest.fixture
def server(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, and a client that knows no other; what it read of the environment at import is set here."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    with serving(repo) as served:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        _http.close_session()
        yield served
        _http.close_session()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client sleeps through `time.sleep`; what it would have waited is kept and not waited."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def record(**changes: object) -> Source:
    """A source whose files are on the hub."""
    access = Access(
        kind="hub",
        page="https://example.org/terms",
        how="Ask.",
        repo=NAME,
        revision="main",
        gated=bool(changes.pop("gated", False)),
    )
    files = (
        ExpectedFile("train.json", "rows", bytes=11),
        ExpectedFile("images_*.zip", "pictures", pictures=True, bytes=400_000),
    )
    return replace(source("vqa_rad"), key="pictures", access=access, files=files, **changes)  # type: ignore[arg-type]


def bring(record: Source, landing: Path, pin: str = "", log: list[str] | None = None) -> Lock | None:
    return fetch.bring(record, landing, pin, (log if log is not None else []).append)


def landed(landing: Path, folder: str = "pictures") -> dict[str, bytes]:
    """What a scan of the landing folder would meet."""
    root = landing / folder
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


WANTED = {name: FILES[name] for name in ("images_0.zip", "images_1.zip", "train.json")}


def test_expected_files_arrive_under_the_publishers_names_and_others_do_not(server: Hub, tmp_path: Path) -> None:
    log: list[str] = []
    assert bring(record(), tmp_path, log=log) is None
    assert landed(tmp_path) == WANTED
    assert not (tmp_path / "pictures" / fetch.STAGING).exists()
    assert any("images_0.zip" in line and "200.0 kB" in line for line in log)


def test_a_second_fetch_asks_nobody(server: Hub, tmp_path: Path) -> None:
    bring(record(), tmp_path)
    server.seen.clear()
    assert bring(record(), tmp_path) is None
    assert server.seen == []


def test_files_placed_by_hand_are_kept_and_nobody_is_asked(server: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "train.json").write_bytes(b"mine")
    (folder / "images_7.zip").write_bytes(b"mine too")
    assert bring(record(), tmp_path) is None
    assert server.seen == []
    assert landed(tmp_path) == {"train.json": b"mine", "images_7.zip": b"mine too"}
    assert fetch.fetched_commit(record(), tmp_path) == ""


def test_one_file_placed_by_hand_is_kept_beside_what_is_fetched(server: Hub, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "train.json").write_bytes(b"mine")
    bring(record(), tmp_path)
    assert landed(tmp_path) == {**WANTED, "train.json": b"mine"}
    assert server.bodies("train.json") == []


def test_a_cut_connection_is_taken_up_where_it_broke(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 16_384)  # 10 MB, above the whole file here
    server.faults.append(Fault("GET", "images_0.zip", cut=70_000))
    assert bring(record(), tmp_path) is None
    first, second = server.bodies("images_0.zip")
    assert first.range == ""
    assert second.range == "bytes=65536-"  # whole pieces of the 70,000 bytes
    assert landed(tmp_path)["images_0.zip"] == BIG


def test_a_wrong_sha256_locks_and_leaves_no_file(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.told["images_0.zip"] = BIG[:-1] + b"?"
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "images_0.zip came with digest" in lock.reason
    assert "images_0.zip" not in landed(tmp_path)
    repo.told.clear()
    assert bring(record(), tmp_path) is None
    assert landed(tmp_path) == WANTED


def test_a_wrong_git_digest_of_a_small_file_locks(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.told["train.json"] = b'[{"a": 2}]\n'
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "train.json came with digest" in lock.reason
    assert "train.json" not in landed(tmp_path)


def test_a_pointer_in_the_place_of_data_locks(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.commits[commit(1)] = {**FILES, "images_0.zip": POINTER}
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "images_0.zip came as a Git LFS pointer" in lock.reason
    assert "images_0.zip" not in landed(tmp_path)


def test_half_of_the_archives_is_not_taken_for_all(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.told["images_1.zip"] = b"other"
    assert bring(record(), tmp_path) is not None
    assert "images_0.zip" in landed(tmp_path)
    pending = fetch.pending(record(), tmp_path)
    assert pending is not None
    assert [(file.path, file.bytes) for file in pending.files if "images" in file.path] == [
        ("pictures/images_1.zip", 5)
    ]


def test_a_gated_repository_without_a_token_locks_and_is_not_asked(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.gated = True
    lock = bring(record(gated=True), tmp_path)
    assert lock is not None
    assert "there is no hub token here" in lock.reason
    assert "https://example.org/terms" in lock.cure
    assert server.seen == []


def test_a_repository_that_became_gated_answers_401_and_locks(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.gated = True
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "no hub token here" in lock.reason


def test_a_token_without_the_terms_gets_403_and_the_lock_says_so(
    server: Hub, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.gated = True
    server.tokens["hf_secret"] = frozenset()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    log: list[str] = []
    lock = bring(record(gated=True), tmp_path, log=log)
    assert lock is not None
    assert "was not granted access" in lock.reason
    assert "Accept its terms" in lock.cure
    assert "hf_secret" not in lock.reason + lock.cure + "".join(log)


def test_a_token_with_the_terms_gets_the_files_and_is_written_nowhere(
    server: Hub, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.gated = True
    server.tokens["hf_secret"] = frozenset({NAME})
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    log: list[str] = []
    assert bring(record(gated=True), tmp_path / "landing", log=log) is None
    assert landed(tmp_path / "landing") == WANTED
    assert "hf_secret" not in "".join(log)
    for path in (tmp_path / "landing").rglob("*"):
        assert not path.is_file() or b"hf_secret" not in path.read_bytes()


def test_a_token_that_the_hub_does_not_know_locks(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "refused the token (401)" in lock.reason


def test_a_repository_that_is_gone_locks(server: Hub, tmp_path: Path) -> None:
    server.repos.clear()
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "moved or gone" in lock.reason


def test_a_revision_that_moved_away_locks(server: Hub, tmp_path: Path) -> None:
    lock = bring(record(), tmp_path, pin=commit(9))
    assert lock is not None
    assert "no longer has the revision" in lock.reason
    assert landed(tmp_path) == {}


def test_a_file_that_the_commit_lacks_locks_with_what_it_holds(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.commits[commit(1)] = {"train.json": b"[]"}
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "has no 'images_*.zip'" in lock.reason
    assert "It holds train.json" in lock.cure


def test_a_file_that_vanishes_between_the_list_and_its_bytes_locks(server: Hub, tmp_path: Path) -> None:
    server.faults.append(Fault("HEAD", "train.json", 404, {"X-Error-Code": "EntryNotFound"}))
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "has no file 'train.json'" in lock.reason


def test_the_first_fetch_pins_the_commit_and_later_ones_keep_it(server: Hub, repo: Repo, tmp_path: Path) -> None:
    bring(record(), tmp_path)
    repo.commits[commit(2)] = {**FILES, "images_0.zip": b"newer"}
    repo.branches["main"] = commit(2)
    (tmp_path / "pictures" / "images_0.zip").unlink()
    assert bring(record(), tmp_path) is None
    assert landed(tmp_path) == WANTED
    assert read_pin(tmp_path / "pictures", NAME).commit == commit(1) == fetch.fetched_commit(record(), tmp_path)


def test_the_builds_pin_is_taken_although_the_branch_moved_on(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.commits[commit(2)] = {**FILES, "train.json": b"newer"}
    repo.branches["main"] = commit(2)
    assert bring(record(), tmp_path, pin=commit(1)) is None
    assert landed(tmp_path) == WANTED


def test_another_pin_than_that_of_the_fetched_files_locks(server: Hub, tmp_path: Path) -> None:
    bring(record(), tmp_path)
    lock = fetch.pin_conflict(record(), tmp_path, commit(2))
    assert lock is not None
    assert commit(1) in lock.reason
    assert fetch.pin_conflict(record(), tmp_path, commit(1)) is None


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(server: Hub, tmp_path: Path, status: int, short_waits: list[float]) -> None:
    server.faults += [
        Fault("GET", "/api/datasets/", status, {"Retry-After": "3"}),
        Fault("POST", "/paths-info/", status, times=2),
        Fault("HEAD", "images_0.zip", status),
        Fault("GET", "/resolve/", status),
    ]
    assert bring(record(), tmp_path) is None
    assert landed(tmp_path) == WANTED
    assert short_waits[0] >= 3.0


def test_a_hub_that_stays_busy_locks_after_a_bounded_number_of_waits(
    server: Hub, tmp_path: Path, short_waits: list[float]
) -> None:
    server.faults.append(Fault("GET", "/api/datasets/", 429, {"Retry-After": "2"}, times=100))
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "asks for fewer requests (429)" in lock.reason
    assert len(short_waits) < 20


def test_a_wait_of_an_hour_is_left_to_the_next_build(server: Hub, tmp_path: Path, short_waits: list[float]) -> None:
    server.faults.append(Fault("POST", "/paths-info/", 429, {"Retry-After": "3600"}))
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert short_waits == []


def test_a_lock_has_the_same_words_each_time(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.told["images_0.zip"] = b"other"
    assert bring(record(), tmp_path) == bring(record(), tmp_path)


def test_without_a_network_the_source_locks(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "HF_HUB_OFFLINE" in lock.reason


def test_two_builds_at_once_fetch_once(server: Hub, tmp_path: Path) -> None:
    locks: list[Lock | None] = []
    threads = [threading.Thread(target=lambda: locks.append(bring(record(), tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert locks == [None, None, None]
    assert len(server.bodies("images_0.zip")) == 1
    assert landed(tmp_path) == WANTED


def test_what_a_killed_client_left_is_cleared_and_a_whole_file_is_taken(server: Hub, tmp_path: Path) -> None:
    bring(record(), tmp_path)
    staging = tmp_path / "pictures" / fetch.STAGING
    half = staging / ".cache" / "huggingface" / "download" / "images_0.0123.incomplete"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    (tmp_path / "pictures" / "images_0.zip").unlink()
    assert bring(record(), tmp_path) is None
    assert landed(tmp_path) == WANTED
    assert not staging.exists()


FETCH_ALONE = """
import sys
from pathlib import Path
from tests.ingest.test_hub import bring, record
sys.exit(repr(bring(record(gated=True), Path(sys.argv[1]), log=None)))
"""


def start_alone(landing: Path, home: Path, endpoint: str) -> subprocess.Popen[str]:
    """The same fetch in a process of its own, which finds hub and token as any client does."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_secret"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", FETCH_ALONE, str(landing)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )


def test_a_process_finds_hub_and_token_in_its_environment_and_tells_nobody(
    server: Hub, repo: Repo, tmp_path: Path
) -> None:
    repo.gated = True
    server.tokens["hf_secret"] = frozenset({NAME})
    process = start_alone(tmp_path / "landing", tmp_path / "hf", server.url)
    out, errors = process.communicate(timeout=60)
    assert errors.strip().endswith("None"), errors
    assert landed(tmp_path / "landing") == WANTED
    assert "hf_secret" not in out + errors


def test_a_fetch_that_is_killed_is_taken_up_by_the_next_build(server: Hub, tmp_path: Path) -> None:
    server.tokens["hf_secret"] = frozenset({NAME})
    server.faults.append(Fault("GET", "images_1.zip", cut=50_000, stall=True))
    process = start_alone(tmp_path / "landing", tmp_path / "hf", server.url)
    waiting = threading.Event()
    while not server.bodies("images_1.zip") and process.poll() is None:
        waiting.wait(0.02)
    process.kill()
    process.communicate(timeout=60)
    assert list(landed(tmp_path / "landing")) == ["images_0.zip"]
    server.seen.clear()
    assert bring(record(), tmp_path / "landing") is None
    assert landed(tmp_path / "landing") == WANTED
    assert server.bodies("images_0.zip") == []
    assert not (tmp_path / "landing" / "pictures" / fetch.STAGING).exists()


def test_optional_files_come_along_where_the_hub_has_them(server: Hub, tmp_path: Path) -> None:
    more = (
        *record().files,
        ExpectedFile(".gitattributes", "never", optional=True),
        ExpectedFile("notes.txt", "not there", optional=True),
    )
    assert bring(replace(record(), files=more[:3]), tmp_path) is None
    assert bring(replace(record(), files=more), tmp_path) is None
    assert "notes.txt" not in landed(tmp_path)


def test_of_a_group_the_first_that_the_hub_has_is_fetched(server: Hub, tmp_path: Path) -> None:
    files = (
        ExpectedFile("images/**", "unpacked", group="pictures"),
        ExpectedFile("images_0.zip", "packed", group="pictures"),
        ExpectedFile("images_1.zip", "packed otherwise", group="pictures"),
    )
    assert bring(replace(record(), files=files), tmp_path) is None
    assert list(landed(tmp_path)) == ["images_0.zip"]


def test_by_hand_files_of_a_hub_source_are_not_fetched(server: Hub, tmp_path: Path) -> None:
    rows, pictures = record().files
    mixed = replace(record(), files=(rows, replace(pictures, by_hand=True)))
    pending = fetch.pending(mixed, tmp_path)
    assert pending is not None
    assert "images_*.zip" in pending.missing
    bring(mixed, tmp_path)
    assert list(landed(tmp_path)) == ["train.json"]


def test_too_little_room_is_told_before_the_first_byte(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    lock = bring(record(), tmp_path)
    assert lock is not None
    assert "there is no room for it" in lock.reason
    assert server.bodies("images_0.zip") == []


def test_a_git_digest_is_gits_own(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello world\n")
    assert hub.git_blob_sha1(path) == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"  # `git hash-object`


def test_a_name_that_leaves_the_folder_is_refused(server: Hub, repo: Repo, tmp_path: Path) -> None:
    repo.commits[commit(1)] = {"../up.json": b"[]", "train.json": b"[]"}
    climbing = replace(record(), files=(ExpectedFile("**.json", "rows"),))
    with pytest.raises(ArchiveError, match="leaves it"):
        bring(climbing, tmp_path)
    assert not (tmp_path / "up.json").exists()


def test_the_error_of_a_fetch_carries_reason_and_cure() -> None:
    error = FetchError("It is so.", "Do that.")
    assert (error.reason, error.cure, str(error)) == ("It is so.", "Do that.", "It is so. Do that.")
