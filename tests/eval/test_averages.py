"""Means over tasks: each task alike, and none of all where one lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.eval.averages import JUDGED, UNJUDGED, average_scores
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.scorers import Names, bound
from medmax_pipeline.eval.scores import Score
from medmax_pipeline.eval.statistics import NothingScored, Sums, average, average_gain, sums
from medmax_pipeline.eval.tasks import task
from tests.eval.conftest import record

NAMES = Names(judge="sample_judge")
SUITE = [bound(task(key), NAMES) for key in (*UNJUDGED, *JUDGED)]


def answers(right: int, of: int, model: str = "tuned", without: tuple[str, ...] = ()) -> dict[str, list[ItemRecord]]:
    """Items of every task, the first so many of them right by every reading; some tasks have none."""
    made = {}
    for key in (*UNJUDGED, *JUDGED):
        names = (
            "judge_correct@sample_judge",
            "judge_correct_compat@sample_judge",
            "accuracy_strict",
            "accuracy_compat",
        )
        made[key] = [
            replace(record(n, n < right, task=key), model=model, metrics=dict.fromkeys(names, float(n < right)))
            for n in range(0 if key in without else of)
        ]
    return made


def by_metric(rows: list[Score]) -> dict[str, Score]:
    return {row.metric: row for row in rows}


def test_each_task_counts_alike_whatever_its_number_of_items() -> None:
    given = answers(1, 2)
    given["pmc_vqa/mcq"] = answers(8, 8)["pmc_vqa/mcq"]
    found = by_metric(average_scores(SUITE, "tuned", given, None))["average_accuracy_strict@sample_judge"]
    assert found.value == pytest.approx((11 * 0.5 + 1) / 12)
    assert (found.tasks, found.n, found.task) == ("12 of 12", 11 * 2 + 8, "average")


def test_an_average_without_one_of_its_tasks_has_no_value_and_names_it() -> None:
    rows = by_metric(average_scores(SUITE, "tuned", answers(1, 2, without=("slake/open",)), None))
    strict = rows["average_accuracy_strict@sample_judge"]
    assert (strict.status, strict.value, strict.tasks) == ("unscored", None, "11 of 12")
    assert "slake/open" in strict.reason
    assert rows["average_accuracy_unjudged"].value == 0.5


def test_a_build_without_a_judge_has_the_average_that_needs_none() -> None:
    suite = [bound(task(key), Names()) for key in (*UNJUDGED, *JUDGED)]
    rows = by_metric(average_scores(suite, "tuned", answers(1, 2), None))
    assert rows["average_accuracy_unjudged"].tasks == "8 of 8"
    assert rows["average_accuracy_strict@gpt-4o-mini"].value is None


def test_a_locked_evaluation_lacks_and_is_not_counted_as_zero() -> None:
    given: dict[str, list[ItemRecord] | None] = {**answers(2, 2), "vqa_rad/closed": None}
    found = by_metric(average_scores(SUITE, "tuned", given, None))["average_accuracy_unjudged"]
    assert (found.value, found.tasks) == (None, "7 of 8")


def test_the_gain_of_an_average_is_the_mean_of_paired_gains() -> None:
    rows = average_scores(SUITE, "tuned", answers(3, 4), answers(1, 4, model="base"))
    found = by_metric(rows)["average_accuracy_compat@sample_judge"]
    assert found.gain == pytest.approx(0.5)
    assert found.base_value == pytest.approx(0.25)
    assert found.gain_low is not None
    assert found.gain_high is not None
    assert 0 < found.gain_low < 0.5 < found.gain_high < 1
    assert found.n_paired == 48


def coins(right: int, of: int) -> Sums:
    return sums([float(n < right) for n in range(of)], range(of))


def test_an_average_over_many_tasks_is_known_better_than_each_of_them() -> None:
    one, many = average([coins(20, 40)], 0), average([coins(20, 40)] * 12, 0)
    assert one.low is not None
    assert one.high is not None
    assert many.low is not None
    assert many.high is not None
    assert (many.high - many.low) == pytest.approx((one.high - one.low) / 12**0.5, rel=0.2)


def test_an_average_with_a_task_of_one_picture_has_no_interval() -> None:
    assert average([coins(1, 2), coins(1, 1)], 0).low is None


def test_an_average_of_nothing_is_an_error() -> None:
    with pytest.raises(NothingScored):
        average([], 0)


def test_an_average_gain_refuses_other_items() -> None:
    with pytest.raises(ValueError, match="same items"):
        average_gain([coins(1, 2)], [coins(1, 3)], 0)
