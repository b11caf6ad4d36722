"""Which captions and reports become requests for a picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmax_pipeline.curation.instructions import forms, position, put_into_form
from medmax_pipeline.records import Kind, Turn
from tests.curation.published import sample

MANY = [sample(str(number), "p") for number in range(2000)]


def test_a_turned_caption_asks_for_its_picture_and_keeps_its_id() -> None:
    before = MANY[0]
    after = put_into_form(before, forms(1.0, 0.0))
    assert after.kind == "generation"
    assert after.turns == (Turn("user", "A knee."), Turn("assistant", "<image>"))
    assert (after.sample_id, after.images) == (before.sample_id, before.images)


def test_a_turned_report_becomes_a_radiograph() -> None:
    report = sample("r", "p", kind="report_generation")
    assert put_into_form(report, forms(0.0, 1.0)).kind == "radiograph_generation"
    assert put_into_form(report, forms(1.0, 0.0)) == report


@pytest.mark.parametrize("kind", ["vqa_closed", "vqa_open", "visual_chat", "generation"])
def test_other_kinds_stay_as_they_are(kind: Kind) -> None:
    item = sample("v", "p", kind=kind)
    assert put_into_form(item, forms(1.0, 1.0)) == item


@pytest.mark.parametrize("share", [0.0, 0.16, 0.5, 1.0])
def test_the_share_is_met(share: float) -> None:
    turned = sum(put_into_form(item, forms(share, 0.0)).kind == "generation" for item in MANY)
    assert turned / len(MANY) == pytest.approx(share, abs=0.03 if 0 < share < 1 else 0)


def test_a_larger_share_turns_the_same_samples_and_more() -> None:
    small, large = (
        {item.sample_id for item in MANY if put_into_form(item, forms(share, 0.0)).kind == "generation"}
        for share in (0.2, 0.6)
    )
    assert small < large


@given(st.text(alphabet="0123456789abcdef", min_size=32, max_size=32))
def test_a_position_is_a_share(sample_id: str) -> None:
    assert 0 <= position(sample_id) < 1


def test_positions_are_those_that_published_sets_were_made_with() -> None:
    assert position("0" * 32) == pytest.approx(0.616978985697, abs=1e-9)
