"""Quirks of PMC-OA."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources import SOURCES, source
from medmax_pipeline.sources.pmc_oa import HELD_OUT_PERCENT, split_of


def adapt(image: str, caption: object) -> Draft | Drop:
    made = SOURCES["pmc_oa"].adapt({"image": image, "caption": caption})
    assert isinstance(made, Draft | Drop)
    return made


def test_sub_figures_of_one_article_share_a_split() -> None:
    for number in range(50):
        splits = {
            made.split
            for name in ("Fig1_1", "Fig1_2", "Fig7_0")
            if isinstance(made := adapt(f"PMC{number}_{name}.jpg", "A knee."), Draft)
        }
        assert splits == {split_of(f"PMC{number}")}


def test_about_the_stated_share_of_articles_is_held_out() -> None:
    held = sum(split_of(f"PMC{number}") == "eval" for number in range(5000))
    assert held / 50 == pytest.approx(HELD_OUT_PERCENT, abs=2)


def test_the_split_of_an_article_never_changes() -> None:
    assert [number for number in range(1, 40) if split_of(f"PMC{number}") == "eval"] == [7, 12, 13, 17, 19, 20, 26, 29]


def test_the_member_is_named_by_its_base_name() -> None:
    made = adapt("PMC1_Fig1_1.jpg", "A knee.")
    assert isinstance(made, Draft)
    assert made.images == (picture("PMC1_Fig1_1.jpg"),)


def test_two_captions_of_one_picture_have_two_keys() -> None:
    first, second = adapt("PMC1_Fig1_1.jpg", "A knee."), adapt("PMC1_Fig1_1.jpg", "A hand.")
    assert isinstance(first, Draft)
    assert isinstance(second, Draft)
    assert first.key != second.key


def test_a_number_as_caption_becomes_text() -> None:
    made = adapt("PMC1_Fig1_1.jpg", 7)
    assert isinstance(made, Draft)
    assert made.answer == "7"


@pytest.mark.parametrize(
    ("caption", "reason"),
    [("", "caption_empty"), (" \n", "caption_empty"), (None, "caption_nan"), (json.loads("NaN"), "caption_nan")],
)
def test_a_caption_without_text_is_dropped_by_name(caption: object, reason: str) -> None:
    made = adapt("PMC1_Fig1_1.jpg", caption)
    assert isinstance(made, Drop)
    assert made.reason == reason


def test_the_word_nan_is_a_caption() -> None:
    assert isinstance(adapt("PMC1_Fig1_1.jpg", "nan"), Draft)


@pytest.mark.parametrize("image", ["Fig1.jpg", "PMC1_../../Fig1.jpg", "xPMC1_Fig1_1.jpg", None, ["PMC1_Fig1_1.jpg"]])
def test_a_name_that_is_no_sub_figure_is_no_row_of_ours(image: Any) -> None:
    with pytest.raises(RowError, match=r"image is .*; expected PMC"):
        adapt(image, "A knee.")


def test_a_caption_that_is_a_list_is_no_row_of_ours() -> None:
    with pytest.raises(RowError, match="caption is list"):
        adapt("PMC1_Fig1_1.jpg", ["A knee."])


def test_the_beta_variant_reads_whole_captions_and_no_other_file() -> None:
    beta = source("pmc_oa", "beta")
    assert [item.path for item in beta.files] == ["pmc_oa_beta.jsonl", "images.zip"]
    made = beta.adapt(beta.example)
    assert isinstance(made, Draft)
    assert made.answer == "(A) Axial image. (B) Coronal image."
