"""Asking endpoints: every request comes back once, nothing is paid twice, and nothing leaves that may not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.config import Endpoint
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.endpoint import Chat, Message, Refused, Reply, Request, open_chat
from tests.models.chat_server import ChatServer, Fault, serving

KEY = "sk-test-0123456789"
QUICK = {"timeout_s": 20.0, "retries": 3, "concurrency": 4, "key": "TEST_KEY"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


def endpoint(server: ChatServer, **fields: Any) -> Endpoint:
    return Endpoint(**{"kind": "openai", "model": "judge-1", "url": server.url, **QUICK, **fields})


def opened(asked: Endpoint, cache: Path, lines: list[str] | None = None) -> Chat:
    log = lines.append if lines is not None else (lambda line: None)
    chat = open_chat(asked, cache, log, backoff_s=0.005)
    assert isinstance(chat, Chat)
    return chat


def question(text: str, *, credentialed: bool = False, attempt: int = 0) -> Request:
    return Request((Message("system", "be brief"), Message("user", text)), credentialed, attempt)


def questions(count: int) -> list[Request]:
    return [question(f"question {number}.") for number in range(count)]


def all_of(chat: Chat, requests: Sequence[Request]) -> list[Reply | Refused]:
    """What came of each request, in their order; each exactly once."""
    said = list(chat.ask(requests))
    assert sorted(place for place, _ in said) == list(range(len(requests)))
    found = dict(said)
    return [found[place] for place in range(len(requests))]


def texts(said: Sequence[Reply | Refused]) -> list[str]:
    return [each.text if isinstance(each, Reply) else each.reason for each in said]


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_every_request_gets_the_reply_to_its_own_message(server: ChatServer, tmp_path: Path) -> None:
    said = all_of(opened(endpoint(server), tmp_path), questions(20))
    assert texts(said) == [f"I read: question {number}." for number in range(20)]
    sent = server.seen[0].payload
    assert (sent["model"], sent["temperature"], sent["seed"], sent["max_tokens"]) == ("judge-1", 0.0, 0, 1024)
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_replay_needs_no_network(tmp_path: Path) -> None:
    with serving() as server:
        asked = endpoint(server)
        first = texts(all_of(opened(asked, tmp_path), questions(5)))
    again = all_of(opened(asked, tmp_path), questions(5))
    assert texts(again) == first
    assert all(isinstance(reply, Reply) and reply.cached for reply in again)


def test_equal_requests_are_sent_once(server: ChatServer, tmp_path: Path) -> None:
    said = all_of(opened(endpoint(server), tmp_path), [question("same")] * 6)
    assert texts(said) == ["I read: same"] * 6
    assert len(server.seen) == 1


def test_equal_words_are_one_question_whether_credentialed_or_not(server: ChatServer, tmp_path: Path) -> None:
    asked = endpoint(server, may_see_credentialed=True)
    said = all_of(opened(asked, tmp_path), [question("same"), question("same", credentialed=True)])
    assert texts(said) == ["I read: same"] * 2
    assert len(server.seen) == 1


def test_another_attempt_another_message_and_another_setting_are_other_questions(
    server: ChatServer, tmp_path: Path
) -> None:
    all_of(opened(endpoint(server), tmp_path), [question("a"), question("a", attempt=1), question("b")])
    all_of(opened(endpoint(server, temperature=0.5), tmp_path), [question("a")])
    all_of(opened(endpoint(server, model="judge-2"), tmp_path), [question("a")])
    all_of(opened(endpoint(server, concurrency=1, timeout_s=0.5), tmp_path), [question("a")])
    assert len(server.seen) == 5


PASSING = {
    "429": Fault(status=429, times=2),
    "429 with a pause in seconds": Fault(status=429, times=1, headers={"Retry-After": "0.05"}),
    "429 with a pause as a date": Fault(status=429, times=1, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "429 with a pause nobody can read": Fault(status=429, times=1, headers={"Retry-After": "soon"}),
    "500": Fault(status=500, times=3),
    "silent": Fault(stall=True, times=1),
    "silent in the middle": Fault(stall=True, cut=20, times=1),
    "dripping": Fault(drip=True, times=1),
    "cut in the middle": Fault(cut=20, times=2),
    "no JSON": Fault(body=b"<html>one moment</html>", times=2),
    "half a JSON": Fault(body=b'{"choices": [{"message"', times=1),
    "another JSON": Fault(body=b"[1, 2]", times=1),
    "no choices": Fault(body=b'{"choices": []}', times=1),
    "no UTF-8": Fault(body=b'{"choices": ["\xff"]}', times=1),
    "deep": Fault(body=b'{"choices": ' + b"[" * 5000 + b"]" * 5000 + b"}", times=1),
    "another type": Fault(content_type="text/html", times=1),
    "compressed unasked": Fault(headers={"Content-Encoding": "gzip"}, times=1),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_passes_is_asked_again_and_answered(fault: Fault, server: ChatServer, tmp_path: Path) -> None:
    server.faults = [fault]
    chat = opened(endpoint(server, timeout_s=0.4 if fault.stall or fault.drip else 20.0), tmp_path)
    assert texts(all_of(chat, questions(3))) == [f"I read: question {number}." for number in range(3)]
    assert len(server.seen) == chat.tries == 3 + fault.times
    all_of(opened(endpoint(server), tmp_path), questions(3))
    assert len(server.seen) == 3 + fault.times, "what was answered is not asked again"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=429), "answered_429"),
        (Fault(status=503), "answered_503"),
        (Fault(cut=20), "cut_off"),
        (Fault(body=b"{}"), "malformed"),
        (Fault(stall=True), "timed_out"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_pass_is_refused_by_name_and_asked_again_next_time(
    fault: Fault, reason: str, server: ChatServer, tmp_path: Path
) -> None:
    server.faults = [fault]
    asked = endpoint(server, retries=1, timeout_s=0.15 if fault.stall else 20.0)
    said = all_of(opened(asked, tmp_path), questions(2))
    assert texts(said) == [reason] * 2
    assert len(server.seen) == 4
    server.faults = []
    assert texts(all_of(opened(asked, tmp_path), questions(2))) == ["I read: question 0.", "I read: question 1."]


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serving() as server:
        asked = endpoint(server, retries=1)
    assert texts(all_of(opened(asked, tmp_path), questions(2))) == ["unreachable"] * 2


def test_a_pause_holds_for_all_requests(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(status=429, times=1, headers={"Retry-After": "0.2"})]
    all_of(opened(endpoint(server, concurrency=1), tmp_path), questions(3))
    assert server.seen[1].at - server.seen[0].at >= 0.2


def test_a_pause_that_is_too_long_is_not_waited_for(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(status=429, headers={"Retry-After": "86400"})]
    assert texts(all_of(opened(endpoint(server), tmp_path), questions(1))) == ["answered_429"]
    assert len(server.seen) == 1


def test_requests_keep_the_pace(server: ChatServer, tmp_path: Path) -> None:
    all_of(opened(endpoint(server, requests_per_minute=1500), tmp_path), questions(6))
    times = sorted(seen.at for seen in server.seen)
    assert times[-1] - times[0] >= 5 * 60 / 1500 * 0.9


def test_nothing_more_is_sent_after_many_failures_in_a_row(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(status=500)]
    lines: list[str] = []
    said = texts(all_of(opened(endpoint(server, retries=0), tmp_path, lines), questions(60)))
    assert set(said) == {"answered_500", "given_up"}
    assert len(server.seen) < 8 + QUICK["concurrency"]  # type: ignore[operator]
    assert sum("in a row" in line for line in lines) == 1


def test_a_failure_among_answers_gives_nothing_up(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(part="odd", status=500)]
    requests = [question(f"{'odd' if number % 2 else 'even'} {number}") for number in range(40)]
    said = texts(all_of(opened(endpoint(server, retries=0, concurrency=1), tmp_path), requests))
    assert said.count("answered_500") == 20
    assert len(server.seen) == 40


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=401), "key_refused"),
        (Fault(status=404), "not_found"),
        (Fault(status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"}), "redirected"),
        (
            Fault(status=429, body=b'{"error": {"message": "pay", "code": "insufficient_quota"}}'),
            "quota_spent",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_holds_for_all_is_asked_once(fault: Fault, reason: str, server: ChatServer, tmp_path: Path) -> None:
    server.faults = [fault]
    said = all_of(opened(endpoint(server, concurrency=1), tmp_path), questions(5))
    assert texts(said) == [reason] * 5
    assert len(server.seen) == 1


def test_a_redirect_is_not_followed(server: ChatServer, tmp_path: Path) -> None:
    with serving() as other:
        for status in (301, 302, 303, 307, 308):
            server.faults = [Fault(status=status, headers={"Location": f"{other.url}/chat/completions"})]
            all_of(opened(endpoint(server), tmp_path / str(status)), questions(1))
        assert other.seen == []


def test_a_request_that_is_refused_keeps_the_servers_words_but_no_key(server: ChatServer, tmp_path: Path) -> None:
    message = f"bad request\nfor {KEY} " + "x" * 5000
    server.faults = [Fault(part="odd", status=400, body=json.dumps({"error": {"message": message}}).encode())]
    said = all_of(opened(endpoint(server), tmp_path), [question("odd"), question("even")])
    assert isinstance(said[0], Refused)
    assert said[0].reason == "request_refused"
    assert KEY not in said[0].detail
    assert "\n" not in said[0].detail
    assert len(said[0].detail) < 300
    assert texts(said)[1] == "I read: even"


def test_a_huge_answer_is_refused_and_not_paid_for_again(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(body=b'{"choices": ["' + b"a" * (1 << 18) + b'"]}')]
    for _ in range(2):
        assert texts(all_of(opened(endpoint(server), tmp_path), questions(1))) == ["too_large"]
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(text=""), "no_text"),
        (Fault(text=" \n "), "no_text"),
        (Fault(message={"role": "assistant", "content": None}), "no_text"),
        (Fault(message={"role": "assistant", "content": [{"type": "text", "text": "a"}]}), "no_text"),
        (Fault(message={"role": "assistant", "content": None, "refusal": "I can't"}), "model_refused"),
        (Fault(text="half", finish="content_filter"), "model_refused"),
        (Fault(body=b'{"choices": ["what"]}'), "no_text"),
    ],
)
def test_an_answer_without_a_reply_is_named_and_not_paid_for_again(
    fault: Fault, reason: str, server: ChatServer, tmp_path: Path
) -> None:
    server.faults = [fault]
    for _ in range(2):
        assert texts(all_of(opened(endpoint(server), tmp_path), questions(1))) == [reason]
    assert len(server.seen) == 1


def test_a_reply_that_was_cut_at_its_limit_says_so(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(part="odd", finish="length")]
    odd, even = all_of(opened(endpoint(server), tmp_path), [question("odd"), question("even")])
    assert isinstance(odd, Reply)
    assert isinstance(even, Reply)
    assert (odd.complete, even.complete) == (False, True)


def test_another_model_than_the_one_asked_is_told_once(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(model="judge-1-2026-01-01")]
    lines: list[str] = []
    chat = opened(endpoint(server), tmp_path, lines)
    said = all_of(chat, questions(3))
    assert {reply.model for reply in said if isinstance(reply, Reply)} == {"judge-1-2026-01-01"}
    assert sum("calls itself" in line for line in lines) == 1
    assert chat.summary()["answered_by judge-1-2026-01-01"] == 3


CANARY = "CANARY-7f3a"


def test_credentialed_text_never_leaves_this_machine(server: ChatServer, tmp_path: Path) -> None:
    lines: list[str] = []
    requests = [question(f"{CANARY} {n}" if n % 2 else f"open {n}", credentialed=n % 2 == 1) for n in range(20)]
    said = all_of(opened(endpoint(server), tmp_path, lines), requests)
    assert [isinstance(each, Refused) for each in said] == [n % 2 == 1 for n in range(20)]
    assert {each.reason for each in said if isinstance(each, Refused)} == {"credentialed_not_admitted"}
    assert b"open 18" in server.received
    assert CANARY.encode() not in server.received
    assert CANARY.encode() not in on_disk(tmp_path)
    assert CANARY not in "".join(lines)


def test_equal_text_that_is_open_does_not_carry_the_credentialed_one_along(server: ChatServer, tmp_path: Path) -> None:
    said = all_of(opened(endpoint(server), tmp_path), [question("a", credentialed=True), question("a")])
    assert texts(said) == ["credentialed_not_admitted", "I read: a"]


def test_an_answer_on_disk_is_refused_too_once_the_build_no_longer_admits(server: ChatServer, tmp_path: Path) -> None:
    secret = [question(CANARY, credentialed=True)]
    admitted = all_of(opened(endpoint(server, may_see_credentialed=True), tmp_path), secret)
    assert texts(admitted) == [f"I read: {CANARY}"]
    assert texts(all_of(opened(endpoint(server), tmp_path), secret)) == ["credentialed_not_admitted"]


PRICES = {"usd_per_million_in": 1.0, "usd_per_million_out": 10.0}


def test_costs_are_told_before_the_first_request_and_counted_after(server: ChatServer, tmp_path: Path) -> None:
    seen_at: list[int] = []
    chat = open_chat(
        endpoint(server, max_tokens=100, **PRICES), tmp_path, lambda line: seen_at.append(len(server.seen))
    )
    assert isinstance(chat, Chat)
    requests = [question("x" * 292), *questions(2)]
    cost = chat.estimate(requests)
    assert (cost.requests, cost.cached, cost.tokens_out) == (3, 0, 300)
    assert cost.tokens_in == (292 + 8) // 3 + 16 + 2 * (7 + 16)
    assert cost.usd == pytest.approx((cost.tokens_in + 10 * 300) / 1e6)
    all_of(chat, requests)
    assert seen_at[0] == 0
    assert chat.summary()["tokens_in"] == 30
    assert len(seen_at) == 2, "told before, and counted after"
    assert chat.summary()["usd"] == pytest.approx((30 + 150) / 1e6)
    assert chat.estimate(requests).cached == 3


def test_without_prices_costs_are_given_in_tokens(server: ChatServer, tmp_path: Path) -> None:
    lines: list[str] = []
    all_of(opened(endpoint(server), tmp_path, lines), questions(1))
    assert "prices not given" in lines[0]
    assert "tokens" in lines[0]


def test_a_budget_stops_before_the_request_that_could_pass_it(server: ChatServer, tmp_path: Path) -> None:
    one = (8 + 11 + 16 + 100 * 10) / 1e6  # bytes and marks in, max_tokens out
    server.usage = (35, 100)
    asked = endpoint(server, max_tokens=100, concurrency=3, budget_usd=3.5 * one, **PRICES)
    said = texts(all_of(opened(asked, tmp_path), questions(10)))
    assert said.count("budget_spent") == 7
    assert len(server.seen) == 3
    assert texts(all_of(opened(asked, tmp_path), questions(10))) == said, "another run has no other budget"
    assert len(server.seen) == 3


def test_a_budget_counts_what_was_used_and_not_what_could_have_been(server: ChatServer, tmp_path: Path) -> None:
    server.usage = (10, 1)
    one = (8 + 11 + 16 + 100 * 10) / 1e6
    asked = endpoint(server, max_tokens=100, concurrency=1, budget_usd=1.2 * one, **PRICES)
    assert "budget_spent" not in texts(all_of(opened(asked, tmp_path), questions(8)))


def test_a_budget_counts_cut_answers_and_uncounted_ones_as_dear_as_they_can_be(
    server: ChatServer, tmp_path: Path
) -> None:
    server.faults = [Fault(cut=10, times=1), Fault(counted=False)]
    one = (8 + 11 + 16 + 100 * 10) / 1e6
    asked = endpoint(server, max_tokens=100, concurrency=1, budget_usd=3.2 * one, **PRICES)
    said = texts(all_of(opened(asked, tmp_path), questions(4)))
    assert said.count("budget_spent") == 2
    assert len(server.seen) == 3


def test_a_refusal_that_nobody_bills_leaves_the_budget_as_it_was(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(status=429, times=3)]
    server.usage = (10, 1)
    one = (8 + 11 + 16 + 100 * 10) / 1e6
    asked = endpoint(server, max_tokens=100, concurrency=1, budget_usd=1.2 * one, **PRICES)
    assert "budget_spent" not in texts(all_of(opened(asked, tmp_path), questions(2)))


def test_who_stops_reading_pays_for_no_more_than_what_is_under_way(server: ChatServer, tmp_path: Path) -> None:
    answers = opened(endpoint(server, concurrency=2), tmp_path).ask(questions(200))
    assert isinstance(answers, Generator)
    next(answers)
    answers.close()
    assert server.answered() < 50
    before = len(server.seen)
    time.sleep(0.05)
    assert len(server.seen) == before
    kept = sum(path.suffix == ".json" for path in tmp_path.rglob("*"))
    assert kept == server.answered(), "what was paid for is kept"


def test_a_damaged_answer_on_disk_is_asked_for_again(server: ChatServer, tmp_path: Path) -> None:
    all_of(opened(endpoint(server), tmp_path), questions(2))
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(b'{"asked": {}, "answer": {"choices": []}}')
    assert texts(all_of(opened(endpoint(server), tmp_path), questions(2)))[0] == "I read: question 0."
    assert len(server.seen) == 4


CHILD = """
import sys
from pathlib import Path
from medmax_pipeline.config import Endpoint
from medmax_pipeline.models.endpoint import Message, Request, open_chat
url, cache = sys.argv[1:]
asked = Endpoint(kind="openai", model="judge-1", url=url, key="", concurrency=2)
requests = [Request((Message("user", f"question {n}."),), False) for n in range(40)]
for place, said in open_chat(asked, Path(cache), print).ask(requests):
    print("answered", flush=True)
"""


def test_killed_and_run_again_pays_at_most_for_what_was_under_way(server: ChatServer, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, server.url, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line == "answered\n" and len(server.seen) >= 12:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    child.wait()
    asked = endpoint(server, key="", concurrency=2)
    requests = [Request((Message("user", f"question {n}."),), False) for n in range(40)]
    assert texts(all_of(opened(asked, tmp_path), requests)) == [f"I read: question {n}." for n in range(40)]
    assert 40 <= len(server.seen) <= 40 + 2


def test_a_missing_key_locks_and_says_what_to_set(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KEY")
    lock = open_chat(endpoint(server), tmp_path, print)
    assert isinstance(lock, Lock)
    assert "TEST_KEY" in lock.reason
    assert "TEST_KEY_FILE" in lock.cure
    assert isinstance(open_chat(endpoint(server, key=""), tmp_path, print), Chat)


@pytest.mark.parametrize("bad", ["", "two\nlines", "k\u00e9y", "a\x00b"])
def test_a_key_that_no_header_can_carry_is_none(bad: str, server: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(bad)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEST_KEY")
        patch.setenv("TEST_KEY_FILE", str(tmp_path / "key"))
        assert isinstance(open_chat(endpoint(server), tmp_path, print), Lock)


def test_a_key_may_lie_in_a_file(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("TEST_KEY_FILE", str(tmp_path / "key"))
    all_of(opened(endpoint(server), tmp_path / "cache"), questions(1))
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"


def test_the_key_is_in_no_log_no_file_and_no_representation(
    server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.faults = [Fault(part="odd", status=401, body=json.dumps({"error": {"message": KEY}}).encode())]
    lines: list[str] = []
    chat = opened(endpoint(server, concurrency=1), tmp_path, lines)
    said = all_of(chat, [*questions(2), question("odd")])
    assert "key_refused" in texts(said)
    shown = "".join(lines) + repr(said) + repr(chat.summary()) + repr(chat.identity) + repr(vars(chat)) + caplog.text
    assert KEY not in shown
    assert KEY.encode() not in on_disk(tmp_path)


def test_a_proxy_of_the_environment_does_not_see_this_machines_own(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert texts(all_of(opened(endpoint(server), tmp_path), questions(1))) == ["I read: question 0."]
        assert proxy.seen == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"url": "http://judge.example/v1"}, "plain_http"),
        ({"url": "file:///etc/passwd"}, "expected https"),
        ({"url": "https://me:secret@judge.example/v1"}, "login"),
        ({"url": "https://judge.example/v1?key=secret"}, "query"),
        ({"model": ""}, "model is empty"),
        ({"concurrency": 0}, "concurrency"),
        ({"budget_usd": 1.0}, "usd_per_million_in"),
    ],
)
def test_an_endpoint_that_cannot_be_meant_is_an_error(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    asked = Endpoint(**{"kind": "openai", "model": "m", "url": "https://judge.example/v1", **fields})
    with pytest.raises(ConfigError, match=told) as raised:
        open_chat(asked, tmp_path, print)
    assert "secret" not in str(raised.value)


def test_http_to_another_machine_is_spoken_where_the_build_says_so(tmp_path: Path) -> None:
    asked = Endpoint(kind="openai", model="m", url="http://judge.example/v1", plain_http=True, key="")
    assert isinstance(open_chat(asked, tmp_path, print), Chat)


def test_rules_are_asked_by_their_name(tmp_path: Path) -> None:
    chat = opened(Endpoint(kind="sample", model="sample_judge"), tmp_path)
    assert texts(all_of(chat, questions(1))) == ["This is no question that sample_judge has a rule for."]
    assert chat.identity["kind"] == "sample"
    with pytest.raises(ConfigError, match="sample_judge"):
        open_chat(Endpoint(kind="sample", model="gpt-4o"), tmp_path, print)


def test_rules_see_no_credentialed_text_either(tmp_path: Path) -> None:
    chat = opened(Endpoint(kind="sample", model="sample_judge"), tmp_path)
    assert texts(all_of(chat, [question("a", credentialed=True)])) == ["credentialed_not_admitted"]
