"""The sample's ProbMed folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.probmed import DEMAND, LAYOUT, QUESTIONS
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "probmed")


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    loaded: Rows = json.loads((laid.landing / "probmed" / QUESTIONS).read_text())
    return loaded


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (48, {}, {"image_missing": 1})
    assert made.unused == 1


def test_answers_are_half_yes(made: Ingested) -> None:
    assert Counter(sample.answer for sample in made.samples) == {"yes": 24, "no": 24}
    assert {(sample.split, sample.kind) for sample in made.samples} == {("eval", "vqa_closed")}


def test_pairs_are_found_again_by_their_place_whatever_the_order(made: Ingested) -> None:
    extra = [json.loads(sample.extra) for sample in sorted(made.samples, key=lambda sample: sample.sample_id)]
    restored = sorted(extra, key=lambda item: int(item["position"]))
    assert [item["position"] for item in restored] == list(range(48))
    answers = {json.loads(sample.extra)["position"]: sample.answer for sample in made.samples}
    assert all((answers[place], answers[place + 1]) == ("yes", "no") for place in range(0, 48, 2))
    for true, invented in zip(restored[::2], restored[1::2], strict=True):
        assert true["topic"] == invented["topic"]
        assert true["image_type"] == invented["image_type"]


def test_both_spellings_occur_and_are_kept_as_they_are(made: Ingested) -> None:
    spelt = {sample.answer_type for sample in made.samples}
    assert {"modality_gt", "modality_hallu", "modality", "body_part", "entity_hallu_0", "entity_1"} <= spelt


def test_the_mark_inside_a_question_goes_and_the_demand_stays(made: Ingested, rows: Rows) -> None:
    assert sum("<image>" in row["question"] for row in rows[:48]) == 12
    for sample in made.samples:
        text = sample.turns[0].text
        assert text.startswith("<image>")
        assert text.count("<image>") == 1
        assert text.endswith(f"? {DEMAND}")


def test_ids_are_texts_and_numbers_and_repeat(rows: Rows) -> None:
    assert {type(row["id"]) for row in rows} == {int, str}
    assert max(Counter(str(row["id"]) for row in rows).values()) == 8


def test_modalities_are_in_the_words_of_the_project(made: Ingested) -> None:
    assert {sample.modality for sample in made.samples} == {"radiograph", "CT", "MRI"}


def test_without_pictures_the_file_is_there_and_empty() -> None:
    assert json.loads(LAYOUT.lay(Pool((), ())).files[QUESTIONS]) == []
