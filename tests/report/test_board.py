"""The leaderboard on the page."""

from __future__ import annotations

from medmax_pipeline.eval.leaderboard import Cell, Leaderboard, Standing, Trained
from medmax_pipeline.report.board import board_section, trained_section

CELL = Cell(value=50.0, unit="percent", metric="accuracy_compat", origin="scores/x 0123", low=25.0, high=75.0, n=9)
OTHER = Cell(value=40.0, unit="percent", metric="judge_correct_compat@sample_judge", origin="y", comparable=False)
BOARD = Leaderboard(
    tasks=("average", "slake/open"),
    standings=(
        Standing(model="<ours>", published=False, cells={"average": CELL, "slake/open": OTHER}),
        Standing(
            model="theirs",
            published=True,
            cells={"average": Cell(value=0.33, unit="cosine", metric="m", origin="a paper")},
        ),
    ),
    trained=(),
)


def test_a_figure_stands_with_interval_scorer_and_origin() -> None:
    drawn = board_section(BOARD, sample=False)
    assert "[25.0, 75.0]" in drawn
    assert "accuracy_compat, percent, 9 items; scores/x 0123" in drawn
    assert "a paper" in drawn
    assert "&lt;ours&gt;" in drawn


def test_another_judges_figure_is_marked_and_an_unknown_one_is_a_dash() -> None:
    drawn = board_section(BOARD, sample=False)
    assert "40.0*" in drawn
    assert "50.0*" not in drawn
    assert "—" in drawn


def test_the_embedded_corpus_is_not_compared_with_published_sets() -> None:
    assert "Not to be compared" in board_section(BOARD, sample=True)
    assert "Not to be compared" not in board_section(BOARD, sample=False)


def point(name: str, subset: float, sequences: int | None, left_out: tuple[str, ...] = ()) -> Trained:
    return Trained(recipe=name, subset=subset, left_out=left_out, sequences=sequences, average=CELL)


def test_recipes_of_several_shares_make_a_curve_and_ablations_do_not_join_it() -> None:
    some = trained_section(
        [point("scaling_25", 0.25, 100), point("whole", 1, 400), point("no_chat", 1, 300, ("visual_chat",))]
    )
    assert "<svg" in some
    assert some.count("<circle") == 2
    assert "visual_chat" in some


def test_one_recipe_makes_no_curve() -> None:
    assert "<svg" not in trained_section([point("whole", 1, None)])
