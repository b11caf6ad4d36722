"""The twelve rows of question answering: which samples each takes, and how it is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.eval.compat import OPEN_TOKENS
from medmax_pipeline.eval.published import PUBLISHED, TABLE
from medmax_pipeline.eval.tasks import TASKS
from medmax_pipeline.records import Kind
from tests.eval.conftest import sample

KEYS = tuple(dict.fromkeys(row.task for row in PUBLISHED if row.origin == TABLE and row.task != "average"))
"""The rows of the paper's main table."""
KINDS: dict[str, Kind] = {"closed": "vqa_closed", "open": "vqa_open", "mcq": "vqa_mcq"}
FIRST = {key: key.partition("/") for key in KEYS}


def test_the_papers_main_table_has_twelve_rows() -> None:
    assert len(KEYS) == 12


@pytest.mark.parametrize("key", KEYS)
def test_a_row_asks_its_publishers_samples_unless_the_build_names_the_published_set(key: str) -> None:
    name, _, kind = FIRST[key]
    assert (TASKS[key].source, list(TASKS[key].rows)) == (name, [name, "medmax_eval_data"])
    asked = replace(sample(0, source=name, kind=KINDS[kind]), answer_type="OPEN" if kind == "open" else "CLOSED")
    assert TASKS[key].accepts(asked)
    assert not TASKS[key].accepts(replace(asked, split="train"))
    assert not TASKS[key].accepts(replace(asked, kind="captioning"))
    assert not TASKS[key].accepts(replace(asked, source="llava_med_chat"))


@pytest.mark.parametrize("key", KEYS)
def test_of_the_published_set_a_row_takes_what_carries_its_name(key: str) -> None:
    named = replace(sample(0, source="medmax_eval_data", kind="vqa_open"), answer_type=key)
    assert [other for other in KEYS if TASKS[other].accepts(named)] == [key]


def test_slakes_open_row_takes_what_its_publisher_calls_open() -> None:
    chosen = replace(sample(0, source="slake", kind="vqa_open", answer="Lung"), answer_type="CLOSED")
    assert not any(TASKS[key].accepts(chosen) for key in KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_in_the_other_style_a_row_gives_its_instruction_and_ends_no_turn(key: str) -> None:
    styled = TASKS[key].in_style("chameleon")
    assert TASKS[key].in_style("sft") is TASKS[key]
    assert (TASKS[key].end_of_turn, styled.end_of_turn) == (True, False)
    hints = {"closed": "respond 'yes' or 'no'", "mcq": "respond 'A', 'B', 'C', or 'D'", "open": "based on this image."}
    assert hints[FIRST[key][2]] in styled.prompt(sample(0))
    assert (styled.key, styled.metrics, styled.reference) == (key, TASKS[key].metrics, TASKS[key].reference)


@pytest.mark.parametrize("key", KEYS)
def test_each_row_reports_its_headline_once_and_the_references_figure_beside_it(key: str) -> None:
    metrics = {metric.name: metric for metric in TASKS[key].metrics}
    assert [name for name, metric in metrics.items() if metric.headline] == (
        ["judge_correct"] if key.endswith("/open") else ["accuracy_strict"]
    )
    assert {"judge_correct_compat", "accuracy_compat"} & metrics.keys()


@pytest.mark.parametrize("key", KEYS)
def test_numbers_of_the_published_set_say_where_they_come_from(key: str) -> None:
    assert len(TASKS[key].published.origin) > 20


def test_open_answers_are_as_long_as_the_references() -> None:
    assert {TASKS[key].decoding.max_new_tokens for key in KEYS if key.endswith("/open")} == {OPEN_TOKENS}
