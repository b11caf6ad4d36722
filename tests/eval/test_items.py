"""Which items are asked, in which order."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from medmax_pipeline.arrow import samples_to_table
from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.items import as_items, choose, in_batches, item_seed
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import write_table
from medmax_pipeline.tokens.store import CodeStore
from tests.eval.conftest import CLOSED, CODES, World, sample


def test_training_rows_and_other_kinds_are_not_asked(world: World) -> None:
    chosen = choose([world.samples["vqa_rad"]], task("vqa_rad/closed"), None)
    assert {each.sample_id for each in chosen.samples} == {each.sample_id for each in CLOSED}


def test_a_limit_keeps_the_first_by_sample_id_whatever_the_files_order(tmp_path: Path) -> None:
    write_table(tmp_path / "forth.parquet", samples_to_table(CLOSED))
    write_table(tmp_path / "back.parquet", samples_to_table(CLOSED[::-1]))
    chosen = [choose([tmp_path / name], task("vqa_rad/closed"), 7) for name in ("forth.parquet", "back.parquet")]
    assert chosen[0] == chosen[1]
    assert {each.sample_id for each in chosen[0].samples} == set(sorted(each.sample_id for each in CLOSED)[:7])
    assert chosen[0].candidates == len(CLOSED)


def test_items_of_one_picture_stand_together(world: World) -> None:
    chosen = choose([world.samples["vqa_rad"]], task("vqa_rad/closed"), None)
    pictures = [each.images[0] for each in chosen.samples]
    changes = sum(one != other for one, other in pairwise(pictures))
    assert changes == len(set(pictures)) - 1


def test_a_sample_twice_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "samples.parquet", samples_to_table([CLOSED[0], CLOSED[0]]))
    with pytest.raises(StoreError, match="occurs twice"):
        choose([tmp_path / "samples.parquet"], task("vqa_rad/closed"), None)


def test_batches_hold_every_item_once_and_the_last_is_shorter() -> None:
    assert [len(batch) for batch in in_batches(CLOSED, 8)] == [8, 8, 4]
    assert [each for batch in in_batches(CLOSED, 8) for each in batch] == CLOSED


def test_an_items_seed_depends_on_the_sample_and_the_runs_seed_alone() -> None:
    assert item_seed(0, "a") == item_seed(0, "a")
    assert len({item_seed(0, "a"), item_seed(1, "a"), item_seed(0, "b")}) == 3


def test_an_item_whose_picture_has_no_codes_is_known_to_have_none(world: World) -> None:
    codes = CodeStore(world.codes, CODES)
    items = as_items([CLOSED[0], sample(50, image="never encoded")], "tiny", codes, 0)
    assert items[0].codes is not None
    assert items[1].codes is None
