"""The order of pictures: every epoch holds each once, shares make up the batch, bad pictures are passed over."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.tokens.image import preprocess
from medmax_pipeline.training.group import Group
from medmax_pipeline.training.tokenizer import pictures as module
from medmax_pipeline.training.tokenizer.pictures import Pictures
from tests.training.tokenizer.conftest import drawn


class Held:
    """Pictures in memory, and what was read."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = {sha256_bytes(data): data for data in files}
        self.asked: list[str] = []

    def read(self, image_id: str) -> bytes:
        self.asked.append(image_id)
        return self.files[image_id]


@pytest.fixture
def held() -> Held:
    return Held([drawn(number) for number in range(5)])


def pictures_of(held: Held, seed: int = 0) -> Pictures:
    return Pictures(sorted(held.files), held, 16, seed)


def test_every_epoch_shows_each_picture_once_in_an_order_of_its_own(held: Held) -> None:
    pictures = pictures_of(held)
    for position in range(15):
        pictures.at(position)
    epochs = [held.asked[start : start + 5] for start in (0, 5, 10)]
    assert all(sorted(epoch) == sorted(held.files) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_pictures_have_the_geometry_of_the_tokenizer() -> None:
    wide = Image.open(io.BytesIO(drawn(1))).convert("RGB").resize((64, 32))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    held = Held([buffer.getvalue()])
    pixels = Pictures(sorted(held.files), held, 16, 0, "letterbox").at(0)
    assert (pixels[:4] == 255).all()
    assert np.array_equal(pixels, preprocess(buffer.getvalue(), 16, "letterbox"))


def test_the_seed_decides_the_order(held: Held) -> None:
    orders = []
    for seed in (3, 3, 4):
        held.asked.clear()
        pictures = pictures_of(held, seed)
        for position in range(10):
            pictures.at(position)
        orders.append(list(held.asked))
    assert orders[0] == orders[1] != orders[2]


def test_shares_of_two_processes_make_up_the_batch(held: Held) -> None:
    def batches(*groups: Group) -> list[list[torch.Tensor]]:
        return [list(pictures_of(held).batches(1, 4, 4, group.share(4), 2)) for group in groups]

    (whole,) = batches(Group(0, 1, "cpu"))
    left, right = batches(Group(0, 2, "cpu"), Group(1, 2, "cpu"))
    assert len(whole) == 3
    assert all(torch.equal(torch.cat(pair), both) for *pair, both in zip(left, right, whole, strict=True))
    assert whole[0].shape == (4, 3, 16, 16)
    assert whole[0].abs().max() <= 1.0


def test_pictures_are_fitted_as_the_tokenizer_sees_them(held: Held) -> None:
    names = sorted(held.files)
    cropped, whole = (Pictures(names, held, 16, 0, geometry).at(0) for geometry in ("centre_crop", "letterbox"))
    assert not (cropped[0] == 255).all()
    assert (whole[0] == 255).all()  # 24 x 20 px: white above and below
    assert (whole[8] != 255).any()


def test_steps_later_on_are_the_same_as_in_a_run_from_the_start(held: Held) -> None:
    whole = list(pictures_of(held).batches(0, 4, 2, slice(0, 2), 1))
    rest = list(pictures_of(held).batches(2, 4, 2, slice(0, 2), 1))
    assert all(torch.equal(one, other) for one, other in zip(whole[2:], rest, strict=True))


def test_a_bad_picture_gives_way_to_the_next(held: Held) -> None:
    bad = sorted(held.files)[2]
    held.files[bad] = b"no picture"
    pictures = pictures_of(held)
    assert len([pictures.at(position) for position in range(5)]) == 5
    assert list(pictures.failures) == [bad]
    assert held.asked.count(bad) == 1


def test_nothing_but_bad_pictures_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FAILURES", 7)
    with pytest.raises(ImageError, match="7 pictures in a row"):
        pictures_of(Held([b"a", b"b"])).at(0)
