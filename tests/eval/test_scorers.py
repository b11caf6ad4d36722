"""Metrics under the names of the build's scorers, and what becomes of them where one is locked."""

from __future__ import annotations

import pytest

from medmax_pipeline.eval.scorers import Names, bound, named_record, scorers_of
from medmax_pipeline.eval.task import Metric, Task
from medmax_pipeline.eval.tasks import TASKS, task
from medmax_pipeline.manifest import Lock
from tests.eval.conftest import record

OPEN = task("vqa_rad/open")
LOCK = Lock("No key.", "Set it.")
SAMPLE = Names("sample_judge", "sample_similarity")


def metrics(this: Task) -> dict[str, Metric]:
    """Metrics by name."""
    return {metric.name: metric for metric in this.metrics}


def test_the_builds_judge_names_its_metrics_and_the_papers_stay_locked_beside_them() -> None:
    found = metrics(bound(OPEN, SAMPLE))
    mine, paper = found["judge_correct@sample_judge"], found["judge_correct@gpt-4o-mini"]
    assert (mine.scorer, mine.lock, mine.headline) == ("sample_judge", None, True)
    assert paper.lock is not None
    assert "gpt-4o-mini" in paper.lock.reason
    assert not paper.headline
    assert "judge_correct" not in found


def test_without_a_judge_the_papers_own_is_the_headline_and_locked() -> None:
    found = metrics(bound(OPEN, Names()))
    assert found["judge_correct@gpt-4o-mini"].headline
    assert found["judge_correct@gpt-4o-mini"].lock is not None
    assert [name for name in found if name.startswith("judge_correct@")] == ["judge_correct@gpt-4o-mini"]


def test_the_papers_own_judge_stands_alone() -> None:
    found = metrics(bound(OPEN, Names("gpt-4o-mini-2024-07-18")))
    assert [name for name in found if name.startswith("judge_correct@")] == ["judge_correct@gpt-4o-mini-2024-07-18"]


def test_a_judge_that_cannot_be_asked_locks_its_metrics_with_its_own_reason() -> None:
    found = metrics(bound(OPEN, SAMPLE, {"judge": LOCK}))
    assert found["judge_correct@sample_judge"].lock == LOCK
    assert found["token_f1"].lock is None


def test_figures_of_a_record_get_their_scorers_names() -> None:
    given = record(1, True, task=OPEN.key, metrics={"judge_correct": 1.0, "judge_correct_compat": 0.0, "token_f1": 0.5})
    made = named_record(given, OPEN, SAMPLE, {})
    assert made.metrics == {
        "judge_correct@sample_judge": 1.0,
        "judge_correct_compat@sample_judge": 0.0,
        "token_f1": 0.5,
    }
    assert made.unscored == ""


def test_figures_that_a_locked_judge_owes_are_unknown_by_name() -> None:
    made = named_record(record(1, True, task=OPEN.key, metrics={"token_f1": 0.5}), OPEN, SAMPLE, {"judge": LOCK})
    assert made.metrics["judge_correct@sample_judge"] is None
    assert made.unscored.split() == [
        "metric_locked:judge_correct@sample_judge",
        "metric_locked:judge_correct_compat@sample_judge",
    ]


def test_a_figure_that_a_scorer_left_out_is_not_taken_for_known() -> None:
    made = named_record(record(1, True, task=OPEN.key, metrics={}), OPEN, SAMPLE, {})
    assert made.metrics["judge_correct@sample_judge"] is None
    assert "not_scored:judge_correct@sample_judge" in made.unscored


@pytest.mark.parametrize("this", TASKS.values(), ids=list(TASKS))
def test_a_task_with_metrics_of_scorers_says_how_they_are_filled_in(this: Task) -> None:
    assert bool(scorers_of(this)) == (this.score is not None)


@pytest.mark.parametrize("this", TASKS.values(), ids=list(TASKS))
@pytest.mark.parametrize("names", [Names(), SAMPLE, Names("gpt-4o-mini", "biomedclip")])
def test_every_task_has_one_headline_whatever_the_builds_scorers_are(this: Task, names: Names) -> None:
    found = bound(this, names).metrics
    assert len({metric.name for metric in found}) == len(found)
    assert sum(metric.headline for metric in found) == 1
    assert all(metric.scorer for metric in found)
