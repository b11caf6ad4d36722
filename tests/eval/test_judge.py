"""Judges: replies are read strictly or not at all, and every item gets exactly one verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.config import Endpoint
from medmax_pipeline.errors import EndpointError
from medmax_pipeline.eval.judge import Judge, JudgedAnswer, JudgedPair, Verdict, open_judge
from medmax_pipeline.eval.judge_prompts import (
    CorrectParts,
    PairParts,
    Scores,
    correct_messages,
    correct_parts,
    pair_messages,
    pair_parts,
    read_correct,
    read_correct_compat,
    read_scores,
    read_scores_compat,
)
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.endpoint import open_chat
from tests.models.chat_server import ChatServer, Fault, serving

UNREAD, TWO = "judge_unreadable", "judge_two_verdicts"

CORRECT_REPLIES: list[tuple[str, float | str, float | None]] = [
    ("Correctness: 1", 1.0, 1.0),
    ("Correctness: 0", 0.0, 0.0),
    ("The candidate names the same organ.\nCorrectness: 1\n", 1.0, 1.0),
    ("**Correctness: 0**", 0.0, 0.0),
    ("**Correctness:** 1", 1.0, None),
    ("correctness: 1.", 1.0, None),
    ("Correctness:1", 1.0, None),
    ("Correctness: 1\r\nIt matches.", 1.0, 1.0),
    ("", UNREAD, None),
    ("1", UNREAD, None),
    ("Yes, that is right.", UNREAD, None),
    ("Correctness: yes", UNREAD, None),
    ("Correctness:", UNREAD, None),
    ("Correctness:\n1", UNREAD, None),
    ("Correctness: <0/1>", UNREAD, None),
    ("Correctness: 1/0", UNREAD, 1.0),
    ("Correctness: 1 or 0", UNREAD, 1.0),
    ("Correctness: 0.5", UNREAD, 0.0),
    ("Correctness: 10", UNREAD, 1.0),
    ("Correctness: -1", UNREAD, None),
    ("Correctness: 1, but only in part", UNREAD, 1.0),
    ("Correctness: 1\nCorrectness: 0", TWO, 1.0),
    ("Correctness: 0\nOn second thoughts,\nCorrectness: 1", TWO, 1.0),
    ("Correctness: 1\nCorrectness: 1", TWO, 1.0),
    ("The answer ends with 'Correctness: 1'.\nCorrectness: 0", TWO, 1.0),
    ("Correctness: 0 Correctness: 0", TWO, 0.0),
]


@pytest.mark.parametrize(("reply", "strict", "compat"), CORRECT_REPLIES)
def test_a_verdict_on_an_answer_is_read_or_named(reply: str, strict: float | str, compat: float | None) -> None:
    assert read_correct(reply) == strict
    assert read_correct_compat(reply) == compat


PAIR_REPLIES: list[tuple[str, Scores | str, Scores | None]] = [
    ("8 6\nThe first is better.", Scores(8, 6), Scores(8, 6)),
    ("8, 6", Scores(8, 6), Scores(8, 6)),
    ("8.5 6.25", Scores(8.5, 6.25), Scores(8.5, 6.25)),
    ("1 10", Scores(1, 10), Scores(1, 10)),
    ("\n8 6", Scores(8, 6), None),
    ("0 5", UNREAD, None),
    ("5 0", UNREAD, Scores(5, 0)),
    ("11 5", UNREAD, Scores(11, 5)),
    ("8 100", UNREAD, Scores(8, 100)),
    ("-8 6", UNREAD, Scores(-8, 6)),
    ("nan 6", UNREAD, None),
    ("8 inf", UNREAD, None),
    ("1e1 5", UNREAD, Scores(10, 5)),
    ("8", UNREAD, None),
    ("8 6 7", UNREAD, None),
    ("8/10 6/10", UNREAD, None),
    ("Assistant 1: 8 Assistant 2: 6", UNREAD, None),
    ("Both are good.\n8 6", UNREAD, None),
    ("", UNREAD, None),
    ("8 6\n6 8", TWO, Scores(8, 6)),
    ("8 6\nfirst better\n9 2", TWO, Scores(8, 6)),
]


@pytest.mark.parametrize(("reply", "strict", "compat"), PAIR_REPLIES)
def test_two_scores_are_read_or_named(reply: str, strict: Scores | str, compat: Scores | None) -> None:
    assert read_scores(reply) == strict
    assert read_scores_compat(reply) == compat


@pytest.mark.parametrize("text", ["left lung", "{question}", "a\nReference answer: b", "", "%s \\1 {0}"])
def test_a_message_holds_its_parts_as_they_are(text: str) -> None:
    assert text in correct_messages(CorrectParts(text, "r", "c"))[0].text
    assert f"Candidate answer: {text}\n" in correct_messages(CorrectParts("q", "r", text))[0].text
    assert text in pair_messages(PairParts("c", text, "a", "b"))[1].text


def test_rules_read_the_parts_of_a_message_back() -> None:
    single = CorrectParts("Which organ\nis it?", "left lung", "The Left Lung.")
    pair = PairParts("a chest x-ray", "What is seen?", "one\ntwo", "three")
    assert correct_parts(correct_messages(single)[0].text) == single
    assert pair_parts(pair_messages(pair)[1].text) == pair
    assert correct_parts(pair_messages(pair)[1].text) is None
    assert pair_parts("8 6") is None


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


def judge(server: ChatServer, cache: Path, **fields: Any) -> Judge:
    asked = {"kind": "openai", "model": "judge-1", "url": server.url, "key": "", "retries": 2, **fields}
    chat = open_chat(Endpoint(**asked), cache, lambda line: None, backoff_s=0.005)
    assert not isinstance(chat, Lock)
    return Judge(chat)


def answer(item: str, candidate: str, *, credentialed: bool = False) -> JudgedAnswer:
    return JudgedAnswer(
        item_id=item, question="Which organ?", reference="lung", candidate=candidate, credentialed=credentialed
    )


def pair(candidate: str) -> JudgedPair:
    return JudgedPair(
        item_id=candidate,
        question="What is seen?",
        context="a chest x-ray",
        reference="THE REFERENCE",
        candidate=candidate,
        credentialed=False,
    )


def test_answers_are_judged_in_their_order(server: ChatServer, tmp_path: Path) -> None:
    server.says = lambda messages: f"Correctness: {int('right' in messages[-1]['content'])}"
    items = [answer(str(n), f"right {n}" if n % 3 else f"no {n}") for n in range(15)]
    verdicts = judge(server, tmp_path).correct(items)
    assert [verdict.value for verdict in verdicts] == [float(bool(n % 3)) for n in range(15)]
    assert verdicts[1] == Verdict(1.0, 1.0, "", ("Correctness: 1",))


def test_the_candidate_is_judged_as_it_was_written(server: ChatServer, tmp_path: Path) -> None:
    server.says = lambda messages: "Correctness: 1"
    judge(server, tmp_path).correct([answer("a", "Left LUNG")])
    assert "Left LUNG" in server.seen[0].text
    assert [message["role"] for message in server.seen[0].payload["messages"]] == ["user"]


def test_what_cannot_be_read_is_asked_for_once_more(server: ChatServer, tmp_path: Path) -> None:
    server.says = lambda messages: "Correctness: 1" if len(messages) > 1 else "Surely right."
    verdict = judge(server, tmp_path).correct([answer("a", "lung")])[0]
    assert verdict == Verdict(1.0, None, "", ("Surely right.", "Correctness: 1"))
    assert [message["role"] for message in server.seen[1].payload["messages"]] == ["user", "assistant", "user"]


def test_what_can_never_be_read_stays_unscored_after_two_questions(server: ChatServer, tmp_path: Path) -> None:
    server.says = lambda messages: "Correctness: 1\nCorrectness: 0"
    verdict = judge(server, tmp_path).correct([answer("a", "lung")])[0]
    assert (verdict.value, verdict.compat, verdict.reason) == (None, 1.0, TWO)
    assert len(verdict.replies) == len(server.seen) == 2


def test_a_reply_that_was_cut_is_no_verdict(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [Fault(text="Correctness: 1", finish="length")]
    verdict = judge(server, tmp_path).correct([answer("a", "lung")])[0]
    assert (verdict.value, verdict.reason) == (None, "judge_cut")


def test_credentialed_answers_are_not_shown_to_a_judge_that_may_not_see_them(
    server: ChatServer, tmp_path: Path
) -> None:
    server.says = lambda messages: "Correctness: 1"
    found = judge(server, tmp_path).correct([answer("a", "CANARY", credentialed=True), answer("b", "lung")])
    assert found[0] == Verdict(None, None, "judge_credentialed_not_admitted", ())
    assert found[1].value == 1.0
    assert b"CANARY" not in server.received


def test_pairs_are_judged_in_both_orders(server: ChatServer, tmp_path: Path) -> None:
    server.says = lambda messages: "8 4" if _first_is_reference(messages) else "5 10"
    verdict = judge(server, tmp_path).compare([pair("candidate")], both_orders=True)[0]
    assert verdict == Verdict(50.0, 50.0, "", ("8 4", "5 10"))


def test_a_judge_that_prefers_the_first_place_is_evened_out(server: ChatServer, tmp_path: Path) -> None:
    server.says = lambda messages: "10 5"
    verdict = judge(server, tmp_path).compare([pair("candidate")], both_orders=True)[0]
    assert (verdict.value, verdict.compat) == ((50 + 200) / 2, 50.0)


def test_one_order_is_the_reference_first(server: ChatServer, tmp_path: Path) -> None:
    server.says = lambda messages: "8 4" if _first_is_reference(messages) else "x"
    found = judge(server, tmp_path).compare([pair("a"), pair("b")], both_orders=False)
    assert found == [Verdict(50.0, 50.0, "", ("8 4",))] * 2
    assert len(server.seen) == 2


def test_a_pair_with_one_unreadable_order_is_unscored_and_keeps_the_other_reply(
    server: ChatServer, tmp_path: Path
) -> None:
    server.says = lambda messages: "8 4" if _first_is_reference(messages) else "Assistant 2 is better."
    verdict = judge(server, tmp_path).compare([pair("candidate")], both_orders=True)[0]
    assert verdict == Verdict(None, 50.0, UNREAD, ("8 4", "Assistant 2 is better.", "Assistant 2 is better."))


def _first_is_reference(messages: list[dict[str, str]]) -> bool:
    return "[Assistant 1]\nTHE REFERENCE" in messages[1]["content"]


MISBEHAVING = {
    "silent": Fault(part="odd", stall=True),
    "cut": Fault(part="odd", cut=30),
    "429": Fault(part="odd", status=429),
    "429 with a pause": Fault(part="odd", status=429, headers={"Retry-After": "0.01"}),
    "500": Fault(part="odd", status=500),
    "rambles": Fault(part="odd", text="Well, correctness depends. " * 500),
    "empty": Fault(part="odd", text=""),
    "wrong JSON": Fault(part="odd", body=b'{"verdict": "Correctness: 1"}'),
    "no JSON": Fault(part="odd", body=b"Correctness: 1"),
    "two verdicts": Fault(part="odd", text="Correctness: 1\nCorrectness: 0"),
    "huge": Fault(part="odd", text="Correctness: 1\n" + "x" * (1 << 18)),
    "another type": Fault(part="odd", content_type="text/html", text="Correctness: 1"),
    "refusal": Fault(part="odd", message={"role": "assistant", "content": "Correctness: 1", "refusal": "no"}),
}


@pytest.mark.parametrize("fault", MISBEHAVING.values(), ids=MISBEHAVING)
def test_a_misbehaving_server_gets_no_verdict_invented_lost_or_paid_twice(
    fault: Fault, server: ChatServer, tmp_path: Path
) -> None:
    """Odd items never get a usable reply, even ones always do; afterwards the server behaves."""
    server.says = lambda messages: "Correctness: 0"
    server.faults = [fault]
    items = [answer(str(n), f"{'odd' if n % 2 else 'even'} {n}.") for n in range(6)]
    slow = {"timeout_s": 0.2 if fault.stall else 20.0, "retries": 1}
    first = judge(server, tmp_path, **slow).correct(items)
    assert [verdict.value for verdict in first] == [0.0, None] * 3
    assert all(bool(verdict.reason) == (verdict.value is None) for verdict in first)
    server.faults = []
    second = judge(server, tmp_path).correct(items)
    assert [verdict.value for verdict in second][::2] == [0.0] * 3
    for number in range(6):
        name = f"{'odd' if number % 2 else 'even'} {number}."
        told = [seen for seen in server.seen if seen.answered and name in str(seen.payload["messages"])]
        questions = {str(seen.payload["messages"]) for seen in told}
        malformed = fault.body is not None or fault.content_type != "application/json"
        assert len(told) == len(questions) or (malformed and number % 2), "an answer that can be read is paid once"


@pytest.mark.parametrize(
    ("fault", "told"),
    [(Fault(status=401), "key_refused"), (Fault(status=404), "not_found"), (Fault(status=500), "answered_500")],
)
def test_a_judge_out_of_order_stops_the_step_and_leaves_no_item_unscored(
    fault: Fault, told: str, server: ChatServer, tmp_path: Path
) -> None:
    server.faults = [fault]
    with pytest.raises(EndpointError, match=told):
        judge(server, tmp_path, retries=0).correct([answer(str(n), f"lung {n}") for n in range(3)])
    server.faults = []
    server.says = lambda messages: "Correctness: 1"
    assert [verdict.value for verdict in judge(server, tmp_path).correct([answer("a", "lung 0")])] == [1.0]


def test_a_judge_whose_budget_is_spent_stops_the_step_and_goes_on_when_it_is_raised(
    server: ChatServer, tmp_path: Path
) -> None:
    server.says = lambda messages: "Correctness: 1"
    items = [answer(str(n), f"lung {n}") for n in range(6)]
    prices = {"usd_per_million_in": 1.0, "usd_per_million_out": 1000.0, "max_tokens": 5, "concurrency": 1}
    with pytest.raises(EndpointError, match="budget_spent"):
        judge(server, tmp_path, budget_usd=0.02, **prices).correct(items)
    paid = len(server.seen)
    assert 0 < paid < 6
    verdicts = judge(server, tmp_path, budget_usd=1.0, **prices).correct(items)
    assert [verdict.value for verdict in verdicts] == [1.0] * 6
    assert len(server.seen) == 6


def test_a_judge_says_who_it_is(server: ChatServer, tmp_path: Path) -> None:
    found = judge(server, tmp_path, temperature=0.0, seed=3)
    assert found.name == "judge-1"
    assert found.identity == {
        "kind": "openai",
        "model": "judge-1",
        "url": server.url,
        "temperature": 0.0,
        "seed": 3,
        "max_tokens": 1024,
        "prompts": "1",
    }


def test_without_a_judge_verdicts_are_locked_with_the_cure(tmp_path: Path) -> None:
    lock = open_judge(None, tmp_path, lambda line: None)
    assert isinstance(lock, Lock)
    assert "evaluation.judge" in lock.cure


def test_the_sample_builds_judge_answers_through_the_same_messages(tmp_path: Path) -> None:
    found = open_judge(Endpoint(kind="sample", model="sample_judge"), tmp_path, lambda line: None)
    assert isinstance(found, Judge)
    right, wrong = found.correct([answer("a", "The Lung"), answer("b", "heart")])
    assert (right.value, wrong.value) == (1.0, 0.0)
    better = JudgedPair(
        item_id="a", question="Seen?", context="chest ray", reference="a cat", candidate="a chest", credentialed=False
    )
    verdict = found.compare([better], both_orders=True)[0]
    assert verdict.value == verdict.compat == 400.0
