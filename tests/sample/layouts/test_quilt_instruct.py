"""The sample's Quilt-Instruct folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.quilt_instruct import LAYOUT
from medmax_pipeline.sources.quilt_1m import video_of
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "quilt_instruct")


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    loaded: Rows = json.loads((laid.landing / "quilt_instruct/quilt_instruct_107k.json").read_text())
    return loaded


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        19,
        {"conversation_does_not_alternate": 1, "duplicate_row": 1},
        {"image_missing": 1},
    )
    assert made.unused == 1


def test_ids_repeat_and_no_chat_is_lost_by_it(rows: Rows, made: Ingested) -> None:
    assert max(Counter(row["id"] for row in rows).values()) > 3
    assert len({sample.sample_id for sample in made.samples}) == len(made.samples)


def test_both_dialects_stand_in_the_file_and_both_are_kept(rows: Rows, made: Ingested) -> None:
    dialects = [tuple(rows[sample.origin.row]["conversations"][0]) for sample in made.samples]
    assert set(dialects) == {("from", "value"), ("role", "content")}


def test_marks_stand_before_and_after_the_question(made: Ingested) -> None:
    asked = [sample.turns[0].text for sample in made.samples]
    assert any(text.startswith("<image>") for text in asked)
    assert any(text.endswith("<image>") for text in asked)


def test_all_of_it_is_train(made: Ingested) -> None:
    assert {sample.split for sample in made.samples} == {"train"}


def test_the_planted_leak_shares_pixels_with_vqa_rad_and_its_video_with_quilt_vqa(laid: Laid) -> None:
    [leak] = [each for each in laid.report.placed if each.source == "quilt_instruct" and each.planted == "leak"]
    [shown] = [each for each in laid.report.placed if each.source == "vqa_rad" and each.name == leak.name]
    assert (shown.split, leak.split) == ("eval", "train")
    assert leak.image_id != shown.image_id
    asked = {video_of(each.member.rpartition("/")[2]) for each in laid.report.placed if each.source == "quilt_vqa"}
    assert video_of(leak.member.rpartition("/")[2]) in asked


@pytest.mark.parametrize(("variant", "kept"), [("ablation_40k", 10), ("complex_abductive", 6), ("conv_desc", 13)])
def test_a_subset_is_a_variant(laid: Laid, tmp_path_factory: pytest.TempPathFactory, variant: str, kept: int) -> None:
    made = ingested(tmp_path_factory.mktemp("store"), laid.landing, "quilt_instruct", variant)
    assert made.figures == (kept, {}, {})


def test_without_pictures_the_files_are_there_and_empty() -> None:
    assert json.loads(LAYOUT.lay(Pool((), ())).files["quilt_instruct_107k.json"]) == []
