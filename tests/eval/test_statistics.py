"""Means, intervals and gains against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmax_pipeline.eval.statistics import NothingScored, estimate, majority, paired_gain, sums


def test_accuracy_is_the_share_of_right_items_not_of_pictures() -> None:
    assert estimate(sums([1, 1, 1, 0], ["a", "a", "a", "b"]), seed=0).value == 0.75


def test_balanced_accuracy_of_always_saying_yes_is_one_half() -> None:
    said_yes = sums([1, 1, 1, 0], list("abcd"), ["yes", "yes", "yes", "no"])
    assert said_yes.value() == 0.5


def test_balanced_accuracy_averages_the_classes() -> None:
    # yes: 2 of 3 right, no: 1 of 1
    assert sums([1, 1, 0, 1], list("abcd"), ["yes", "yes", "yes", "no"]).value() == pytest.approx((2 / 3 + 1) / 2)


def test_accuracy_of_nothing_is_an_error_and_not_zero() -> None:
    with pytest.raises(NothingScored, match="no item was scored"):
        sums([], [])
    with pytest.raises(NothingScored, match="no majority"):
        majority([])


def test_interval_of_two_pictures_spans_both() -> None:
    # resamples hold picture a twice (1.0), b twice (0.0) or each once (0.5): 1/4, 1/4, 1/2
    found = estimate(sums([1, 0], ["a", "b"]), seed=0)
    assert (found.value, found.low, found.high, found.clusters) == (0.5, 0.0, 1.0, 2)


def test_interval_of_one_picture_is_unknown() -> None:
    found = estimate(sums([1, 0, 1], ["a", "a", "a"]), seed=0)
    assert (found.low, found.high, found.clusters) == (None, None, 1)


def test_interval_nears_the_normal_one_for_independent_items() -> None:
    values = [1.0] * 120 + [0.0] * 80
    found = estimate(sums(values, list(range(200))), seed=0)
    half = 1.96 * (0.6 * 0.4 / 200) ** 0.5
    assert found.low == pytest.approx(0.6 - half, abs=0.01)
    assert found.high == pytest.approx(0.6 + half, abs=0.01)


def test_interval_widens_when_items_share_a_picture() -> None:
    values = [1.0, 0.0] * 50
    alone = estimate(sums(sorted(values), list(range(100))), seed=0)
    shared = estimate(sums(sorted(values), [n // 10 for n in range(100)]), seed=0)
    assert alone.low is not None
    assert shared.low is not None
    assert shared.low < alone.low - 0.1


def test_the_same_seed_gives_the_same_interval() -> None:
    score = sums([1, 0, 1, 1, 0], list("aabbc"))
    assert estimate(score, seed=4) == estimate(score, seed=4)


def test_a_resample_without_a_class_is_left_out_and_not_counted_as_zero() -> None:
    found = estimate(sums([1, 1, 1, 1], list("abcd"), ["yes", "yes", "yes", "no"]), seed=0)
    assert (found.low, found.high) == (1.0, 1.0)


def test_paired_gain_of_equal_models_is_exactly_zero() -> None:
    score = sums([1, 0, 1, 0], list("abcd"))
    assert paired_gain(score, score, seed=0)[:3] == (0.0, 0.0, 0.0)


def test_paired_gain_sees_what_unpaired_intervals_hide() -> None:
    base = [float(n % 2) for n in range(40)]
    tuned = [
        1.0 if n % 10 == 0 else value for n, value in enumerate(base)
    ]  # right wherever the base was, and on 4 more
    clusters = list(range(40))
    found = paired_gain(sums(tuned, clusters), sums(base, clusters), seed=0)
    assert found.value == pytest.approx(0.1)
    assert found.low is not None
    assert found.low > 0


def test_paired_gain_refuses_other_items() -> None:
    with pytest.raises(ValueError, match="same items"):
        paired_gain(sums([1, 0], ["a", "b"]), sums([1, 0, 0], ["a", "b", "b"]), seed=0)


def test_majority_is_the_most_frequent_answers_share() -> None:
    assert majority(["yes", "yes", "no", "yes"]) == 0.75


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_interval_holds_the_range_of_what_can_be_drawn(items: list[tuple[bool, int]]) -> None:
    score = sums([float(right) for right, _ in items], [cluster for _, cluster in items])
    found = estimate(score, seed=0)
    by_cluster = score.numerators_KC[0] / score.denominators_KC[0]
    if found.low is not None and found.high is not None:
        assert np.min(by_cluster) - 1e-9 <= found.low <= found.high <= np.max(by_cluster) + 1e-9
