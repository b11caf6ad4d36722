"""Training the small image tokenizer: it learns, alike each time, and keeps its codebook alive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from medmax_pipeline.models.quantiser import nearest_codes
from medmax_pipeline.sample.train_vqgan import (
    RESOLUTION_PX,
    WIDE_PX,
    Codebook,
    Pool,
    Schedule,
    likeness_loss,
    square,
    to_pixels,
    train,
)

SHORT = Schedule(
    plain_steps=1,
    patch_steps=1,
    whole_steps=1,
    cluster_pictures=9,
    patch_batch=2,
    whole_batch=1,
    warm_up=1,
    restart_every=1,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Four pictures of other sizes and modes; the last is red."""
    ramp = np.tile(np.arange(100, dtype=np.uint8), (80, 1))
    red = np.zeros((70, 70, 3), dtype=np.uint8)
    red[..., 0] = 200
    return [Image.fromarray(ramp), Image.fromarray(ramp.T * 2), Image.fromarray(255 - ramp), Image.fromarray(red)]


def test_same_seed_gives_the_same_weights(images: list[Image.Image]) -> None:
    made = [train(images, ["a", "a", "b", "c"], seed, SHORT, lambda _: None).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not torch.equal(made[0]["decoder.conv_out.weight"], made[2]["decoder.conv_out.weight"])


def test_loss_falls_within_a_few_steps(images: list[Image.Image]) -> None:
    told: list[str] = []
    schedule = Schedule(plain_steps=30, patch_steps=0, whole_steps=0, patch_batch=3, warm_up=2)
    train(images, ["a"] * 4, 1, schedule, told.append)
    first, last = (float(line.rsplit(" ", 1)[1]) for line in (told[0], told[-1]))
    assert last < 0.9 * first


def test_squares_are_centre_crops_of_the_short_side(images: list[Image.Image]) -> None:
    made = square(images[0], RESOLUTION_PX)
    assert made.shape == (RESOLUTION_PX, RESOLUTION_PX, 3)
    assert made[0, 0, 0] > 5
    assert made[0, -1, 0] < 95
    assert int(made[0, 31, 0]) + int(made[0, 32, 0]) == pytest.approx(99, abs=2)


def test_pixels_run_from_minus_one_to_one() -> None:
    levels = np.array([0, 255], dtype=np.uint8).reshape(1, 1, 2, 1).repeat(3, axis=3)
    assert to_pixels(levels).flatten().tolist() == [-1, 1, -1, 1, -1, 1]


def test_pool_draws_pixels_of_the_asked_size_and_more_colour(images: list[Image.Image]) -> None:
    pool = Pool(images, ["a"] * 4, torch.Generator().manual_seed(1))
    drawn = pool.draw(200, 32)
    assert drawn.shape == (200, 3, 32, 32)
    assert drawn.abs().max() <= 1.0
    red = (drawn.std(dim=1).mean(dim=(1, 2)) > 0.1).float().mean()
    assert 0.4 < float(red) < 0.6  # 3 of 6 shares
    assert WIDE_PX > RESOLUTION_PX


def test_clusters_find_separate_groups_of_latents() -> None:
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    latents = centres.repeat(40, 1) + 0.1 * torch.randn(120, 2, generator=generator)
    weight = torch.zeros(12, 2)
    Codebook(weight, Schedule(), generator).cluster(latents)
    assert float((latents - weight[nearest_codes(latents, weight)]).norm(dim=1).max()) < 1.0


def test_dead_codes_restart_from_latents_of_the_batch() -> None:
    weight = torch.tensor([[0.0], [1000.0]])
    schedule = Schedule(decay=0.5, dead_below=0.3)
    codebook = Codebook(weight, schedule, torch.Generator().manual_seed(1))
    latents = torch.linspace(-1, 1, 8)[:, None]
    for step in range(4):
        codebook.update(latents, nearest_codes(latents, weight), restart=step == 3)
    assert float(weight[1].abs()) <= 1.0


def test_averages_move_a_code_towards_its_latents() -> None:
    weight = torch.tensor([[0.0], [5.0]])
    codebook = Codebook(weight, Schedule(decay=0.5), torch.Generator())
    latents = torch.tensor([[1.0], [1.0]])
    for _ in range(12):
        codebook.update(latents, nearest_codes(latents, weight), restart=False)
    assert weight.flatten().tolist() == pytest.approx([1.0, 5.0], abs=1e-2)


def test_a_grey_copy_of_a_red_picture_costs_more_than_a_darker_one() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    grey = red.mean(dim=1, keepdim=True).expand_as(red)
    darker = red - 0.5
    assert likeness_loss(grey, red) > 2 * likeness_loss(darker, red)
    assert likeness_loss(red, red) == 0
