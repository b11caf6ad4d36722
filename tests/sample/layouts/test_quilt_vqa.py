"""The sample's Quilt-VQA folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.quilt_vqa import LAYOUT
from medmax_pipeline.sources.quilt_vqa import QUESTIONS, WITHOUT_ANSWERS
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "quilt_vqa")


@pytest.fixture(scope="module")
def copy(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "quilt_vqa", "parquet")


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    loaded: Rows = json.loads((laid.landing / "quilt_vqa" / QUESTIONS).read_text())
    return loaded


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (15, {}, {"image_missing": 1})
    assert made.unused == 1


def test_of_the_parquet_copy_a_closed_row_without_yes_or_no_is_dropped(copy: Ingested) -> None:
    assert copy.figures == (4, {"closed_answer_without_yes_or_no": 1}, {})


def test_all_of_it_is_eval_in_both_copies(made: Ingested, copy: Ingested) -> None:
    assert {sample.split for sample in (*made.samples, *copy.samples)} == {"eval"}


def test_closed_questions_are_half_yes_although_written_in_any_case(made: Ingested, rows: Rows) -> None:
    assert {row["yes_no_answer"] for row in rows if row["answer_type"] == "CLOSED"} == {"yes ", "Yes", "No", "NO"}
    closed = Counter(sample.answer for sample in made.samples if sample.kind == "vqa_closed")
    assert closed == {"yes": 5, "no": 5}


def test_the_sentence_behind_yes_or_no_is_the_context(made: Ingested, rows: Rows) -> None:
    for sample in made.samples:
        assert sample.context == rows[sample.origin.row]["answer"].strip()


def test_the_copy_holds_pictures_of_the_archive(made: Ingested, copy: Ingested) -> None:
    assert copy.images.keys() < made.images.keys()
    assert {image["member"].partition("/")[0] for image in copy.images.values()} == {"image"}


def test_the_twin_without_answers_calls_the_question_text(laid: Laid, rows: Rows) -> None:
    lines = (laid.landing / "quilt_vqa" / WITHOUT_ANSWERS).read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [row["question"] for row in rows]
    assert not any("answer" in json.loads(line) for line in lines)


def test_without_pictures_the_files_are_there_and_empty() -> None:
    assert json.loads(LAYOUT.lay(Pool((), ())).files[QUESTIONS]) == []
