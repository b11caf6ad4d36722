"""The three readings of a closed answer, asked of a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.closed import answer_closed
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.items import Item, as_items
from medmax_pipeline.eval.reading import read_yes_no
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.tokens.store import CodeStore
from tests.eval.conftest import CLOSED, CODES, World

TASK = task("vqa_rad/closed")


@pytest.fixture(scope="module")
def items(world: World) -> list[Item]:
    return as_items(CLOSED[:6], "tiny", CodeStore(world.codes, CODES), 0)


def test_each_reading_is_what_the_record_holds_evidence_for(engine: Engine, items: list[Item]) -> None:
    for record in answer_closed(engine, TASK, items).records:
        likeliest = max(record.option_logprobs, key=lambda option: record.option_logprobs[option])
        token = record.predictions["compat_text"]
        assert token is not None
        assert record.predictions["strict"] == likeliest
        assert record.predictions["parsed"] == read_yes_no(record.generated_text).said
        assert record.correct_strict is (likeliest == record.reference)
        assert record.correct_compat is compat.rule_closed(record.reference, token).correct
        assert record.metrics == {
            "accuracy_strict": float(likeliest == record.reference),
            "accuracy_parsed": float(record.predictions["parsed"] == record.reference),
            "accuracy_compat": float(bool(record.correct_compat)),
        }
        assert record.unscored == ""


def test_a_reference_that_is_no_option_is_unscored_but_wrong_by_the_references_rule(
    engine: Engine, items: list[Item]
) -> None:
    odd = replace(items[0], sample=replace(items[0].sample, answer="Left"))
    (record,) = answer_closed(engine, TASK, [odd]).records
    assert (record.unscored, record.correct_strict, record.correct_compat) == ("reference_not_an_option", None, False)
    assert record.metrics == {"accuracy_strict": None, "accuracy_parsed": None, "accuracy_compat": 0.0}


def test_records_do_not_depend_on_company(engine: Engine, items: list[Item]) -> None:
    together = answer_closed(engine, TASK, items).records
    alone = [answer_closed(engine, TASK, [item]).records[0] for item in reversed(items)][::-1]
    assert [record.predictions for record in together] == [record.predictions for record in alone]
    assert [record.metrics for record in together] == [record.metrics for record in alone]


def test_in_the_style_of_untuned_models_no_turn_ends(engine: Engine, items: list[Item]) -> None:
    styled = TASK.in_style("chameleon")
    (record,) = answer_closed(engine, styled, items[:1]).records
    assert record.prompt == (
        "<image>Answer the question based on this image and respond 'yes' or 'no'.\n"
        "Question: is this a chest radiograph?\nAnswer:"
    )
    assert set(record.option_logprobs) == {"yes", "no"}
