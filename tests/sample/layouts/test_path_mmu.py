"""The sample's PathMMU folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.path_mmu import CATEGORIES, LAYOUT, QUESTIONS, SPLITS, Data
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "path_mmu")


@pytest.fixture(scope="module")
def data(laid: Laid) -> Data:
    loaded: Data = json.loads((laid.landing / "path_mmu" / QUESTIONS).read_text())
    return loaded


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        8,
        {"answer_not_an_option": 2, "split_train": 1, "split_validation": 1},
        {"image_missing": 2},
    )
    assert made.unused == 1


def test_categories_and_splits_are_the_publishers(data: Data) -> None:
    assert tuple(data) == CATEGORIES
    assert {tuple(lists) for lists in data.values()} == {SPLITS}


def test_numbers_repeat_over_lists_and_samples_do_not(made: Ingested, data: Data) -> None:
    numbers = Counter(row["No"] for lists in data.values() for rows in lists.values() for row in rows)
    assert numbers[1] > 3
    assert len({sample.sample_id for sample in made.samples}) == 8
    assert {json.loads(sample.extra)["split"] for sample in made.samples} == {"test", "test_tiny"}


def test_a_bracket_inside_an_option_stays(made: Ingested) -> None:
    options = {option for sample in made.samples for option in sample.options}
    assert {"A section (microscopy)", "A chart 1) 2)"} <= options


def test_three_options_and_four_are_there_and_the_letter_is_the_right_one(made: Ingested) -> None:
    assert {len(sample.options) for sample in made.samples} == {3, 4}
    for sample in made.samples:
        right = sample.options["ABCD".index(sample.answer)]
        assert sample.context == f"The record of the picture says: {right}."
        assert right in ("A section (microscopy)", "Colon")


def test_rows_of_categories_without_pictures_have_their_other_keys(data: Data) -> None:
    assert data["SocialPath"]["test"][0]["tw_id"]
    assert data["Atlas"]["test_tiny"][0]["source_img"]


def test_without_pictures_the_files_are_there_and_empty() -> None:
    files = LAYOUT.lay(Pool((), ())).files
    assert not any(rows for lists in json.loads(files[QUESTIONS]).values() for rows in lists.values())
    assert "images.zip" in files
