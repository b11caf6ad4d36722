"""Planted copies and decoys, and what the asset check says of them."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from medmax_pipeline.curation.checks import planted_missed
from medmax_pipeline.curation.planted import ACCUSED_MOST, KINDS, copies, decoy, faults
from medmax_pipeline.files import Json
from medmax_pipeline.ingest.images import probe
from tests.curation.real import png
from tests.ingest.landings import picture

DATA = png(Image.open(io.BytesIO(picture(3))).resize((190, 140)))


def test_every_kind_makes_another_file_the_same_every_time() -> None:
    made = list(copies("a", DATA))
    assert [copy.kind for copy in made] == list(KINDS)
    assert [copy.data for copy in made] == [copy.data for copy in copies("a", DATA)]
    digests = {copy.kind: probe(copy.data).pixel_digest for copy in made}
    own = probe(DATA).pixel_digest
    assert digests.pop("same pixels") == own
    assert own not in digests.values()


def test_a_picture_above_8_bits_or_too_small_is_not_planted() -> None:
    deep, small = png(Image.new("I;16", (90, 90), 700)), png(Image.new("L", (20, 90)))
    assert list(copies("a", deep)) == list(copies("a", small)) == []
    assert decoy("a", deep) is None


def test_a_decoy_is_another_picture_the_same_every_time() -> None:
    made = decoy("a", DATA)
    assert made is not None
    assert made == decoy("a", DATA)
    assert probe(made).pixel_digest != probe(DATA).pixel_digest


def test_recall_at_its_floor_passes_and_under_it_fails_by_name() -> None:
    assert faults({"flip": (9, 10)}, 0) == []
    (fault,) = faults({"flip": (8, 10), "crop": (10, 10)}, 0)
    assert "flip: 8 of 10" in fault


def test_accusing_more_than_one_in_a_thousand_fails() -> None:
    assert faults({}, ACCUSED_MOST) == []
    assert len(faults({}, 0.0011)) == 1


NEAR: dict[str, Json] = {"mode": "near", "evaluation_images": 3, "unrelated_accused": 0.0}


@pytest.mark.parametrize(
    ("summary", "count"),
    [
        ({"mode": "off"}, 0),
        ({"mode": "exact"}, 0),
        (NEAR | {"planted": {"crop": [4, 4]}}, 0),
        (NEAR | {"planted": {"crop": [0, 4]}}, 1),
        (NEAR | {"planted": {"crop": [0, 0]}}, 1),
        (NEAR, 1),
        (NEAR | {"planted": {"crop": [4, 4]}, "unrelated_accused": 0.5}, 1),
    ],
)
def test_the_check_reads_the_summary(summary: dict[str, Json], count: int) -> None:
    assert len(planted_missed(summary)) == count
