"""Scores out of records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.scorers import Names, bound
from medmax_pipeline.eval.scores import Score, locked_scores, score_task, scores_to_table
from medmax_pipeline.eval.tasks import TASKS, task
from medmax_pipeline.manifest import Lock
from tests.eval.conftest import record

CLOSED = task("vqa_rad/closed")


def by_metric(scores: list[Score]) -> dict[str, Score]:
    """Scores under their metric's name."""
    return {score.metric: score for score in scores}


def test_an_unscored_item_is_out_of_the_mean_and_in_the_count() -> None:
    found = by_metric(score_task(CLOSED, [record(1, True), record(2, False), record(3, None)]))["accuracy_strict"]
    assert (found.value, found.n, found.n_scored, found.clusters) == (0.5, 3, 2, 2)


def test_a_task_whose_items_are_all_unscored_has_no_value_and_says_why() -> None:
    found = by_metric(score_task(CLOSED, [record(1, None), record(2, None)]))["accuracy_strict"]
    assert (found.status, found.value, found.n_scored) == ("unscored", None, 0)
    assert "image_without_codes (2)" in found.reason


def test_majority_and_chance_stand_beside_accuracy() -> None:
    records = [record(n, True, reference="yes" if n else "no") for n in range(4)]
    found = by_metric(score_task(CLOSED, records))
    assert (found["accuracy_strict"].majority, found["accuracy_strict"].chance) == (0.75, 0.5)
    assert found["balanced_accuracy_strict"].majority == 0.5


def test_the_gain_is_over_items_that_both_were_scored_on() -> None:
    tuned = [record(1, True), record(2, True), record(3, True), record(4, None)]
    base = [replace(record(n, value), model="base") for n, value in ((1, False), (2, True), (3, None), (4, True))]
    found = by_metric(score_task(CLOSED, tuned, base))["accuracy_strict"]
    assert (found.value, found.base_value, found.gain, found.n_paired) == (1.0, 0.5, 0.5, 2)
    assert found.gain_low == 0.0
    assert found.gain_high == 1.0


def test_no_common_item_means_no_gain_and_not_a_gain_of_zero() -> None:
    found = by_metric(score_task(CLOSED, [record(1, True)], [replace(record(2, True), model="base")]))
    assert found["accuracy_strict"].gain is None


def test_a_locked_metric_keeps_its_row_without_a_value() -> None:
    metrics = dict.fromkeys(("token_f1", "rouge_l"), 0.5) | {"clip_score@biomedclip": None}
    made = record(1, None, task="image_captioning/pmc_oa", metrics=metrics)
    found = by_metric(score_task(bound(task("image_captioning/pmc_oa"), Names()), [made]))
    locked = found["clip_score@biomedclip"]
    assert (locked.status, locked.value, locked.low, locked.n) == ("locked", None, None, 1)
    assert "similarity model" in locked.reason
    assert "landing/weights/biomedclip/" in locked.cure
    assert found["token_f1"].value == 0.5


def test_a_locked_evaluation_has_a_row_for_every_metric() -> None:
    found = locked_scores(CLOSED, "tiny", Lock("vqa_rad is locked.", "Place the files."))
    assert [score.metric for score in found] == [metric.name for metric in CLOSED.metrics]
    assert {(score.status, score.value, score.cure) for score in found} == {("locked", None, "Place the files.")}


@pytest.mark.parametrize("records", [[], [record(1, True), record(2, True, model="other")]])
def test_no_score_without_records_of_one_model(records: list[object]) -> None:
    with pytest.raises(StoreError, match="records of models"):
        score_task(CLOSED, records)  # type: ignore[arg-type]


def test_scores_fit_their_table() -> None:
    table = scores_to_table(score_task(CLOSED, [record(1, True), record(2, False)]))
    assert table.num_rows == len(CLOSED.metrics)
    assert table["value"].to_pylist() == [0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("this", TASKS.values(), ids=list(TASKS))
def test_every_task_of_the_registry_has_one_headline_that_is_not_locked(this: object) -> None:
    heads = [metric for metric in this.metrics if metric.headline]  # type: ignore[attr-defined]
    assert len(heads) == 1
    assert heads[0].lock is None


def test_groups_have_scores_of_their_own_that_never_lead() -> None:
    records = [replace(record(n, n < 2), group="ct" if n % 2 else "mri") for n in range(4)]
    found = [score for score in score_task(CLOSED, records) if score.part]
    assert {score.part for score in found} == {"group=ct", "group=mri"}
    assert {score.metric for score in found} == {"accuracy_strict", "accuracy_compat"}
    assert not any(score.headline for score in found)
    assert all(score.n == 2 and score.value == 0.5 for score in found)


def test_one_group_alone_is_not_said_twice() -> None:
    assert not [
        score for score in score_task(CLOSED, [replace(record(n, True), group="ct") for n in range(3)]) if score.part
    ]


def test_leaked_items_are_counted_and_the_score_is_given_without_them() -> None:
    records = [replace(record(n, n == 0), leaked=n == 0) for n in range(4)]
    found = by_metric(score_task(CLOSED, records))["accuracy_strict"]
    assert (found.value, found.leaked, found.clean) == (0.25, 1, 0.0)
    assert found.clean_low == found.clean_high == 0.0


def test_where_nobody_looked_for_leaks_none_are_claimed() -> None:
    found = by_metric(score_task(CLOSED, [record(1, True)]))["accuracy_strict"]
    assert (found.leaked, found.clean) == (None, None)


def test_replies_of_a_judge_without_a_verdict_are_counted() -> None:
    open_ = bound(task("slake/open"), Names(judge="sample_judge"))
    read = record(1, True, task="slake/open", metrics={"judge_correct@sample_judge": 1.0})
    unread = replace(
        record(2, None, task="slake/open", metrics={"judge_correct@sample_judge": None}),
        verdicts=("well, well",),
        unscored="judge_unreadable",
    )
    found = by_metric(score_task(open_, [read, unread]))["judge_correct@sample_judge"]
    assert (found.n, found.n_scored, found.unreadable) == (2, 1, 1)
