"""Fetching from a publisher's address: resume, digest, limits, and where a redirect may lead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.errors import FetchError
from medmax_pipeline.ingest import fetch, url
from medmax_pipeline.ingest.pins import read_pin
from medmax_pipeline.manifest import Lock
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Access, ExpectedFile, Source
from tests.ingest.hub_server import Fault, Hub, serving

DATA = bytes(index * 11 % 251 for index in range(150_000))
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server() -> Iterator[Hub]:
    with serving() as served:
        served.pages["/plain/rows.json"] = DATA
        yield served


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def record(server: Hub, address: str = "/plain/rows.json", **changes: object) -> Source:
    """A source of one file at an address."""
    file = ExpectedFile("data/rows.json", "rows", url=server.url + address, sha256=SHA256, bytes=len(DATA))
    access = Access(kind="url", page="https://example.org", how="Download it.")
    files = (replace(file, **changes),)  # type: ignore[arg-type]
    return replace(source("vqa_rad"), key="rows", access=access, files=files)


def bring(record: Source, landing: Path) -> Lock | None:
    return fetch.bring(record, landing, "", lambda line: None)


def landed(landing: Path) -> bytes | None:
    path = landing / "rows" / "data" / "rows.json"
    return path.read_bytes() if path.exists() else None


def part(landing: Path) -> Path:
    return landing / "rows" / fetch.STAGING / "data" / "rows.json.part"


def test_a_file_of_the_pinned_digest_arrives_and_is_not_fetched_again(server: Hub, tmp_path: Path) -> None:
    assert bring(record(server), tmp_path) is None
    assert landed(tmp_path) == DATA
    assert bring(record(server), tmp_path) is None
    assert len(server.seen) == 1
    assert not (tmp_path / "rows" / fetch.STAGING).exists()


def test_a_cut_connection_is_taken_up_where_it_broke(server: Hub, tmp_path: Path) -> None:
    server.faults.append(Fault("GET", "rows.json", cut=70_000))
    assert bring(record(server), tmp_path) is None
    assert [seen.range for seen in server.seen] == ["", "bytes=70000-"]
    assert landed(tmp_path) == DATA


def test_a_killed_build_leaves_a_part_that_the_next_one_takes_up(server: Hub, tmp_path: Path) -> None:
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(DATA[:100_000])
    assert bring(record(server), tmp_path) is None
    assert [seen.range for seen in server.seen] == ["bytes=100000-"]
    assert landed(tmp_path) == DATA


def test_a_part_of_an_older_file_is_not_continued(server: Hub, tmp_path: Path) -> None:
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(b"old" * 100)
    part(tmp_path).with_name("rows.json.part.tag").write_text('"older"')
    assert bring(record(server), tmp_path) is None
    assert landed(tmp_path) == DATA


def test_a_part_longer_than_the_file_is_begun_anew(server: Hub, tmp_path: Path) -> None:
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(DATA + b"more")
    assert bring(record(server), tmp_path) is None
    assert landed(tmp_path) == DATA


def test_a_whole_part_needs_no_more_bytes(server: Hub, tmp_path: Path) -> None:
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(DATA)
    assert bring(record(server), tmp_path) is None
    assert landed(tmp_path) == DATA


def test_a_wrong_digest_locks_and_leaves_nothing(server: Hub, tmp_path: Path) -> None:
    lock = bring(record(server, sha256="0" * 64), tmp_path)
    assert lock is not None
    assert SHA256 in lock.reason
    assert "0" * 64 in lock.reason
    assert landed(tmp_path) is None
    assert not part(tmp_path).exists()


def test_a_file_without_a_pinned_digest_is_written_down_with_its_own(server: Hub, tmp_path: Path) -> None:
    assert bring(record(server, sha256="", bytes=None), tmp_path) is None
    assert read_pin(tmp_path / "rows", fetch.URL).digests == {"data/rows.json": SHA256}


def test_a_page_in_the_place_of_a_file_of_known_size_locks(server: Hub, tmp_path: Path) -> None:
    server.pages["/plain/rows.json"] = b"<html>Please log in</html>"
    lock = bring(record(server, sha256=""), tmp_path)
    assert lock is not None
    assert "150000 are published" in lock.reason
    assert landed(tmp_path) is None


def test_a_larger_file_than_published_is_not_read(server: Hub, tmp_path: Path) -> None:
    lock = bring(record(server, bytes=1000), tmp_path)
    assert lock is not None
    assert "larger than the 1.1 kB" in lock.reason
    assert not part(tmp_path).exists()


def test_a_pointer_in_the_place_of_data_locks(server: Hub, tmp_path: Path) -> None:
    server.pages["/plain/rows.json"] = b"version https://git-lfs.github.com/spec/v1\n"
    lock = bring(record(server, bytes=None), tmp_path)
    assert lock is not None
    assert "Git LFS pointer" in lock.reason


@pytest.mark.parametrize(("status", "word"), [(404, "no longer has"), (403, "refused"), (401, "wants a login")])
def test_a_refusal_locks_without_asking_again(server: Hub, tmp_path: Path, status: int, word: str) -> None:
    server.faults.append(Fault("GET", "rows.json", status, times=9))
    lock = bring(record(server), tmp_path)
    assert lock is not None
    assert word in lock.reason
    assert len(server.seen) == 1


def test_a_busy_server_is_asked_again_after_the_time_it_names(
    server: Hub, tmp_path: Path, short_waits: list[float]
) -> None:
    server.faults += [Fault("GET", "rows", 503), Fault("GET", "rows", 429, {"Retry-After": "7"})]
    assert bring(record(server), tmp_path) is None
    assert short_waits == [1.0, 7.0]


def test_a_server_that_stays_busy_locks(server: Hub, tmp_path: Path, short_waits: list[float]) -> None:
    server.faults.append(Fault("GET", "rows", 503, times=99))
    lock = bring(record(server), tmp_path)
    assert lock is not None
    assert "answered 503" in lock.reason
    assert len(short_waits) == url.ATTEMPTS - 1


def test_a_server_that_is_not_there_locks(server: Hub, tmp_path: Path) -> None:
    gone = replace(record(server).files[0], url="http://127.0.0.1:9/rows.json")
    lock = bring(replace(record(server), files=(gone,)), tmp_path)
    assert lock is not None
    assert "cannot be reached" in lock.reason


def test_a_redirect_is_followed(server: Hub, tmp_path: Path) -> None:
    server.redirects["/old"] = "/plain/rows.json"
    assert bring(record(server, "/old"), tmp_path) is None
    assert landed(tmp_path) == DATA


def test_redirects_in_a_circle_end(server: Hub, tmp_path: Path) -> None:
    server.redirects["/old"] = "/old"
    lock = bring(record(server, "/old"), tmp_path)
    assert lock is not None
    assert len(server.seen) <= url.MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://10.0.0.1/x", "http://example.org/x"]
)
def test_a_redirect_off_its_ground_is_refused(server: Hub, tmp_path: Path, target: str) -> None:
    server.redirects["/old"] = target
    lock = bring(record(server, "/old"), tmp_path)
    assert lock is not None
    assert "not an address that files are fetched from" in lock.reason or "refused (302)" in lock.reason
    assert landed(tmp_path) is None


@pytest.mark.parametrize(
    "address", ["http://example.org/x", "https://127.0.0.1/x", "https://10.1.2.3/x", "https://box.local/x", "file:///x"]
)
def test_from_outside_only_https_to_public_hosts_is_spoken(address: str) -> None:
    with pytest.raises(FetchError, match="not an address"):
        url.check_address(address, local=False)


def test_a_public_https_address_is_spoken_to() -> None:
    url.check_address("https://example.org/x", local=False)


def test_of_a_group_the_first_address_is_taken(server: Hub, tmp_path: Path) -> None:
    one = replace(record(server).files[0], group="rows")
    other = ExpectedFile("data/other.json", "the same", group="rows", url=server.url + "/plain/other.json")
    assert bring(replace(record(server), files=(one, other)), tmp_path) is None
    assert [seen.path for seen in server.seen] == ["/plain/rows.json"]
