"""Small drawings."""

from __future__ import annotations

from medmax_pipeline.report.charts import POINTS, curves, interval, thinned


def test_an_interval_without_ends_is_a_dot_alone() -> None:
    assert "whisker" not in interval(0.5, None, None)
    assert "whisker" in interval(0.5, 0.4, 0.6)


def test_values_outside_the_axis_stay_on_it() -> None:
    assert 'cx="176.0"' in interval(1.5, None, None)
    assert 'cx="4.0"' in interval(-0.5, None, None)


def test_a_long_curve_is_averaged_and_keeps_its_last_step() -> None:
    points = [(step, float(step % 2)) for step in range(1, 2 * POINTS + 1)]
    thin = thinned(points)
    assert len(thin) == POINTS
    assert thin[-1] == (2 * POINTS, 0.5)


def test_no_loss_draws_no_line() -> None:
    assert "polyline" not in curves([("text", "text-loss", [])])
