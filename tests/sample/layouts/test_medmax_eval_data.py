"""The sample's copy of the published evaluation set is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import ast
import gzip
import io
import json
import tarfile
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.medmax_eval_data import ARCHIVE, COLUMNS, LAYOUT, TABLE
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "medmax_eval_data")


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    loaded: Rows = pq.read_table(laid.landing / "medmax_eval_data" / TABLE).to_pylist()
    return loaded


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        45,
        {"answer_empty": 1, "answer_not_an_option": 1, "duplicate_row": 1},
        {"image_missing": 1, "row_unknown_shape": 1},
    )
    assert made.unused == 1


def test_columns_are_the_publishers_and_all_strings(rows: Rows) -> None:
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {type(value) for row in rows for value in row.values()} == {str, type(None)}


def test_members_are_named_as_the_rows_name_them(laid: Laid, rows: Rows) -> None:
    data = (laid.landing / "medmax_eval_data" / ARCHIVE).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        members = set(archive.getnames())
    named = {row["image_path"] for row in rows}
    assert named - members == {"images/sample/absent.jpg"}
    assert members - named == {"images/sample/unasked.jpg"}


def test_each_task_becomes_its_kind(made: Ingested) -> None:
    assert Counter(sample.kind for sample in made.samples) == {
        "vqa_closed": 10,
        "vqa_open": 9,
        "vqa_mcq": 6,
        "captioning": 2,
        "report_generation": 1,
        "generation": 2,
        "radiograph_generation": 1,
        "interleaved": 12,
        "visual_chat": 2,
    }
    assert {sample.split for sample in made.samples} == {"eval"}


def test_a_closed_question_answered_otherwise_is_open_and_keeps_its_type(made: Ingested) -> None:
    moved = [sample for sample in made.samples if sample.kind == "vqa_open" and sample.answer_type == "slake/closed"]
    assert [sample.answer for sample in moved] == ["picture"]


def test_report_rows_alone_are_credentialed(made: Ingested) -> None:
    kinds = {sample.kind for sample in made.samples if sample.credentialed}
    assert kinds == {"report_generation", "radiograph_generation"}
    types = {sample.answer_type for sample in made.samples if sample.credentialed}
    assert types == {"image_captioning/report", "image_generation/report"}


def test_right_letters_name_the_pictures_modality(made: Ingested, rows: Rows) -> None:
    for sample in made.samples:
        if sample.kind == "vqa_mcq":
            shown = rows[sample.origin.row]["image_path"].partition("(")[2].partition(")")[0].replace("_", " ")
            assert sample.options["ABCD".index(sample.answer)] == shown


def test_a_chats_answer_is_in_pythons_notation_and_one_in_jsons_is_refused(made: Ingested, rows: Rows) -> None:
    chats = [row for row in rows if row["task_name"] == "visual_chat"]
    assert [ast.literal_eval(row["answer"])["in_text_mention"] is None for row in chats[:2]] == [False, True]
    assert json.loads(chats[2]["answer"])["domain"] == {"mri": True}
    first, second = (sample for sample in made.samples if sample.kind == "visual_chat")
    assert (first.turns[0].text[-7:], second.turns[0].text[:7]) == ("<image>", "<image>")
    assert len(first.context.splitlines()) == 2
    assert len(second.context.splitlines()) == 1


def test_captioning_without_a_reference_keeps_an_empty_reply(made: Ingested) -> None:
    replies = {sample.answer_type: sample.turns[1].text for sample in made.samples if sample.kind == "captioning"}
    assert replies["image_captioning/pmc_oa"] == ""
    assert replies["image_captioning/quilt"]


def test_without_pictures_the_files_are_there_and_empty() -> None:
    files = LAYOUT.lay(Pool((), ())).files
    assert pq.read_table(io.BytesIO(files[TABLE])).num_rows == 0
    assert ARCHIVE in files
