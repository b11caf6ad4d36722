"""The sample's SLAKE folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.slake import ABSENT, ARCHIVE, BROKEN, LAYOUT, VALIDATION
from medmax_pipeline.sources.slake import SOURCE
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "slake")


@pytest.fixture(scope="module")
def rows(laid: Laid) -> dict[str, Rows]:
    names = ("train.json", *VALIDATION, "test.json")
    return {name: json.loads((laid.landing / "slake" / name).read_text()) for name in names}


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        46,
        {"answer_empty": 1, "language_zh": 11, "split_validation": 1},
        {"image_missing": 1, "image_truncated": 1},
    )


def test_rows_have_the_publishers_keys_in_changing_order(rows: dict[str, Rows]) -> None:
    known = set(SOURCE.example) - {"split"}
    assert all(row.keys() == known for table in rows.values() for row in table)
    assert len({tuple(row) for row in rows["train.json"]}) == 2


def test_qids_are_unique_over_the_files(rows: dict[str, Rows]) -> None:
    qids = [row["qid"] for table in rows.values() for row in table]
    assert sorted(qids) == list(range(len(qids)))


def test_a_picture_is_asked_about_in_chinese_on_the_other_side_of_the_split(rows: dict[str, Rows]) -> None:
    sides = {
        (row["img_id"], row["q_lang"]): name
        for name in ("train.json", "test.json")
        for row in rows[name]
        if row["img_id"] not in (BROKEN, ABSENT)
    }
    numbers = {number for number, _ in sides}
    assert len(numbers) == 10
    assert all(sides[number, "en"] != sides[number, "zh"] for number in numbers)


def test_no_picture_is_on_both_sides_once_the_chinese_rows_are_gone(made: Ingested) -> None:
    train, held = (
        {name for sample in made.samples if sample.split == split for name in sample.images}
        for split in ("train", "eval")
    )
    assert (len(train), len(held)) == (6, 4)
    assert not train & held


def test_both_spellings_of_the_validation_file_are_read_and_left_out(rows: dict[str, Rows], made: Ingested) -> None:
    assert [len(rows[name]) for name in VALIDATION] == [1, 1]
    assert not [sample for sample in made.samples if sample.origin.file in VALIDATION]


def test_closed_answers_that_are_choices_are_kept_as_open(made: Ingested) -> None:
    chosen = [sample for sample in made.samples if sample.kind == "vqa_open" and sample.answer_type == "CLOSED"]
    assert len(chosen) == 10
    assert not {sample.answer.lower() for sample in chosen} & {"yes", "no"}


def test_closed_questions_are_answered_with_yes_and_no_in_lower_case(made: Ingested) -> None:
    closed = [sample.answer for sample in made.samples if sample.kind == "vqa_closed"]
    assert (closed.count("yes"), closed.count("no"), len(closed)) == (10, 10, 20)


def test_doubled_blanks_are_there_and_gone(rows: dict[str, Rows], made: Ingested) -> None:
    assert [row for row in rows["train.json"] if "  " in row["question"]]
    assert not [sample for sample in made.samples if "  " in sample.turns[0].text + sample.answer]


def test_the_picture_is_found_by_its_folder_among_many_of_one_name(laid: Laid, made: Ingested) -> None:
    with zipfile.ZipFile(laid.landing / "slake" / ARCHIVE) as archive:
        names = archive.namelist()
    assert sum(name.endswith("/source.jpg") for name in names) == 11
    placed = {each.image_id: each for each in laid.report.placed if each.source == "slake"}
    for sample in made.samples:
        assert placed[sample.images[0]].member == f"imgs/xmlab{json.loads(sample.extra)['img_id']}/source.jpg"


def test_unpacked_pictures_do_as_well(laid: Laid, made: Ingested, tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "slake"
    folder.mkdir(parents=True)
    for name in ("train.json", "test.json"):
        (folder / name).write_bytes((laid.landing / "slake" / name).read_bytes())
    with zipfile.ZipFile(laid.landing / "slake" / ARCHIVE) as archive:
        archive.extractall(folder)
    again = ingested(tmp_path / "store", tmp_path / "landing", "slake")
    assert {sample.sample_id for sample in again.samples} == {sample.sample_id for sample in made.samples}


def test_without_pictures_the_folder_is_empty_and_whole() -> None:
    assert LAYOUT.lay(Pool((), ())).files.keys() == {ARCHIVE, "train.json", *VALIDATION, "test.json"}
