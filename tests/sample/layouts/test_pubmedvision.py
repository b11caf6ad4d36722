"""The sample's PubMedVision folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.pubmedvision import ABSENT, ALIGNMENT, FOLDERS, INSTRUCTION, LAYOUT
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def described(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "pubmedvision_alignment")


@pytest.fixture(scope="module")
def asked(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "pubmedvision_it")


def rows(laid: Laid, name: str) -> Rows:
    loaded: Rows = json.loads((laid.landing / "pubmedvision" / name).read_text())
    return loaded


def test_every_description_is_kept_dropped_or_quarantined_by_name(described: Ingested) -> None:
    assert described.figures == (7 + 4, {"several_images": 1}, {"image_missing": 1})
    assert {(sample.split, sample.kind) for sample in described.samples} == {("train", "captioning")}


def test_every_chat_is_kept_dropped_or_quarantined_by_name(asked: Ingested) -> None:
    assert asked.figures == (7 + 4, {"several_images": 1, "turn_empty": 1}, {"image_missing": 1})
    assert {(sample.split, sample.kind) for sample in asked.samples} == {("train", "visual_chat")}


@pytest.mark.parametrize("key", ["pubmedvision_alignment", "pubmedvision_it"])
def test_the_variant_keeps_the_row_of_two_pictures(laid: Laid, tmp_path: Path, key: str) -> None:
    made = ingested(tmp_path, laid.landing, key, "multi_image")
    (both,) = [sample for sample in made.samples if len(sample.images) == 2]
    assert both.turns[0].text.startswith("<image><image>")
    assert made.figures[0] == 8 + 4


def test_no_text_marks_a_picture(laid: Laid) -> None:
    assert all("<image>" not in json.dumps(row) for name in (ALIGNMENT, INSTRUCTION) for row in rows(laid, name))


def test_equal_numbers_show_the_same_figure_in_both_files(laid: Laid, described: Ingested, asked: Ingested) -> None:
    pictures = [
        {row["id"].rpartition("_")[2]: row["image"] for row in rows(laid, name)} for name in (ALIGNMENT, INSTRUCTION)
    ]
    shared = pictures[0].keys() & pictures[1].keys()
    assert len(shared) == 8 + 4
    assert all(pictures[0][number] == pictures[1][number] for number in shared)
    assert described.images.keys() == asked.images.keys()


def test_the_missing_picture_is_named_by_both_files(laid: Laid) -> None:
    for name in (ALIGNMENT, INSTRUCTION):
        assert sum(row["image"] == [f"images/{ABSENT}"] for row in rows(laid, name)) == 1


def test_a_row_without_modality_is_kept(laid: Laid, described: Ingested) -> None:
    (number,) = [number for number, row in enumerate(rows(laid, ALIGNMENT)) if "modality" not in row]
    (sample,) = [each for each in described.samples if each.origin.row == number]
    assert sample.modality == ""


def test_a_picture_named_by_a_string_is_kept(laid: Laid, asked: Ingested) -> None:
    (number,) = [number for number, row in enumerate(rows(laid, INSTRUCTION)) if isinstance(row["image"], str)]
    assert [each for each in asked.samples if each.origin.row == number]


def test_members_lie_in_several_archives_below_other_folders(laid: Laid) -> None:
    for archive, folder in FOLDERS.items():
        with zipfile.ZipFile(laid.landing / "pubmedvision" / archive) as opened:
            assert {name.rpartition("/")[0] for name in opened.namelist()} == {folder}


def test_pictures_unpacked_without_their_folders_do_as_well(laid: Laid, asked: Ingested, tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "pubmedvision"
    (folder / "images").mkdir(parents=True)
    shutil.copy(laid.landing / "pubmedvision" / INSTRUCTION, folder)
    for archive in FOLDERS:
        with zipfile.ZipFile(laid.landing / "pubmedvision" / archive) as opened:
            for name in opened.namelist():
                (folder / "images" / name.rpartition("/")[2]).write_bytes(opened.read(name))
    again = ingested(tmp_path / "store", tmp_path / "landing", "pubmedvision_it")
    assert {sample.sample_id for sample in again.samples} == {sample.sample_id for sample in asked.samples}


def test_without_pictures_the_folder_is_empty_and_whole() -> None:
    assert LAYOUT.lay(Pool((), ())).files.keys() == {ALIGNMENT, INSTRUCTION, *FOLDERS}


def test_planted_charts_have_a_caption_and_a_chat(laid: Laid, described: Ingested, asked: Ingested) -> None:
    placed = [each for each in laid.report.placed if (each.source, each.planted) == ("pubmedvision", "chart")]
    assert len({each.image_id for each in placed}) == 4
    for made in (described, asked):
        assert sum(sample.images[0] in {each.image_id for each in placed} for sample in made.samples) == 4
