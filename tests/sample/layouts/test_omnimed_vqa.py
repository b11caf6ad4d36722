"""The sample's OmniMedVQA folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.omnimed_vqa import ARCHIVE, LAYOUT, OPEN, RESTRICTED, ROOT, SMALL
from medmax_pipeline.sample.pictures import Picture
from tests.ingest.landings import write_zip
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "omnimed_vqa")


def rows(laid: Laid, name: str) -> Rows:
    with zipfile.ZipFile(laid.landing / "omnimed_vqa" / ARCHIVE) as archive:
        loaded: Rows = json.loads(archive.read(f"{ROOT}/{name}"))
    return loaded


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        22,
        {"answer_not_an_option": 1, "option_empty": 1, "restricted_images_not_shipped": 1},
        {"image_missing": 1},
    )


def test_rows_are_read_inside_the_archive_that_holds_their_pictures(made: Ingested) -> None:
    assert {sample.origin.file for sample in made.samples} == {f"{ARCHIVE}::{ROOT}/{name}" for name in (OPEN, SMALL)}


def test_the_hold_out_rule_by_path_gives_the_split_by_group(laid: Laid, made: Ingested) -> None:
    placed = {each.image_id: each.split for each in laid.report.placed if each.source == "omnimed_vqa"}
    assert {placed[sample.images[0]] == sample.split for sample in made.samples} == {True}
    assert {sample.split for sample in made.samples} == {"train", "eval"}


def test_two_options_are_enough(made: Ingested) -> None:
    small = [sample for sample in made.samples if sample.origin.file.endswith(SMALL)]
    assert len(small) == 10
    assert all(sample.options == ("Yes", "No") for sample in small)


def test_a_row_with_modality_is_kept_with_it(laid: Laid, made: Ingested) -> None:
    (number,) = [number for number, row in enumerate(rows(laid, OPEN)) if "modality" in row]
    (sample,) = [each for each in made.samples if each.origin.file.endswith(OPEN) and each.origin.row == number]
    assert sample.modality == rows(laid, OPEN)[number]["modality"]


def test_paths_hold_blanks_and_parentheses(laid: Laid) -> None:
    assert all(" (" in row["image_path"] and row["image_path"].endswith(").png") for row in rows(laid, OPEN))


def test_of_a_repeated_option_the_first_is_right(made: Ingested) -> None:
    (sample,) = [each for each in made.samples if len(set(each.options)) == 3]
    assert sample.answer == "A"
    assert sample.options[0] == sample.options[3]


def test_answers_with_a_final_dot_or_in_other_case_find_their_option(
    laid: Laid, made: Ingested, every: list[Picture]
) -> None:
    given = {str(row["gt_answer"]) for row in rows(laid, OPEN)}
    assert [answer for answer in given if answer.endswith(".")]
    modality = {picture.name: picture.modality for picture in every}
    shown = {
        each.image_id: modality[each.name.removesuffix("_omnimed_vqa")]
        for each in laid.report.placed
        if each.source == "omnimed_vqa"
    }
    asked = [sample for sample in made.samples if sample.origin.file.endswith(OPEN)]
    assert [sample for sample in asked if sample.options["ABCD".index(sample.answer)] not in given]
    for sample in asked:
        assert sample.options["ABCD".index(sample.answer)] == shown[sample.images[0]]


def test_a_restricted_set_is_there_without_pictures(laid: Laid) -> None:
    with zipfile.ZipFile(laid.landing / "omnimed_vqa" / ARCHIVE) as archive:
        names = archive.namelist()
    (row,) = rows(laid, RESTRICTED)
    assert f"{ROOT}/{row['image_path']}" not in names


def test_an_unpacked_archive_does_as_well(laid: Laid, made: Ingested, tmp_path: Path) -> None:
    with zipfile.ZipFile(laid.landing / "omnimed_vqa" / ARCHIVE) as archive:
        archive.extractall(tmp_path / "landing" / "omnimed_vqa")
    again = ingested(tmp_path / "store", tmp_path / "landing", "omnimed_vqa")
    assert again.figures == made.figures
    assert {sample.sample_id for sample in again.samples} == {sample.sample_id for sample in made.samples}


def test_an_archive_without_questions_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "landing" / "omnimed_vqa" / ARCHIVE, {f"{ROOT}/Images/1.png": b"x"})
    with pytest.raises(ArchiveError, match=r"no QA_information/Open-access/\*\.json"):
        ingested(tmp_path / "store", tmp_path / "landing", "omnimed_vqa")


def test_without_pictures_the_archive_has_its_three_files_of_questions() -> None:
    assert LAYOUT.lay(Pool((), ())).files.keys() == {ARCHIVE}
