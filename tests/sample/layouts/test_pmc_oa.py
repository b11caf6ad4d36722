"""The sample's PMC-OA is laid out as the publisher's, faults and planted leaks included."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from typing import Any

import pytest
from PIL import Image

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.sample.layouts.pmc_oa import ARCHIVE, CAPTIONS, FOLDER, PHRASES, caption
from medmax_pipeline.sample.pictures import Picture
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    lines = (laid.landing / "pmc_oa" / CAPTIONS).read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def members(laid: Laid) -> dict[str, bytes]:
    with zipfile.ZipFile(laid.landing / "pmc_oa" / ARCHIVE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "pmc_oa")


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested, rows: Rows) -> None:
    kept, dropped, quarantined = made.figures
    assert kept == len(rows) - 4
    assert dropped == {"caption_empty": 1, "caption_nan": 1}
    assert quarantined == {"image_missing": 1, "image_truncated": 1}
    assert made.unused == 1 + 2  # the member without a row, and those of the two rows without a caption


def test_palettes_and_alpha_named_jpg_are_kept_as_what_they_are(made: Ingested) -> None:
    odd = {image["mode"]: image["format"] for image in made.images.values() if image["mode"] in ("P", "RGBA")}
    assert odd == {"P": "PNG", "RGBA": "PNG"}


def test_names_follow_the_publishers_pattern(members: dict[str, bytes]) -> None:
    assert all(re.fullmatch(rf"{FOLDER}PMC\d+_Fig\d+_\d\.jpg", name) for name in members)


def test_the_hold_out_rule_by_article_gives_the_split_by_group(laid: Laid) -> None:
    for placed in laid.report.placed:
        if placed.source == "pmc_oa":
            pmcid = placed.member.rpartition("/")[2].partition("_")[0]
            number = int(hashlib.sha256(b"pmc_oa:" + pmcid.encode()).hexdigest()[:8], 16)
            assert placed.split == ("eval" if number % 100 < 20 else "train")


def test_both_sides_have_captions(laid: Laid) -> None:
    counts = Counter(placed.split for placed in laid.report.placed if placed.source == "pmc_oa")
    assert counts["train"] > 150
    assert counts["eval"] >= 20


def test_an_article_has_several_sub_figures(rows: Rows) -> None:
    assert max(Counter(row["image"].partition("_")[0] for row in rows).values()) > 10


def test_empty_and_nan_captions_are_there(rows: Rows) -> None:
    assert [row for row in rows if row["caption"] == ""]
    assert [row for row in rows if isinstance(row["caption"], float) and row["caption"] != row["caption"]]


def test_older_rows_carry_the_articles_id(rows: Rows) -> None:
    assert any(row.get("pmcid") == row["image"].partition("_")[0] for row in rows)


def test_a_row_lacks_its_member_and_a_member_its_row(rows: Rows, members: dict[str, bytes]) -> None:
    named, there = {row["image"] for row in rows}, {name.rpartition("/")[2] for name in members}
    assert len(named - there) == 1
    assert len(there - named) == 1


def test_members_called_jpg_hold_palettes_alpha_and_a_broken_picture(members: dict[str, bytes]) -> None:
    modes, broken = Counter[str](), 0
    for data in members.values():
        with Image.open(io.BytesIO(data)) as image:
            modes[image.mode] += 1
            try:
                image.load()
            except OSError:
                broken += 1
    assert modes["P"] == 1
    assert modes["RGBA"] == 1
    assert broken == 1


def test_planted_leaks_show_evaluation_pixels_in_other_bytes(laid: Laid, members: dict[str, bytes]) -> None:
    asked = {placed.name: placed for placed in laid.report.placed if placed.source == "vqa_rad"}
    leaks = [placed for placed in laid.report.placed if (placed.source, placed.planted) == ("pmc_oa", "leak")]
    assert len(leaks) == 6
    for leak in leaks:
        original = asked[leak.name]
        assert (original.split, leak.split) == ("eval", "train")
        assert original.image_id != leak.image_id == sha256_bytes(members[leak.member])
        with (
            Image.open(laid.landing / "vqa_rad" / original.file) as first,
            Image.open(io.BytesIO(members[leak.member])) as second,
        ):
            assert first.convert("RGB").tobytes() == second.convert("RGB").tobytes()


def test_twins_are_byte_equal_to_pictures_of_the_other_source(laid: Laid) -> None:
    asked = {placed.image_id for placed in laid.report.placed if placed.source == "vqa_rad"}
    twins = [placed for placed in laid.report.placed if (placed.source, placed.planted) == ("pmc_oa", "twin")]
    assert len(twins) == 5
    assert {placed.image_id for placed in twins} <= asked


def test_planted_charts_lie_in_training_under_true_captions(laid: Laid, made: Ingested) -> None:
    charts = [placed for placed in laid.report.placed if (placed.source, placed.planted) == ("pmc_oa", "chart")]
    assert len(charts) == 8
    assert {placed.image_flag for placed in charts} == {"synthetic"}
    shown = {sample.images[0]: sample for sample in made.samples}
    captions = [shown[placed.image_id].turns[-1].text for placed in charts]
    assert {shown[placed.image_id].split for placed in charts} == {"train"}
    assert [caption.split()[0] for caption in captions[:4]] == ["Bar", "Line", "Scatter", "Kaplan-Meier"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_captions_name_modality_and_body_part(every: list[Picture], place: int) -> None:
    for picture in every:
        text = caption(picture, place).lower()
        assert PHRASES[picture.modality].lower() in text
        assert picture.body_part in text
        assert ("drawing" in text) == (picture.flag == "synthetic")
