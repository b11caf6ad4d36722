"""The shipped weights: whole, fitting each other, and as good as their card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.sample.pictures import Picture, pictures
from medmax_pipeline.sample.train_vqgan import fidelity, square, to_pixels
from medmax_pipeline.sample.weights import CARD, SHIPPED, training_texts
from medmax_pipeline.tokens.vocabulary import vocabulary_of
from tests.conftest import absent

LEAST_PSNR_DB = 15.0
"""A grey square scores about 10 dB on these pictures."""


def card(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((SHIPPED / name / CARD).read_text())
    return found


def test_tokenizers_fit_each_other() -> None:
    vocabulary = vocabulary_of(SHIPPED / "text", SHIPPED / "vqgan")
    assert (vocabulary.first_code, vocabulary.codebook_size, vocabulary.codes_per_image) == (4, 512, 64)
    assert vocabulary.size < 2_000


def test_shipped_files_are_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 6_000_000


@pytest.mark.parametrize("name", ["vqgan", "text", "similarity"])
def test_cards_say_how_and_under_which_licence(name: str) -> None:
    assert card(name)["licence"] == "Apache-2.0"
    assert card(name)["made_by"] == "python -m medmax_pipeline.sample.weights"


def test_held_out_pictures_come_back_recognisably() -> None:
    seen: dict[str, Picture] = {}
    for each in pictures("eval"):
        seen.setdefault(each.modality, each)
    if not seen:
        absent("corpus", "none of the packages that carry the sample's pictures is installed")
    squares = np.stack([square(each.image(), 64) for each in seen.values()])
    psnr_db, used = fidelity(VQGAN.load(SHIPPED / "vqgan"), to_pixels(squares))
    assert psnr_db > LEAST_PSNR_DB
    assert used > 20


def test_training_texts_leave_out_the_held_out_rows(tmp_path: Path) -> None:
    rows = [
        {"qid": qid, "phrase_type": phrase, "image_name": "a.jpg", "question": f"Is it {phrase}?", "answer": "yes"}
        for qid, phrase in enumerate(("freeform", "test_freeform"))
    ]
    (tmp_path / "vqa_rad").mkdir()
    text = json.dumps([row | {"answer_type": "CLOSED"} for row in rows])
    (tmp_path / "vqa_rad" / "VQA_RAD Dataset Public.json").write_text(text)
    assert list(training_texts(tmp_path, ("vqa_rad",))) == ["Is it freeform?", "yes"]
