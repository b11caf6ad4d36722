"""The sample's VQA-RAD is laid out as the publisher's, faults included, and its answers are true."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from PIL import Image, UnidentifiedImageError

from medmax_pipeline.sample.layouts.vqa_rad import (
    ABSENT,
    NOT_A_PICTURE,
    PICTURES_FOLDER,
    QUESTIONS_FILE,
    TRUNCATED,
    UNASKED,
    is_coloured,
)
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.questions import CLOSED_WORDINGS
from medmax_pipeline.sources.vqa_rad import SOURCE
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    loaded: Rows = json.loads((laid.landing / "vqa_rad" / QUESTIONS_FILE).read_text())
    return loaded


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "vqa_rad")


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested, rows: Rows) -> None:
    kept, dropped, quarantined = made.figures
    assert kept == len(rows) - 4
    assert dropped == {}
    assert quarantined == {"image_missing": 1, "image_not_an_image": 1, "image_truncated": 1, "key_conflict": 1}


def test_odd_blanks_case_and_open_marks_are_gone_from_samples(made: Ingested) -> None:
    assert {sample.answer for sample in made.samples if sample.kind == "vqa_closed"} == {"yes", "no"}
    assert {sample.answer_type for sample in made.samples} == {"CLOSED", "OPEN"}
    texts = [turn.text for sample in made.samples for turn in sample.turns]
    assert not [text for text in texts if text != " ".join(text.split()) or text.endswith("open")]


def _tests(rows: Rows) -> Rows:
    return [row for row in rows if row["phrase_type"].startswith("test_")]


def test_rows_have_the_publishers_keys(rows: Rows) -> None:
    assert all(row.keys() == SOURCE.example.keys() for row in rows)


def test_there_is_enough_to_learn_and_to_score(rows: Rows) -> None:
    closed = [row for row in _tests(rows) if row["answer_type"].strip() == "CLOSED"]
    assert len(rows) - len(_tests(rows)) >= 1400
    assert 300 <= len(closed) <= 420


def test_closed_test_questions_are_half_yes(rows: Rows) -> None:
    answers = Counter(str(row["answer"]).strip().lower() for row in _tests(rows))
    assert answers["yes"] == answers["no"]


def test_modality_answers_agree_with_the_placed_picture(rows: Rows, laid: Laid, every: list[Picture]) -> None:
    modality = {picture.name: picture.modality for picture in every}
    asked = [placed for placed in laid.report.placed if placed.source == "vqa_rad"]
    shown = {placed.file.rpartition("/")[2]: modality[re.sub(r"_v\d+$", "", placed.name)] for placed in asked}
    topics = {text: name for name, texts in CLOSED_WORDINGS.items() for text in texts}
    checked = 0
    for row in rows:
        topic = topics.get(row["question"].strip())
        if topic and row["image_name"] in shown:
            checked += 1
            assert str(row["answer"]).strip().lower() == ("yes" if shown[row["image_name"]] == topic else "no")
    assert checked > 1500


def test_the_upstreams_untidiness_is_there(rows: Rows) -> None:
    assert {"yes", "Yes", "no", "No"} <= {row["answer"] for row in rows}
    assert any(row["answer_type"] == "CLOSED " for row in rows)
    assert any(str(row["answer"]).endswith("\t") for row in rows)
    assert any(row["question"].endswith("? -open") for row in rows)
    assert any(row["question"].endswith("? - open") for row in rows)
    assert any(isinstance(row["answer"], int) for row in rows)
    assert {type(row["qid"]) for row in rows} == {int, str}
    assert any(", " in row["question_type"] for row in rows)


def test_one_qid_occurs_twice(rows: Rows) -> None:
    assert [qid for qid, count in Counter(str(row["qid"]) for row in rows).items() if count > 1] == ["0"]


def test_some_training_questions_are_on_test_pictures(rows: Rows) -> None:
    tested = {row["image_name"] for row in _tests(rows)}
    trained = {row["image_name"] for row in rows} & {
        row["image_name"] for row in rows if not row["phrase_type"].startswith("test_")
    }
    assert len(tested & trained) == 6


def test_a_row_lacks_its_picture_and_a_picture_its_row(rows: Rows, laid: Laid) -> None:
    names = {row["image_name"] for row in rows}
    files = {path.name for path in (laid.landing / "vqa_rad" / PICTURES_FOLDER).iterdir()}
    assert names - files == {ABSENT}
    assert files - names == {UNASKED}


def test_broken_pictures_are_broken(laid: Laid) -> None:
    folder = laid.landing / "vqa_rad" / PICTURES_FOLDER
    with Image.open(folder / TRUNCATED) as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(folder / NOT_A_PICTURE)


def test_grey_pixels_stored_as_rgb_are_not_coloured() -> None:
    assert not is_coloured(Image.new("RGB", (8, 8), (90, 92, 91)))
    assert is_coloured(Image.new("RGB", (8, 8), (200, 80, 60)))


def test_held_out_pictures_have_no_other_views(laid: Laid) -> None:
    views = [placed for placed in laid.report.placed if re.search(r"_v\d+$", placed.name)]
    assert len(views) > 500
    assert {placed.split for placed in views} == {"train"}
    assert all(placed.image_flag in ("derived", "synthetic") for placed in views)
