"""Writing through a real server on this machine: every pair comes out once, and nothing is paid twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.config import Interleave
from medmax_pipeline.errors import EndpointError
from medmax_pipeline.ingest.retry import retry
from medmax_pipeline.withdrawal import mark
from tests.interleave.writing import House, good, pair
from tests.models.chat_server import ChatServer, Fault, serving

CANARY = "canary-7391 of a patient"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(says=good) as server:
        yield server


def house(tmp_path: Path, count: int = 3) -> House:
    return House(tmp_path, {"pmc_oa": [pair(name) for name in "abcdefghij"[:count]]})


def quarantined(folder: Path) -> list[tuple[str, str]]:
    table = pq.read_table(folder / "quarantine.parquet")
    return list(zip(table["unit"].to_pylist(), table["reason"].to_pylist(), strict=True))


def test_each_pair_becomes_a_question_and_an_answer_that_shows_its_picture(tmp_path: Path, server: ChatServer) -> None:
    made = house(tmp_path).asking(server).build()
    pairs = house(tmp_path).pairs["pmc_oa"]
    written = list(read_samples(made.folder / "samples.parquet"))
    assert [one.images for one in written] == [one.images for one in pairs]
    for one, of in zip(written, pairs, strict=True):
        assert (one.source, one.kind, one.split) == ("interleaved", "interleaved", "train")
        assert "<image>" not in one.turns[0].text
        assert one.turns[1].text.count("<image>") == 1
        assert of.context in one.turns[1].text
        assert (one.licence, one.origin, one.context) == (of.licence, of.origin, of.context)
        assert json.loads(one.extra) == {"pair": of.sample_id, "author": "author-1", "prompt": "v1"}
    assert len({one.sample_id for one in written}) == 3
    assert (made.manifest.counts.taken, made.manifest.counts.kept) == (3, 3)
    assert made.manifest.summary["author"] == "author-1"


def test_the_cost_is_said_before_the_first_question(tmp_path: Path, server: ChatServer) -> None:
    own = house(tmp_path).asking(server)
    own.build()
    assert "3 requests" in own.log[0]


def test_a_reply_that_cannot_be_read_is_asked_for_again(tmp_path: Path, server: ChatServer) -> None:
    server.faults = [Fault("Caption of b", times=1, text="Sorry?"), Fault("Caption of b", times=1, finish="length")]
    made = house(tmp_path).asking(server).build()
    assert made.manifest.counts.kept == 3
    assert made.manifest.summary["asked_again"] == 2
    assert len({seen.payload["seed"] for seen in server.seen if "Caption of b" in seen.text}) == 3


def test_a_pair_that_no_attempt_gives_a_readable_reply_is_quarantined_by_name(
    tmp_path: Path, server: ChatServer
) -> None:
    server.faults = [
        Fault("Caption of a", text="{}"),
        Fault("Caption of b", finish="content_filter"),
        Fault("Caption of c", status=400),
    ]
    made = house(tmp_path, 4).asking(server).build()
    ids = [one.sample_id for one in house(tmp_path, 4).pairs["pmc_oa"]]
    reasons = ["reply_wrong_fields", "model_refused", "request_refused"]
    assert quarantined(made.folder) == list(zip(ids, reasons, strict=False))
    assert made.manifest.counts.kept == 1
    assert made.manifest.counts.balanced
    assert [sum(f"Caption of {name}" in seen.text for seen in server.seen) for name in "abcd"] == [3, 3, 1, 1]


def test_an_endpoint_that_fails_as_a_whole_ends_the_step_and_what_it_said_is_not_paid_again(
    tmp_path: Path, server: ChatServer
) -> None:
    own = house(tmp_path, 4).asking(server, concurrency=1)
    server.faults = [Fault("Caption of c", times=1, status=401)]
    with pytest.raises(EndpointError, match="key_refused"):
        own.build()
    assert own.ledger.current("interleaved/samples") is None
    assert own.build().manifest.counts.kept == 4
    assert [server.answered(f"Caption of {name}") for name in "abcd"] == [1, 1, 1, 1]


def test_a_second_build_asks_nobody_and_a_further_pair_asks_for_itself_alone(
    tmp_path: Path, server: ChatServer
) -> None:
    first = house(tmp_path, 3).asking(server).build()
    again = house(tmp_path, 3).asking(server)
    assert again.build().manifest.fingerprint == first.manifest.fingerprint
    assert house(tmp_path, 4).asking(server).build().manifest.counts.kept == 4
    assert len(server.seen) == 4


def test_credentialed_pairs_never_reach_an_endpoint_that_may_not_see_them(tmp_path: Path, server: ChatServer) -> None:
    secret = pair("s", credentialed=True, context=CANARY)
    own = House(tmp_path, {"pmc_oa": [pair("a"), secret]}).asking(server)
    made = own.build()
    assert made.manifest.counts.dropped == {"credentialed_not_admitted": 1}
    assert not made.manifest.credentialed
    assert CANARY.encode() not in bytes(server.received)
    replies = [path for path in (tmp_path / "store" / "replies").rglob("*") if path.is_file()]
    assert replies
    assert not any(CANARY.encode() in path.read_bytes() for path in replies)


def test_what_may_be_seen_is_written_about_and_stays_credentialed(tmp_path: Path, server: ChatServer) -> None:
    secret = pair("s", credentialed=True, context=CANARY)
    made = House(tmp_path, {"pmc_oa": [secret]}).asking(server, may_see_credentialed=True).build()
    assert CANARY.encode() in bytes(server.received)
    assert made.manifest.credentialed
    assert [one.credentialed for one in read_samples(made.folder / "samples.parquet")] == [True]


def test_the_same_replies_give_the_same_bytes(tmp_path: Path, server: ChatServer) -> None:
    one = house(tmp_path / "one", 6).asking(server, concurrency=1).build()
    two = house(tmp_path / "two", 6).asking(server, concurrency=6).build()
    assert one.manifest.digest == two.manifest.digest


def test_the_pictures_of_the_set_are_those_it_shows(tmp_path: Path, server: ChatServer) -> None:
    own = replace(house(tmp_path, 5), wanted=Interleave(endpoint="author", sources=("pmc_oa",), limit={"pmc_oa": 2}))
    made = own.asking(server).build()
    shown = {one.images[0] for one in read_samples(made.folder / "samples.parquet")}
    assert set(pq.read_table(made.folder / "images.parquet")["image_id"].to_pylist()) == shown
    assert made.manifest.counts.dropped == {"beyond_limit": 3}


def test_a_withdrawn_sample_of_the_set_goes_without_asking_again(tmp_path: Path, server: ChatServer) -> None:
    own = house(tmp_path, 3).asking(server)
    first = next(read_samples(own.build().folder / "samples.parquet"))
    mark(tmp_path / "store", [first.sample_id], "wrong")
    own.build()
    assert own.ledger.need("interleaved/curated").manifest.counts.dropped == {"withdrawn": 1}
    assert len(server.seen) == 3


def test_a_retry_by_command_gives_unreadable_pairs_further_attempts_and_asks_nothing_twice(
    tmp_path: Path, server: ChatServer
) -> None:
    server.faults = [Fault("Caption of b", times=3, text="Sorry?")]
    own = house(tmp_path).asking(server)
    assert own.build().manifest.counts.quarantined == {"reply_not_json": 1}
    (tried,) = retry(own.ledger, own.steps(), [], lambda line: None, lambda arguments, *, state=None: None)
    assert (tried.key, tried.changed) == ("interleaved/samples", True)
    assert own.ledger.need("interleaved/samples").manifest.counts.kept == 3
    assert [sum(f"Caption of {name}" in seen.text for seen in server.seen) for name in "abc"] == [1, 4, 1]
