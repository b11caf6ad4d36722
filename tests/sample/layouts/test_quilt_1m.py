"""The sample's Quilt-1M folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import csv
import json
import zipfile
from collections import Counter

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.quilt_1m import ARCHIVES, COLUMNS, FOLDER, LAYOUT, TABLE
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "quilt_1m")


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    with (laid.landing / "quilt_1m" / TABLE).open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        14,
        {"caption_empty": 1, "caption_nan": 1, "duplicate_row": 1},
        {"image_missing": 1, "image_truncated": 1},
    )


def test_the_columns_are_the_publishers_with_an_unnamed_index(rows: Rows) -> None:
    assert tuple(rows[0]) == COLUMNS
    assert [row[""] for row in rows] == [str(number) for number in range(len(rows))]


def test_val_is_eval(made: Ingested, rows: Rows) -> None:
    for sample in made.samples:
        assert (sample.split == "eval") == (rows[sample.origin.row]["split"] == "val")
    assert {sample.split for sample in made.samples} == {"train", "eval"}


def test_one_picture_keeps_its_three_captions(made: Ingested) -> None:
    counts = Counter(sample.images for sample in made.samples)
    assert sorted(counts.values())[-2:] == [1, 3]


def test_a_caption_that_looks_missing_is_kept(made: Ingested) -> None:
    assert sum(sample.answer == "N/A" for sample in made.samples) == 1


def test_a_caption_of_two_lines_with_quotes_and_commas_is_one_caption(made: Ingested) -> None:
    [told] = [sample.answer for sample in made.samples if "narrator" in sample.answer]
    assert told.endswith('As the narrator says, "look here", and points.')


def test_list_columns_are_lists_words_or_absent(made: Ingested) -> None:
    shapes = {type(json.loads(sample.extra).get("pathology")) for sample in made.samples}
    assert shapes == {list, str, type(None)}


def test_a_picture_that_is_no_histology_says_so(made: Ingested, laid: Laid) -> None:
    flagged = [sample for sample in made.samples if json.loads(sample.extra)["not_histology"] == "1"]
    assert [sample.modality for sample in flagged] == [""]
    assert {sample.modality for sample in made.samples if sample not in flagged} == {"histology"}


def test_pictures_lie_in_two_archives_and_are_found_by_bare_name(made: Ingested, rows: Rows) -> None:
    assert {image["file"] for image in made.images.values()} == set(ARCHIVES)
    assert {image["member"].removeprefix(FOLDER) for image in made.images.values()} < {
        row["image_path"] for row in rows
    }


def test_all_subsets_are_there(rows: Rows) -> None:
    assert {row["subset"] for row in rows} == {"quilt", "openpath", "pubmed", "laion"}


def test_one_picture_has_no_row(laid: Laid, made: Ingested, rows: Rows) -> None:
    there = {name for part in ARCHIVES for name in zipfile.ZipFile(laid.landing / "quilt_1m" / part).namelist()}
    assert len(there - {FOLDER + row["image_path"] for row in rows}) == 1
    assert made.unused == 1


def test_without_pictures_the_table_has_only_its_header() -> None:
    tree = LAYOUT.lay(Pool((), ()))
    assert tree.files[TABLE].decode().splitlines() == [",".join(COLUMNS)]
