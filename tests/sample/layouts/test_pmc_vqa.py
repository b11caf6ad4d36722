"""The sample's PMC-VQA folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import csv
import shutil
import zipfile
from pathlib import Path

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.pmc_vqa import LAYOUT
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.questions import modality_choices
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "pmc_vqa")


@pytest.fixture(scope="module")
def second(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "pmc_vqa", "v2")


def rows(laid: Laid, name: str) -> Rows:
    with (laid.landing / "pmc_vqa" / name).open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        18,
        {
            "answer_disagrees_with_label": 1,
            "duplicate_row": 1,
            "label_unreadable": 1,
            "option_empty": 1,
            "option_letter_missing": 1,
            "option_letter_wrong": 1,
            "options_repeat": 1,
            "question_empty": 1,
        },
        {"image_missing": 1},
    )


def test_the_second_version_is_kept_whole_with_its_captions(second: Ingested) -> None:
    assert second.figures == (10, {}, {})
    assert all(sample.context.startswith("Example of ") for sample in second.samples)


def test_the_clean_test_file_is_eval_and_the_other_one_is_not_read(laid: Laid, made: Ingested) -> None:
    assert rows(laid, "test.csv")
    assert {(sample.origin.file, sample.split) for sample in made.samples} == {
        ("train.csv", "train"),
        ("test_clean.csv", "eval"),
    }


def test_both_spellings_of_the_answers_column_are_there(laid: Laid) -> None:
    assert "Answer" in rows(laid, "train.csv")[0]
    assert "Anwser" in rows(laid, "test_clean.csv")[0]


def test_labels_that_are_a_quotation_mark_are_found_by_the_answer(laid: Laid, made: Ingested) -> None:
    found = {(sample.origin.file, sample.origin.row): sample for sample in made.samples}
    checked = 0
    for name, column in (("train.csv", "Answer"), ("test_clean.csv", "Anwser")):
        for number, row in enumerate(rows(laid, name)):
            if row["Answer_label"] == '"' and (sample := found.get((name, number))):
                checked += 1
                assert sample.options["ABCD".index(sample.answer)] == row[column].strip()
    assert checked == 3


def test_not_applicable_stays_an_answer(made: Ingested) -> None:
    stains = [sample for sample in made.samples if sample.options[2] == "N/A"]
    assert len(stains) >= 3
    assert {sample.answer for sample in stains} == {"C"}


def test_an_answer_that_lost_its_first_letters_is_known_by_its_label(laid: Laid, made: Ingested) -> None:
    (number,) = [number for number, row in enumerate(rows(laid, "train.csv")) if row["Answer"].startswith("V:")]
    trained = [sample for sample in made.samples if sample.split == "train"]
    assert [sample.answer for sample in trained if sample.origin.row == number] == ["A"]


def test_odd_blanks_and_quotation_marks_are_there_and_gone(laid: Laid, made: Ingested) -> None:
    asked = "".join(row["Question"] for row in rows(laid, "train.csv"))
    assert "\u200a" in asked
    assert "\u00a0" in asked
    assert '"' in asked
    assert {sample.turns[0].text.partition("\n")[0].removeprefix("<image>") for sample in made.samples} == {
        "What imaging modality is shown?",
        "Which stain was used?",
        "What is the modality?",
    }


def test_the_right_option_is_true_of_the_picture(laid: Laid, made: Ingested, every: list[Picture]) -> None:
    modality = {picture.name: picture.modality for picture in every}
    shown = {
        each.image_id: modality[each.name.removesuffix("_pmc_vqa")]
        for each in laid.report.placed
        if each.source == "pmc_vqa"
    }
    named = [sample for sample in made.samples if "modality" in sample.turns[0].text]
    assert len(named) == 11
    for sample in named:
        assert sample.options["ABCD".index(sample.answer)] == shown[sample.images[0]]


def test_unpacked_pictures_do_as_well(laid: Laid, made: Ingested, tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "pmc_vqa"
    shutil.copytree(laid.landing / "pmc_vqa", folder)
    with zipfile.ZipFile(folder / "images.zip") as archive:
        archive.extractall(folder)
    (folder / "images.zip").unlink()
    again = ingested(tmp_path / "store", tmp_path / "landing", "pmc_vqa")
    assert {sample.sample_id for sample in again.samples} == {sample.sample_id for sample in made.samples}


@pytest.mark.parametrize("place", range(5))
def test_choices_are_four_different_ones_with_the_right_one_in_its_place(every: list[Picture], place: int) -> None:
    for picture in every[::40]:
        options = modality_choices(picture, place)
        assert len(set(options)) == len(options) == 4
        assert options[place % 4] == picture.modality


def test_without_pictures_the_folder_is_empty_and_whole() -> None:
    names = {"train.csv", "test.csv", "test_clean.csv", "train_2.csv", "test_2.csv", "images.zip", "images_2.zip"}
    assert LAYOUT.lay(Pool((), ())).files.keys() == names
