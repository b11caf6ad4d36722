"""The sample's small CLIP: it learns, alike each time; the shipped one is as good as its card says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from medmax_pipeline.models.similarity import Similarity, open_similarity
from medmax_pipeline.records import Kind, Origin, Sample, Turn
from medmax_pipeline.sample.charts import HELD_OUT, draw_chart
from medmax_pipeline.sample.layout import png
from medmax_pipeline.sample.pairs import Said, text_of
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.similarity_weights import measured, pairs_right
from medmax_pipeline.sample.train_similarity import (
    LENGTH,
    RESOLUTION_PX,
    WIDE_PX,
    Pair,
    Schedule,
    train,
    train_tokenizer,
)
from medmax_pipeline.sample.weights import CARD, SHIPPED

SHORT = Schedule(steps=2, batch=4, warm_up=1)
TEXTS = ("A dark picture.", "A bright picture.", "A red picture.", "A picture with a ramp.")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    planes = [np.full((90, 70, 3), level, np.uint8) for level in (10, 240, 0, 0)]
    planes[2][..., 0] = 200
    planes[3][...] = np.linspace(0, 255, 70, dtype=np.uint8)[None, :, None]
    return [Pair.of(Image.fromarray(plane), text) for plane, text in zip(planes, TEXTS, strict=True)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(train_tokenizer(TEXTS * 3))


@pytest.fixture(scope="module")
def shipped() -> Similarity:
    return open_similarity(SHIPPED / "similarity")


def test_same_seed_gives_the_same_weights(pairs: list[Pair], tokenizer: Tokenizer) -> None:
    made = [train(pairs, tokenizer, seed, SHORT, lambda line: None).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not torch.equal(made[0]["text_projection.weight"], made[2]["text_projection.weight"])


def test_loss_falls_within_a_few_steps(pairs: list[Pair], tokenizer: Tokenizer) -> None:
    told: list[str] = []
    train(pairs, tokenizer, 1, Schedule(steps=40, batch=8, warm_up=5), told.append)
    first, last = (float(line.rsplit(" ", 1)[1]) for line in (told[0], told[-1]))
    assert last < 0.7 * first


def test_a_pair_keeps_two_squares(pairs: list[Pair]) -> None:
    assert pairs[0].exact.shape == (3, RESOLUTION_PX, RESOLUTION_PX)
    assert pairs[0].wide.shape == (3, WIDE_PX, WIDE_PX)


def test_texts_end_in_their_mark_whatever_the_case(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("A Dark picture.").ids == tokenizer.encode("a dark picture.").ids
    assert tokenizer.encode("dark").ids[-1] == 1
    assert tokenizer.encode("ünknown \N{BONE}").ids[0] == 2


def sample(kind: Kind, asked: str, said: str, answer: str = "") -> Sample:
    turns = (Turn("user", f"<image>\n{asked}"), Turn("assistant", said))
    origin = Origin("a.json", "0" * 64, 0)
    return Sample(
        "0" * 32, "one", "train", kind, turns, ("1" * 64,), (), answer, "", "", "", "Open", False, origin, "{}"
    )


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (sample("captioning", "Describe.", "A CT image\nof the head."), "A CT image of the head."),
        (sample("vqa_closed", "Is this a CT image?", "yes", "yes"), "Is this a CT image? yes"),
        (sample("vqa_closed", "Is this a CT image?", "no", "No"), ""),
        (sample("vqa_open", "How many pixels wide is it?", "316", "316"), ""),
        (sample("vqa_open", "Which organ?", "Skin", "Skin"), "Which organ? Skin"),
        (sample("vqa_mcq", "Which?\nA: a\nB: b", "A", "A"), ""),
    ],
)
def test_a_pairs_text_says_what_the_picture_shows(made: Sample, text: str) -> None:
    assert text_of(made) == text


def test_a_pair_is_right_where_its_own_text_is_the_nearer_one(shipped: Similarity, every: list[Picture]) -> None:
    chart, skin = png(draw_chart(HELD_OUT)), png(next(each for each in every if each.body_part == "skin").image())
    texts = ("A bar chart.", "Histology section of the skin.")
    assert pairs_right(shipped, [Said(chart, texts[0], ""), Said(skin, texts[1], "")]) == 1.0
    assert pairs_right(shipped, [Said(chart, texts[1], ""), Said(skin, texts[0], "")]) == 0.0


def test_the_shipped_model_is_as_good_as_its_card_says(shipped: Similarity, every: list[Picture]) -> None:
    card = json.loads((SHIPPED / "similarity" / CARD).read_text())
    found = measured(shipped, [picture for picture in every if picture.split == "eval"])
    assert found == pytest.approx({name: card[name] for name in found}, abs=0.02)
    assert found["modality_right_held_out"] > 2 * found["modality_right_by_majority"]
    assert card["caption_pairs_right_held_out"] > 0.65
    assert found["chart_auc"] > 0.95
    assert (shipped.name, LENGTH) == ("sample_similarity", 48)
