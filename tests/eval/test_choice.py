"""Multiple choice, asked of a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.choice import answer_choice, letters_of
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.items import Item, as_items
from medmax_pipeline.eval.reading import read_choice
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.scores import Score, score_task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.records import Sample
from medmax_pipeline.tokens.store import CodeStore
from tests.eval.conftest import CODES, World, sample

TASK = task("pmc_vqa/mcq")


def choice(number: int, answer: str, *options: str) -> Sample:
    text = "\n".join(["<image>what is shown?", *map(": ".join, zip("ABCD", options, strict=False))])
    made = sample(number, source="pmc_vqa", kind="vqa_mcq", text=text, answer=answer, image=f"picture{number % 4}")
    return replace(made, options=options)


SAMPLES = [
    choice(0, "B", "liver", "lung", "heart", "spleen"),
    choice(1, "A", "liver", "lung"),
    choice(2, "C", "liver", "lung", "heart"),
    choice(3, "B", "lung", "heart"),
]


@pytest.fixture(scope="module")
def items(world: World) -> list[Item]:
    return as_items(SAMPLES, "tiny", CodeStore(world.codes, CODES), 0)


@pytest.fixture(scope="module")
def records(engine: Engine, items: list[Item]) -> list[ItemRecord]:
    return list(answer_choice(engine, TASK, items).records)


def test_likelihoods_are_over_the_items_own_letters(records: list[ItemRecord]) -> None:
    assert ["".join(sorted(record.option_logprobs)) for record in records] == ["ABCD", "AB", "ABC", "AB"]


def test_each_reading_is_what_the_record_holds_evidence_for(items: list[Item], records: list[ItemRecord]) -> None:
    for item, record in zip(items, records, strict=True):
        likeliest = max(record.option_logprobs, key=lambda letter: record.option_logprobs[letter])
        token = record.predictions["compat_text"]
        assert token is not None
        assert record.predictions["strict"] == likeliest
        assert record.predictions["parsed"] == read_choice(record.generated_text, item.sample.options).said
        assert record.metrics["accuracy_strict"] == float(likeliest == record.reference)
        assert record.correct_compat is compat.rule_choice(record.reference, token).correct


def scores(records: list[ItemRecord]) -> dict[str, Score]:
    return {score.metric: score for score in score_task(TASK, records)}


def test_chance_is_the_mean_over_items_of_one_over_their_options(records: list[ItemRecord]) -> None:
    assert [record.metrics["chance"] for record in records] == [1 / 4, 1 / 2, 1 / 3, 1 / 2]
    assert scores(records)["accuracy_strict"].chance == pytest.approx((1 / 4 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_the_majority_line_is_the_most_frequent_letter(records: list[ItemRecord]) -> None:
    found = scores(records)
    assert found["accuracy_strict"].majority == 0.5
    assert found["balanced_accuracy_strict"].majority == pytest.approx(1 / 3)


def test_a_letter_beyond_the_options_is_unscored(engine: Engine, items: list[Item]) -> None:
    odd = replace(items[1], sample=replace(items[1].sample, answer="C"))
    (record,) = answer_choice(engine, TASK, [odd]).records
    assert (record.unscored, record.correct_strict, record.correct_compat) == ("reference_not_an_option", None, False)
    assert record.metrics["chance"] is None


def test_options_in_an_unknown_form_are_those_that_the_reference_offers() -> None:
    assert letters_of(choice(9, "B")) == "ABCD"


def test_the_other_style_asks_for_a_letter(engine: Engine, items: list[Item]) -> None:
    (record,) = answer_choice(engine, TASK.in_style("chameleon"), items[:1]).records
    assert record.prompt == (
        "<image>Answer the question based on this image and respond 'A', 'B', 'C', or 'D'.\n"
        "Question: what is shown?\nA: liver\nB: lung\nC: heart\nD: spleen\nAnswer:"
    )
    assert set(record.option_logprobs) == set("ABCD")
