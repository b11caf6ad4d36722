"""Cutting pictures out of package files."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medmax_pipeline.sample.pictures import MAX_SIDE_PX, Picture, pictures


def _named(every: list[Picture], name: str) -> Picture:
    return next(picture for picture in every if picture.name == name)


def test_names_are_unique(every: list[Picture]) -> None:
    assert max(Counter(picture.name for picture in every).values()) == 1


def test_the_corpus_is_large_enough_to_learn_from(every: list[Picture]) -> None:
    counts = Counter(picture.split for picture in every)
    assert counts["train"] >= 450
    assert counts["eval"] >= 110


def test_a_split_can_be_asked_for(every: list[Picture]) -> None:
    held_out = [picture.name for picture in pictures("eval")]
    assert held_out == [picture.name for picture in every if picture.split == "eval"]


def test_no_drawn_picture_is_held_out(every: list[Picture]) -> None:
    assert {picture.split for picture in every if picture.flag == "synthetic"} == {"train"}


def test_no_group_lies_in_both_splits(every: list[Picture]) -> None:
    sides = {(picture.group, picture.split) for picture in every}
    assert len(sides) == len({group for group, _ in sides})


def test_the_whole_of_a_file_is_real_and_its_cut_outs_are_derived(every: list[Picture]) -> None:
    chest = [picture for picture in every if picture.group == "rg1"]
    assert [picture.flag for picture in chest].count("real") == 1
    assert chest[0].flag == "real"


def test_a_frame_of_a_cine_is_derived(every: list[Picture]) -> None:
    assert {picture.flag for picture in every if picture.group == "echo_cine"} == {"derived"}


@pytest.mark.parametrize("name", ["chest_f000_w1_t0_c000", "retina_f000_w0_t1_c000", "drawn_limb_03"])
def test_pixels_have_the_listed_size_and_are_the_same_twice(every: list[Picture], name: str) -> None:
    picture = _named(every, name)
    image = picture.image()
    assert image.size == (picture.width, picture.height)
    assert max(image.size) <= MAX_SIDE_PX
    assert image.tobytes() == picture.image().tobytes()


def test_monochrome1_is_inverted_so_that_air_is_dark(every: list[Picture]) -> None:
    pixels = np.asarray(_named(every, "chest_f000_w1_t0_c000").image(), dtype=float)
    height, width = pixels.shape
    band = pixels[int(height * 0.3) : int(height * 0.45)]
    spine = band[:, int(width * 0.46) : int(width * 0.54)].mean()
    lung = band[:, int(width * 0.22) : int(width * 0.36)].mean()
    assert lung < spine - 20


def test_a_narrower_window_spreads_the_greys(every: list[Picture]) -> None:
    soft = np.asarray(_named(every, "abdomen_ct_f000_w0_t0_c000").image(), dtype=float)
    bone = np.asarray(_named(every, "abdomen_ct_f000_w1_t0_c000").image(), dtype=float)
    assert soft.std() > 1.5 * bone.std()


def test_the_green_channel_is_grey_and_says_so(every: list[Picture]) -> None:
    picture = _named(every, "retina_f000_w0_t1_c000")
    assert picture.image().mode == "L"
    assert "Green channel." in picture.facts


def test_the_brown_stain_turns_pink_tissue_brown_and_names_no_stain(every: list[Picture]) -> None:
    plain = next(each for each in every if each.name.startswith("skin_f000_w0_t0_c02"))
    brown = next(each for each in every if each.name == plain.name.replace("_t0_", "_t1_"))
    before, after = (np.asarray(each.image(), dtype=float).mean(axis=(0, 1)) for each in (plain, brown))
    assert before[2] > before[1]
    assert after[2] - after[1] < before[2] - before[1] - 5
    assert (plain.stain, brown.stain) == ("H&E", "")


def test_cine_frames_say_their_number(every: list[Picture]) -> None:
    assert _named(every, "heart_us_f017_w0_t0_c000").facts == ("Frame 18 of 120.",)
