"""Every row of question answering has items in the embedded corpus, from its publisher and from the published set."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from medmax_pipeline.eval.tasks import TASKS
from medmax_pipeline.records import IMAGE, Sample
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import ingested

PAIRS = [
    (key, source)
    for key, task in TASKS.items()
    for source in task.rows
    if task.question_type in ("closed", "open", "mcq") and source != "vqa_rad"
]
"""Rows and where their items may come from; but VQA-RAD's own 400, which take seconds to open."""
Items = Callable[[str, str], list[Sample]]


@pytest.fixture(scope="module")
def items(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Items:
    store = tmp_path_factory.mktemp("items")
    samples = cache(lambda source: ingested(store / source, laid.landing, source).samples)
    return lambda key, source: [sample for sample in samples(source) if TASKS[key].accepts(sample)]


@pytest.mark.parametrize(("key", "source"), PAIRS)
def test_a_row_has_items_with_a_picture_and_an_answer(key: str, source: str, items: Items) -> None:
    task = TASKS[key]
    found = items(key, source)
    assert len(found) >= 2
    for sample in found:
        assert task.reference(sample)
        assert task.prompt(sample).count(IMAGE) == task.in_style("chameleon").prompt(sample).count(IMAGE) == 1


@pytest.mark.parametrize("source", ["slake", "medmax_eval_data"])
def test_no_sample_is_an_item_of_two_rows(source: str, items: Items) -> None:
    asked = [sample.sample_id for key, other in PAIRS if other == source for sample in items(key, source)]
    assert len(asked) == len(set(asked))


def test_slakes_closed_questions_with_a_choice_are_in_no_row(items: Items) -> None:
    for key in ("slake/closed", "slake/open"):
        assert {sample.answer_type for sample in items(key, "slake")} == {key.partition("/")[2].upper()}
    assert {sample.answer for sample in items("slake/closed", "slake")} == {"yes", "no"}


def test_the_published_set_keeps_a_closed_row_that_is_answered_otherwise(items: Items) -> None:
    answers = {TASKS["slake/closed"].reference(sample) for sample in items("slake/closed", "medmax_eval_data")}
    assert answers == {"no", "picture"}


def test_options_of_every_number_are_there(items: Items) -> None:
    numbers = {len(sample.options) for key, source in PAIRS if key.endswith("/mcq") for sample in items(key, source)}
    assert numbers == {2, 3, 4}


def test_pairs_of_probmed_are_grouped_by_what_they_are_about(items: Items) -> None:
    task = TASKS["probmed/closed"]
    groups = {task.group(sample) for sample in items("probmed/closed", "probmed")}
    assert groups == {"modality", "body_part", "entity", "grounding"}
