"""Quirks of Quilt-1M."""

from __future__ import annotations

import json

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.sources.quilt_1m import MAX_LIST_CHARS, read_list, video_of
from tests.sources.adapting import adapting

SOURCE = SOURCES["quilt_1m"]
IMAGE = "AbCdEfGhIjK_image_0000aaaa-1111-2222-3333-444455556666.jpg"


adapt, draft = adapting(SOURCE)


@pytest.mark.parametrize(("part", "split"), [("train", "train"), ("val", "eval")])
def test_val_is_the_hold_out(part: str, split: str) -> None:
    assert draft(split=part).split == split


@pytest.mark.parametrize(("column", "value"), [("split", "test"), ("subset", "twitter")])
def test_an_unknown_word_is_no_row_of_ours(column: str, value: str) -> None:
    with pytest.raises(RowError, match=f"{column} is '{value}'"):
        adapt(**{column: value})


def test_captions_and_pictures_are_many_to_many() -> None:
    keys = {draft(image_path=image, caption=text).key for image in ("a.jpg", "b.jpg") for text in ("Glands.", "Fat.")}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"caption": ""}, "caption_empty"),
        ({"caption": " \t"}, "caption_empty"),
        ({"caption": "nan"}, "caption_nan"),
        ({"caption": "NaN"}, "caption_nan"),
        ({"image_path": ""}, "image_not_named"),
    ],
)
def test_what_cannot_be_captioned_is_dropped_by_name(changes: dict[str, str], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize("caption", ["N/A", "NA", "None", "null"])
def test_words_that_look_missing_are_captions(caption: str) -> None:
    assert draft(caption=caption).answer == caption


def test_the_picture_is_a_bare_name() -> None:
    assert draft().images == (picture(IMAGE),)


@pytest.mark.parametrize(
    ("image", "video"),
    [
        (IMAGE, "AbCdEfGhIjK"),
        ("-b_dEfGhIjK_roi_0000aaaa.jpg", "-b_dEfGhIjK"),
        ("00001000010913.jpg", ""),
        ("short_image_1.jpg", ""),
    ],
)
def test_the_video_is_read_off_the_pictures_name(image: str, video: str) -> None:
    assert video_of(image) == video


def test_lists_and_flags_are_kept_for_people() -> None:
    extra = json.loads(draft(not_histology="1").extra)
    assert extra["pathology"] == ["Gastrointestinal"]
    assert extra["med_umls_ids"] == [["C0000001"]]
    assert (extra["subset"], extra["single_wsi"], extra["not_histology"]) == ("quilt", "0", "1")
    assert "noisy_text" not in extra


@pytest.mark.parametrize(("flag", "modality"), [("0", "histology"), ("", "histology"), ("1", ""), ("1.0", "")])
def test_a_picture_flagged_as_no_histology_has_no_modality(flag: str, modality: str) -> None:
    assert draft(not_histology=flag).modality == modality


def test_a_release_without_the_later_columns_is_read() -> None:
    row = {name: text for name, text in SOURCE.example.items() if name not in ("single_wsi", "not_histology")}
    assert isinstance(SOURCE.adapt(row), Draft)


@pytest.mark.parametrize(
    "text", ["", "nan", "Breast", "{'a': 1}", "['open", "[1 + 1]", "[print()]", r"['\d']", "[b'x']"]
)
def test_a_column_that_is_no_list_stays_text(text: str) -> None:
    assert read_list(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1000 + "]" * 1000,
        "[" + "-" * 40_000 + "1]",
        "[0x" + "f" * 9_000 + "]",
        "[1e999]",
        "[" * 5 + "]" * 5,
        "['" + "a" * MAX_LIST_CHARS + "']",
    ],
    ids=["nested", "signs", "digits", "infinite", "deep", "long"],
)
def test_a_list_that_is_meant_to_harm_stays_text(text: str) -> None:
    assert read_list(text) == text


def test_quotes_and_other_scripts_survive_in_lists() -> None:
    assert read_list(repr(["it's", 'a "quote"', "Übergang", None, 0.5])) == ["it's", 'a "quote"', "Übergang", None, 0.5]
