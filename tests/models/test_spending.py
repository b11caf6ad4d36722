"""A budget in one file: threads and processes together never set aside more than it holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import write_text
from medmax_pipeline.models.spending import Purse


def test_many_at_once_set_aside_no_more_than_the_budget(tmp_path: Path) -> None:
    purses = [Purse(tmp_path / "spent.json", 0.5) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        granted = list(pool.map(lambda number: purses[number % 3].reserve(0.1), range(12)))
    assert sum(granted) == 5
    assert purses[0].spent() == pytest.approx(0.5)


def test_what_was_under_way_at_a_kill_stays_spent(tmp_path: Path) -> None:
    assert Purse(tmp_path / "spent.json", 1.0).reserve(0.7)
    assert not Purse(tmp_path / "spent.json", 1.0).reserve(0.4)


def test_what_was_used_takes_the_place_of_what_was_set_aside(tmp_path: Path) -> None:
    purse = Purse(tmp_path / "spent.json", 1.0)
    assert purse.reserve(0.9)
    purse.settle(0.9, 0.2)
    assert purse.spent() == pytest.approx(0.2)
    assert purse.reserve(0.8)


@pytest.mark.parametrize("text", ["[]", '{"usd": "much"}', '{"usd": NaN}', '{"usd": -1}', "{"])
def test_a_file_that_does_not_say_what_was_spent_is_an_error_and_not_zero(text: str, tmp_path: Path) -> None:
    write_text(tmp_path / "spent.json", text)
    with pytest.raises(StoreError):
        Purse(tmp_path / "spent.json", 1.0).reserve(0.1)
