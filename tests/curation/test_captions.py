"""Captions a language model reads: verdicts are read strictly, none is invented, none paid for twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medmax_pipeline import withdrawal
from medmax_pipeline.config import Curation, Endpoint
from medmax_pipeline.curation.caption_prompt import Unreadable, Verdict, messages, read_caption_prompt, read_verdict
from medmax_pipeline.curation.caption_step import captions_step
from medmax_pipeline.curation.captions import VERDICT_SCHEMA
from medmax_pipeline.curation.columns import read_rows
from medmax_pipeline.curation.steps import curated_step
from medmax_pipeline.errors import ConfigError, EndpointError
from medmax_pipeline.files import sha256_bytes, write_table, write_text
from medmax_pipeline.ingest.retry import retry
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Counts, Sample
from medmax_pipeline.steps import Artifact, Outcome, Run, Step
from tests.curation.published import publish, sample
from tests.models.chat_server import ChatServer, Fault, serving

PROMPT = read_caption_prompt("v1")
KEEP, DROP = '{"verdict": "keep"}', '{"verdict": "drop", "reason": "garbled"}'


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (KEEP, "keep"),
        (DROP, "garbled"),
        (f"```json\n{DROP}\n```", "garbled"),
        (' {"reason": "nothing_seen", "verdict": "drop"}\n', "nothing_seen"),
    ],
)
def test_a_verdict_is_one_object_of_the_prompts_words(reply: str, reason: str) -> None:
    assert read_verdict(reply, PROMPT) == Verdict(reason)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "keep",
        "I would keep it.",
        f"Sure! {KEEP}",
        f"{KEEP}\n{KEEP}",
        f"{KEEP} {DROP}",
        '{"verdict": "keep", "verdict": "drop"}',
        '{"verdict": "Keep"}',
        '{"verdict": "keep", "reason": "garbled"}',
        '{"verdict": "keep", "reason": ""}',
        '{"verdict": "drop"}',
        '{"verdict": "drop", "reason": null}',
        '{"verdict": "drop", "reason": ["garbled"]}',
        '{"verdict": "drop", "reason": "too short"}',
        '{"verdict": "drop", "reason": "keep"}',
        '{"verdict": true}',
        '{"reason": "garbled"}',
        '["keep"]',
        '{"verdict": "drop", "reason": "garbled", "sure": 0.9}',
        "{" * 200,
    ],
)
def test_anything_else_is_no_verdict(reply: str) -> None:
    found = read_verdict(reply, PROMPT)
    assert isinstance(found, Unreadable)
    assert found.detail


def test_a_caption_is_shown_as_it_is_and_within_bounds() -> None:
    asked = messages(PROMPT, "a {caption}\n {reasons} " + "x" * 9000)
    assert [message.role for message in asked] == ["system", "user"]
    assert "a {caption} {reasons} xxx" in asked[1].text
    assert len(asked[1].text) < 4100
    assert all(reason in asked[0].text for reason in PROMPT.reasons)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("system = 1", "expected the texts"),
        ('system = "{reasons}"\nuser = "{caption}"\nagain = "x"', "reasons"),
        ('system = "a"\nuser = "{caption}"\nagain = "x"\n[reasons]\nbad = "b"', "once"),
        ('system = "{reasons}"\nuser = "a"\nagain = "x"\n[reasons]\nbad = "b"', "once"),
        ('system = "{reasons}"\nuser = "{caption}"\nagain = "x"\n[reasons]\nkeep = "b"', "reasons"),
        ("[", "TOML"),
    ],
)
def test_a_prompt_file_that_lacks_something_is_an_error(text: str, told: str, tmp_path: Path) -> None:
    write_text(tmp_path / "captions_bad.toml", text)
    with pytest.raises(ConfigError, match=told):
        read_caption_prompt("bad", tmp_path)


def test_a_prompt_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="v1"):
        read_caption_prompt("v99")


class Line:
    """A store with samples of sources and the steps of curation over them."""

    def __init__(self, store: Path, server: ChatServer, **fields: Any) -> None:
        self.ledger = Ledger(store, "test", store)
        self.endpoint = Endpoint(kind="openai", model="reader-1", url=server.url, key="", retries=0, concurrency=4)
        self.curation = Curation(captions="model", captions_endpoint="reader", **fields)
        self.sources: list[str] = []
        self.log: list[str] = []

    def publish(self, source: str, samples: Sequence[Sample], lock: Lock | None = None) -> None:
        self.sources = list(dict.fromkeys([*self.sources, source]))

        def run(run: Run) -> Outcome:
            publish(run.out, [replace(each, source=source) for each in samples])
            return Outcome(Counts(len(samples), len(samples)), licences=("Open",))

        step = Step(f"{source}/samples", run, "1", params={"n": [each.sample_id for each in samples]})
        self.ledger.execute(replace(step, lock=(lambda landing: lock) if lock else None))

    def figures(self, source: str, shown: Sample) -> None:
        """A decision that comes first and drops one sample."""

        def run(run: Run) -> Outcome:
            row = {"sample_id": shown.sample_id, "reason": "statistical_figure", "detail": ""}
            write_table(run.out / f"{source}.parquet", pa.Table.from_pylist([row], schema=VERDICT_SCHEMA))
            return Outcome(Counts(1, 0, {"statistical_figure": 1}), parts={source: [f"{source}.parquet"]})

        self.ledger.execute(Step("figures", run, "1"))

    def captions(self) -> Artifact:
        step = captions_step(self.sources, self.curation, {"reader": self.endpoint})
        return self.ledger.execute(step, log=self.log.append)[0]

    def curated(self, source: str) -> Artifact:
        return self.ledger.execute(curated_step(source, self.curation))[0]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        server.says = lambda messages: DROP if "weak" in messages[1]["content"] else KEEP
        yield server


@pytest.fixture
def line(store: Path, server: ChatServer) -> Line:
    return Line(store, server, duplicates="off", leakage="off")


def picture(name: str) -> str:
    """An image id."""
    return sha256_bytes(name.encode())


def pairs(count: int, *, weak: Sequence[int] = (), odd: Sequence[int] = (), prefix: str = "p") -> list[Sample]:
    kinds = {**dict.fromkeys(weak, "weak"), **dict.fromkeys(odd, "odd")}
    said = [f"{kinds.get(n, 'fine')} caption {prefix}{n}." for n in range(count)]
    return [sample(text, picture(text), said=text, source="pmc_oa") for text in said]


def kept(artifact: Artifact) -> set[str]:
    return {row["sample_id"] for row in read_rows(artifact.folder / "samples.parquet", ("sample_id",))}


def test_weak_captions_leave_with_the_models_reason(line: Line, server: ChatServer) -> None:
    samples = pairs(8, weak=(2, 5))
    line.publish("pmc_oa", samples)
    captions = line.captions().manifest
    assert captions.counts == Counts(8, 6, {"caption_garbled": 2})
    curated = line.curated("pmc_oa")
    assert curated.manifest.counts == Counts(8, 6, {"caption_garbled": 2})
    assert kept(curated) == {each.sample_id for n, each in enumerate(samples) if n not in (2, 5)}
    assert (captions.summary["model"], captions.summary["prompt"]) == ("reader-1", "v1")


MISBEHAVING = {
    "stays unreadable": (Fault(part="odd", text="I would keep it."), "caption_unreadable"),
    "two verdicts": (Fault(part="odd", text=f"{KEEP}\n{DROP}"), "caption_unreadable"),
    "rambles": (Fault(part="odd", text="Well, captions are hard. " * 300), "caption_unreadable"),
    "wrong JSON": (Fault(part="odd", text='{"keep": true}'), "caption_unreadable"),
    "empty": (Fault(part="odd", text=""), "caption_no_text"),
    "refuses": (Fault(part="odd", message={"content": KEEP, "refusal": "no"}), "caption_model_refused"),
    "cut off": (Fault(part="odd", text=KEEP, finish="length"), "caption_reply_cut"),
    "500": (Fault(part="odd", status=500), "caption_answered_500"),
    "cuts the line": (Fault(part="odd", cut=20), "caption_cut_off"),
    "huge": (Fault(part="odd", text=KEEP + " " * (1 << 18)), "caption_too_large"),
}


@pytest.mark.parametrize(("fault", "reason"), MISBEHAVING.values(), ids=MISBEHAVING)
def test_what_nobody_could_judge_is_quarantined_by_name_and_does_not_pass(
    fault: Fault, reason: str, line: Line, server: ChatServer
) -> None:
    server.faults = [fault]
    line.publish("pmc_oa", pairs(6, weak=(0,), odd=(1, 3)))
    captions = line.captions()
    assert captions.manifest.counts == Counts(6, 3, {"caption_garbled": 1}, {reason: 2})
    assert len(list(read_rows(captions.folder / "quarantine.parquet", ("unit",)))) == 2
    assert line.curated("pmc_oa").manifest.counts == Counts(6, 3, {"caption_garbled": 1, reason: 2})


def test_a_reply_that_cannot_be_read_is_asked_for_once_more(line: Line, server: ChatServer) -> None:
    server.says = lambda messages: KEEP if len(messages) > 2 else "Keep it."
    line.publish("pmc_oa", pairs(3))
    assert line.captions().manifest.counts == Counts(3, 3)
    assert len(server.seen) == 6


def test_a_second_build_and_another_sources_change_ask_nothing_again(line: Line, server: ChatServer) -> None:
    line.publish("pmc_oa", pairs(4, weak=(1,)))
    line.captions()
    before = line.curated("pmc_oa").manifest.fingerprint
    line.publish("quilt_1m", pairs(3, prefix="q"))
    line.captions()
    assert len(server.seen) == 7
    assert line.curated("pmc_oa").manifest.fingerprint == before
    assert line.curated("quilt_1m").manifest.counts == Counts(3, 3)


def test_what_leaves_anyway_is_not_asked_about(line: Line, server: ChatServer, store: Path) -> None:
    chart = sample("chart", picture("chart"), said="plotted caption.")
    gone = sample("gone", picture("gone"), said="withdrawn caption.")
    two = sample("two", picture("two"), said="triptych caption.")
    asked = sample("asked", picture("asked"), split="eval", said="evaluated caption.")
    other = sample("vqa", picture("vqa"), kind="vqa_open", said="question caption.")
    several = replace(two, images=(picture("two"), picture("three")))
    line.publish("pmc_oa", [chart, gone, several, asked, other, *pairs(2)])
    line.curation = replace(line.curation, figures="similarity")
    line.figures("pmc_oa", chart)
    withdrawal.mark(store, [gone.sample_id], "asked for")
    assert line.captions().manifest.counts == Counts(2, 2)
    assert len(server.seen) == 2
    for word in (b"plotted", b"withdrawn", b"triptych", b"evaluated", b"question caption"):
        assert word not in server.received


def test_retry_asks_once_more_about_what_could_not_be_judged_and_about_nothing_else(
    line: Line, server: ChatServer
) -> None:
    server.faults = [Fault(part="odd", text="Keep it.", times=2), Fault(part="lost", status=500, times=1)]
    lost = sample("lost", picture("lost"), said="lost caption.")
    line.publish("pmc_oa", [*pairs(4, odd=(1,)), lost])
    assert sum(line.captions().manifest.counts.quarantined.values()) == 2
    asked = len(server.seen)
    steps = [captions_step(line.sources, line.curation, {"reader": line.endpoint})]
    again = retry(line.ledger, steps, [], print, lambda arguments, *, state=None: None)
    assert again[0].after == Counts(5, 5)
    assert len(server.seen) == asked + 2


def test_credentialed_captions_stay_here_and_leave_training_by_name(line: Line, server: ChatServer) -> None:
    canary = sample("canary", picture("canary"), said="CANARY-51c0 caption.", credentialed=True)
    line.publish("pmc_oa", [*pairs(2), canary])
    captions = line.captions()
    assert captions.manifest.counts == Counts(3, 2, {}, {"caption_credentialed_not_admitted": 1})
    assert len(server.seen) == 2
    assert b"CANARY-51c0" not in server.received
    cached = (line.ledger.store / "replies").rglob("*.json")
    assert not any(b"CANARY-51c0" in path.read_bytes() for path in cached)
    assert canary.sample_id not in kept(line.curated("pmc_oa"))


def test_an_endpoint_that_may_see_credentialed_captions_reads_them(line: Line, server: ChatServer) -> None:
    line.endpoint = replace(line.endpoint, may_see_credentialed=True)
    line.publish("pmc_oa", [sample("canary", picture("canary"), said="A knee.", credentialed=True)])
    assert line.captions().manifest.counts == Counts(1, 1)


def test_the_cost_is_told_before_the_first_request(line: Line, server: ChatServer) -> None:
    line.endpoint = replace(line.endpoint, usd_per_million_in=1.0, usd_per_million_out=2.0)
    line.publish("pmc_oa", pairs(3))
    line.captions()
    assert "3 requests" in line.log[0]
    assert "USD" in line.log[0]


def test_a_spent_budget_publishes_nothing_and_the_next_build_goes_on(line: Line, server: ChatServer) -> None:
    prices = {"usd_per_million_in": 0.0, "usd_per_million_out": 1000.0, "max_tokens": 10, "concurrency": 1}
    line.endpoint = replace(line.endpoint, budget_usd=0.03, **prices)  # type: ignore[arg-type]
    line.publish("pmc_oa", pairs(8))
    with pytest.raises(EndpointError, match="budget_spent"):
        line.captions()
    paid = len(server.seen)
    assert 0 < paid < 8
    assert line.ledger.current("captions") is None
    line.endpoint = replace(line.endpoint, budget_usd=10.0)
    assert line.captions().manifest.counts == Counts(8, 8)
    assert len(server.seen) == 8, "what was answered is not paid for again"


def test_an_endpoint_that_is_out_of_order_publishes_nothing(line: Line, server: ChatServer) -> None:
    server.faults = [Fault(status=401)]
    line.publish("pmc_oa", pairs(2))
    with pytest.raises(EndpointError, match="key_refused"):
        line.captions()
    assert line.ledger.current("captions") is None


def test_without_an_endpoint_the_sources_it_stands_for_are_locked_and_no_others(line: Line, server: ChatServer) -> None:
    line.curation = replace(line.curation, captions_endpoint="")
    line.publish("pmc_oa", pairs(2))
    line.publish("slake", pairs(2, prefix="s"))
    captions = line.captions()
    assert captions.manifest.lock is not None
    assert 'captions = "off"' in captions.manifest.lock.cure
    assert line.curated("pmc_oa").locked
    assert line.curated("slake").manifest.counts == Counts(2, 2)


def test_a_missing_key_locks_with_the_variable_to_set(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("READER_KEY", raising=False)
    line.endpoint = replace(line.endpoint, key="READER_KEY")
    line.publish("pmc_oa", pairs(1))
    lock = line.captions().manifest.lock
    assert lock is not None
    assert "READER_KEY" in lock.cure


def test_a_plan_names_the_missing_key_before_anything_ran(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("READER_KEY", raising=False)
    reader = replace(line.endpoint, key="READER_KEY")
    samples = Step("pmc_oa/samples", lambda run: Outcome(), "1")
    steps = [
        samples,
        captions_step(["pmc_oa"], line.curation, {"reader": reader}),
        curated_step("pmc_oa", line.curation),
    ]
    told = {planned.key: planned for planned in line.ledger.plan(steps)}
    assert [told[step.key].action for step in steps] == ["run", "locked", "locked"]
    assert "READER_KEY" in told["pmc_oa/curated"].cure


def test_off_lets_all_pass_and_is_on_record(line: Line, server: ChatServer) -> None:
    line.curation = replace(line.curation, captions="off")
    line.publish("pmc_oa", pairs(3, weak=(1,)))
    captions = line.captions().manifest
    assert (captions.params["mode"], captions.summary["mode"], captions.locked) == ("off", "off", False)
    curated = line.curated("pmc_oa").manifest
    assert (curated.counts.kept, curated.params["captions"]) == (3, "off")
    assert server.seen == []


def test_a_locked_source_is_not_asked_about(line: Line, server: ChatServer) -> None:
    line.publish("pmc_oa", pairs(2))
    line.publish("quilt_1m", pairs(2, prefix="q"), Lock("Not here.", "Place it."))
    captions = line.captions().manifest
    assert captions.counts == Counts(2, 2)
    assert captions.summary["not_looked_at"] == "quilt_1m"


def test_another_prompt_or_model_is_another_question(line: Line) -> None:
    def fingerprint(curation: Curation, endpoint: Endpoint) -> str:
        return json.dumps(captions_step(["pmc_oa"], curation, {"reader": endpoint}).params, sort_keys=True)

    first = fingerprint(line.curation, line.endpoint)
    assert fingerprint(line.curation, replace(line.endpoint, model="reader-2")) != first
    assert fingerprint(line.curation, replace(line.endpoint, temperature=0.5)) != first
    assert fingerprint(line.curation, replace(line.endpoint, concurrency=1, timeout_s=1.0)) == first


def test_an_endpoint_that_the_build_has_not_is_an_error(line: Line) -> None:
    with pytest.raises(ConfigError, match="captions_endpoint"):
        captions_step(["pmc_oa"], line.curation, {})
