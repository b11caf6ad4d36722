"""Models side by side: published figures with their origin, ours with interval and scorer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.eval.leaderboard import compat_metric, leaderboard, published_standings, standing, trained
from medmax_pipeline.eval.published import COSINE, PERCENT, PUBLISHED
from medmax_pipeline.eval.scores import Score
from medmax_pipeline.eval.tasks import TASKS

CLOSED = Score(
    model="sample",
    task="vqa_rad/closed",
    metric="accuracy_compat",
    scorer="reference_first_token_rule",
    meaning="",
    headline=False,
    share=True,
    status="ok",
    n=10,
    n_scored=9,
    value=0.5,
    low=0.25,
    high=0.75,
)
STRICT = replace(CLOSED, metric="accuracy_strict", headline=True, value=0.6)


def test_every_row_of_the_suite_has_the_metric_that_answers_to_the_published_one() -> None:
    for key, task in TASKS.items():
        assert compat_metric(key) in {metric.name for metric in task.metrics}, key


def test_every_published_figure_has_an_origin_and_a_plausible_value() -> None:
    for row in PUBLISHED:
        assert "2412.12661" in row.origin
        assert 0 < row.value <= (100 if row.unit == PERCENT else 1)
        assert row.task in {*TASKS, "average", "mm_out"}
        assert row.unit in (PERCENT, COSINE)


@pytest.mark.parametrize(("model", "given"), [("MedMax-7B", 65.5), ("Chameleon-7B", 39.4), ("GPT-4o", 42.0)])
def test_published_averages_are_those_of_their_tasks(model: str, given: float) -> None:
    line = next(line for line in published_standings() if line.model == model)
    tasks = [cell.value for task, cell in line.cells.items() if cell.unit == PERCENT and task.count("/")]
    assert line.cells["average"].value == given
    assert sum(tasks) / len(tasks) == pytest.approx(given, abs=0.06)
    assert len(tasks) == 12


def test_ours_stands_in_percent_with_interval_strict_value_and_origin() -> None:
    cell = standing("sample", [CLOSED, STRICT], "scores/sample 0123").cells["vqa_rad/closed"]
    assert (cell.value, cell.low, cell.high, cell.strict, cell.n) == (50.0, 25.0, 75.0, 60.0, 9)
    assert (cell.origin, cell.comparable) == ("scores/sample 0123", True)


@pytest.mark.parametrize(("scorer", "same"), [("sample_judge", False), ("gpt-4o-mini-2024-07-18", True)])
def test_another_judge_than_the_papers_is_no_rival(scorer: str, same: bool) -> None:
    judged = replace(CLOSED, task="slake/open", metric=f"judge_correct_compat@{scorer}")
    assert standing("sample", [judged], "x").cells["slake/open"].comparable is same


def test_other_models_parts_and_unknown_values_make_no_cell() -> None:
    rows = [replace(CLOSED, model="base"), replace(CLOSED, part="group=ct"), replace(CLOSED, value=None)]
    assert standing("sample", rows, "x").cells == {}


def test_a_board_shows_the_rows_of_the_build_and_who_published_them() -> None:
    board = leaderboard([standing("sample", [CLOSED], "x")], [], ["vqa_rad/closed"])
    assert board.tasks == ("average", "vqa_rad/closed")
    names = [line.model for line in board.standings]
    assert names[0] == "sample"
    assert {"MedMax-7B", "GPT-4o"} <= {*names}
    assert "reference captions" not in names


def test_a_recipe_says_its_share_and_what_it_leaves_out() -> None:
    found = replace(CLOSED, task="average", metric="average_accuracy_unjudged", scorer="")
    point = trained("sample", {"subset": 0.25, "without": ["visual_chat"]}, 100, [found], "x")
    assert (point.subset, point.left_out, point.sequences) == (0.25, ("visual_chat",), 100)
    assert point.average is not None
    assert point.average.value == 50.0
    assert trained("sample", {}, None, [], "x").average is None
