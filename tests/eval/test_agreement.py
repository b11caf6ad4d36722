"""Two judges over one published evaluation: kappa by hand, and the command from the store to its lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmax_pipeline import cli
from medmax_pipeline.arrow import samples_to_table
from medmax_pipeline.config import Endpoint
from medmax_pipeline.eval.agreement import kappa
from medmax_pipeline.eval.judge import judge_identity
from medmax_pipeline.eval.open import COMPAT_TEXT
from medmax_pipeline.eval.records import GENERATED, ITEMS, SCORERS, ItemRecord, records_to_table
from medmax_pipeline.files import Json, write_json, write_table, write_text
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Need, Outcome, Run, Step
from tests.eval.conftest import sample
from tests.models.chat_server import ChatServer, Fault, serving

KEY = "eval/tiny/vqa_rad/open"


def test_kappa_of_a_table_worked_out_by_hand() -> None:
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: 0.70 agree, 0.50 would by chance."""
    first = [1.0] * 25 + [0.0] * 25
    second = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    found = kappa(first, second, [str(n) for n in range(50)], seed=0)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.4 < found.high


def test_quadratic_weights_over_scores_by_hand() -> None:
    """Differences 0, 1, 1: D = 2/3; over all nine pairs E = (0+1+4+4+1+0+9+4+1)/9."""
    found = kappa([1.0, 2.0, 4.0], [1.0, 3.0, 3.0], ["a", "b", "c"], seed=0)
    pairs = np.subtract.outer(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.0])) ** 2
    assert found is not None
    assert found.value == pytest.approx(1 - (2 / 3) / pairs.mean())


def test_judges_that_never_vary_have_no_kappa() -> None:
    assert kappa([1.0] * 9, [1.0] * 9, [str(n) for n in range(9)], seed=0) is None
    assert kappa([], [], [], seed=0) is None


def test_one_picture_alone_gives_no_interval() -> None:
    found = kappa([0.0, 1.0], [0.0, 1.0], ["a", "a"], seed=0)
    assert found is not None
    assert (found.value, found.low, found.high, found.clusters) == (1.0, None, None, 1)


def test_items_of_one_picture_count_as_one_trial() -> None:
    first, second = [0.0, 1.0, 1.0, 0.0] * 6, [0.0, 1.0, 0.0, 1.0] * 6
    apart = kappa(first, second, [str(n) for n in range(24)], seed=1)
    together = kappa(first, second, [str(n // 4) for n in range(24)], seed=1)
    assert apart is not None
    assert together is not None
    assert apart.value == together.value
    assert apart.low is not None
    assert together.low is not None
    assert together.low == pytest.approx(together.value), "each picture has the same four verdicts"
    assert apart.low < together.low


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_of_binary_verdicts_it_is_cohens(verdicts: list[tuple[bool, bool]]) -> None:
    n = len(verdicts)
    agree = sum(a == b for a, b in verdicts) / n
    yes_a, yes_b = sum(a for a, _ in verdicts) / n, sum(b for _, b in verdicts) / n
    chance = yes_a * yes_b + (1 - yes_a) * (1 - yes_b)
    found = kappa([float(a) for a, _ in verdicts], [float(b) for _, b in verdicts], ["one"] * n, seed=0)
    if chance == 1:
        assert found is None
    else:
        assert found is not None
        assert found.value == pytest.approx((agree - chance) / (1 - chance))


ITEM_SAMPLES = [
    sample(n, kind="vqa_open", text=f"<image>what is seen {n}?", answer="lung", image=f"picture{n // 2}")
    for n in range(12)
]


def answered(number: int, model: str = "tiny") -> ItemRecord:
    item = ITEM_SAMPLES[number]
    return ItemRecord(
        task="vqa_rad/open",
        model=model,
        item_id=item.sample_id,
        image_ids=item.images,
        cluster=item.images[0],
        credentialed=number == 11,
        prompt=item.turns[0].text,
        reference="lung",
        generated_text=f"answer {number}.",
        predictions={COMPAT_TEXT: f"answer {number}."},
        metrics={"exact_match": 0.0, "token_f1": 0.0, "token_recall": 0.0},
    )


def judged(number: int) -> ItemRecord:
    """As the first judge left it: right on even items, unread on item 3."""
    value = None if number == 3 else float(number % 2 == 0)
    metrics = {"judge_correct@sample_judge": value, "judge_correct_compat@sample_judge": value}
    return replace(answered(number), metrics=metrics, unscored="" if number != 3 else "judge_unreadable")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        server.says = lambda messages: "Correctness: 1"
        yield server


@pytest.fixture
def build(server: ChatServer, store: Path, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build with two judges, and its published evaluation."""
    config = tmp_path / "two.toml"
    text = (project / "configs" / "sample.toml").read_text()
    text = text.replace('name = "sample"', 'name = "two"', 1)
    second = f'\n[endpoints.second]\nkind = "openai"\nmodel = "judge-2"\nurl = "{server.url}"\nkey = ""\nretries = 0\n'
    first = '\n[endpoints.first]\nkind = "sample"\nmodel = "sample_judge"\n'
    write_text(config, text + first + second)
    for recipe in (project / "configs" / "recipes").glob("*.toml"):
        write_text(tmp_path / "recipes" / recipe.name, recipe.read_text())
    monkeypatch.setenv("MEDMAX_STORE", str(store))
    monkeypatch.setenv("MEDMAX_CONFIG", str(config))
    publish(Ledger(store, "two", store))
    return config


def publish(ledger: Ledger) -> None:
    def samples(run: Run) -> Outcome:
        write_table(run.out / "samples.parquet", samples_to_table(ITEM_SAMPLES))
        return Outcome(Counts(taken=12, kept=12))

    def evaluation(run: Run) -> Outcome:
        write_table(run.out / GENERATED, records_to_table([answered(n) for n in range(12)]))
        write_table(run.out / ITEMS, records_to_table([judged(n) for n in range(12)]))
        asked = judge_identity(Endpoint(kind="sample", model="sample_judge"))
        write_json(run.out / SCORERS, {"judge": {"name": "sample_judge", "identity": asked, "lock": None}})
        return Outcome(Counts(taken=12, kept=12))

    params: dict[str, Json] = {"task": "vqa_rad/open", "source": "vqa_rad", "prompt_style": "sft", "seed": 0}
    ledger.execute(Step("vqa_rad/samples", samples, "1"))
    ledger.execute(Step(KEY, evaluation, "1", needs=(Need("vqa_rad/samples"),), params=params))


def compared(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, float]]:
    assert cli.main(["eval", "agreement", KEY, "--judge", "second", "--json", *more]) == 0
    found = json.loads(capsys.readouterr().out)
    return {each["metric"]: each for each in found["agreements"]} | {"spent": found["spent"]}


def test_a_second_judge_that_says_the_same_agrees_fully(
    build: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    even = [f"answer {number}." for number in range(0, 12, 2)]
    server.says = lambda messages: f"Correctness: {int(any(text in messages[0]['content'] for text in even))}"
    found = compared(capsys)["judge_correct"]
    assert (found["items"], found["both"], found["unread_first"], found["unread_second"]) == (12, 10, 1, 1)
    assert (found["kappa"], found["equal"], found["clusters"]) == (1.0, 1.0, 6)


def test_verdicts_that_nobody_can_read_are_counted_for_their_judge(
    build: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [Fault(part="answer 4.", text="Perhaps.")]
    found = compared(capsys)["judge_correct"]
    assert (found["unread_first"], found["unread_second"], found["both"]) == (1, 2, 9)


def test_credentialed_items_are_not_shown_to_the_second_judge(build: Path, server: ChatServer) -> None:
    assert cli.main(["eval", "agreement", KEY, "--judge", "second"]) == 0
    assert server.seen
    assert b"answer 11." not in server.received


def test_a_seeded_part_is_the_same_each_time_and_costs_nothing_again(
    build: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = compared(capsys, "--sample", "5")
    asked = len(server.seen)
    assert first["judge_correct"]["items"] == 5
    second = compared(capsys, "--sample", "5")
    assert second["judge_correct"] == first["judge_correct"]
    assert len(server.seen) == asked


def test_the_lines_for_people_name_both_judges(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "agreement", KEY, "--judge", "second", "--sample", "4"]) == 0
    told = capsys.readouterr()
    assert "sample_judge and judge-2, 4 items" in told.out
    assert "tokens" in told.err, "the cost is told before"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--judge", "third"], "no endpoint of this build"),
        (["--judge", "first"], "the very judge"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: list[str], told: str, build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "agreement", KEY, *arguments]) == 2
    assert told in capsys.readouterr().err


def test_an_evaluation_that_was_not_judged_is_refused(
    build: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(store, "two", store)
    write_json(ledger.need(KEY).folder / SCORERS, {"judge": {"name": "x", "identity": None, "lock": ["No key.", ""]}})
    assert cli.main(["eval", "agreement", KEY, "--judge", "second"]) == 2
    assert "No key." in capsys.readouterr().err
