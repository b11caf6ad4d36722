"""Rates and numbers of steps."""

import pytest

from medmax_pipeline.config import Schedule
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.training.schedule import learning_rate, total_steps


def test_the_rate_rises_to_its_peak_then_falls_as_a_half_cosine() -> None:
    schedule = Schedule(epochs=1, peak_lr=1.0, warmup_ratio=0.1)
    rates = [learning_rate(schedule, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 0.001
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_a_plateau_stays_after_the_warm_up() -> None:
    schedule = Schedule(epochs=1, peak_lr=0.5, warmup_ratio=0.0, decay="constant")
    assert [learning_rate(schedule, step, 3) for step in range(3)] == [0.5, 0.5, 0.5]


def test_parts_of_epochs_are_rounded_to_whole_packs() -> None:
    assert total_steps(Schedule(epochs=2.5, peak_lr=1.0), 5) == 12


def test_no_packs_are_no_run() -> None:
    with pytest.raises(ConfigError, match="0 packs are no step at all"):
        total_steps(Schedule(epochs=3, peak_lr=1.0), 0)
