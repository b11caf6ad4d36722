"""The patch discriminator: what it sees, that it learns, alike each time."""

from __future__ import annotations

import pytest
import torch

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.training.tokenizer.discriminator import new_discriminator
from medmax_pipeline.training.tokenizer.objective import hinge


@pytest.mark.parametrize(("resolution", "layers", "opinions"), [(512, 3, 62), (64, 3, 6), (16, 2, 2)])
def test_there_is_an_opinion_for_each_patch(resolution: int, layers: int, opinions: int) -> None:
    judge = new_discriminator(layers, 8, resolution, 0)
    assert judge(torch.zeros(2, 3, resolution, resolution)).shape == (2, 1, opinions, opinions)


def test_published_size() -> None:
    """Convolutions 3-64-128-256-512-1 of 4 x 4 with their biases and norms, counted by hand."""
    judge = new_discriminator(3, 64, 512, 0)
    convolutions = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1
    assert sum(parameter.numel() for parameter in judge.parameters()) == convolutions + 2 * (128 + 256 + 512)


def test_same_seed_gives_the_same_weights_and_moves_nobodys_chance() -> None:
    before = torch.get_rng_state()
    one, two, other = (new_discriminator(1, 4, 16, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["main.0.weight"], other["main.0.weight"])


def test_there_is_no_running_statistic_to_resume() -> None:
    assert list(new_discriminator(3, 8, 64, 0).buffers()) == []


def test_it_learns_to_tell_noise_from_planes() -> None:
    judge = new_discriminator(1, 8, 16, 0)
    optimiser = torch.optim.Adam(judge.parameters(), lr=3e-3)
    chance = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        true = torch.rand(4, 3, 1, 1, generator=chance).expand(4, 3, 16, 16)
        made = torch.rand(4, 3, 16, 16, generator=chance)
        loss = hinge(judge(true), judge(made))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("layers", "width"), [(3, 8), (0, 8), (1, 0)])
def test_sizes_that_give_no_opinion_are_refused(layers: int, width: int) -> None:
    with pytest.raises(ConfigError, match="discriminator_layers"):
        new_discriminator(layers, width, 16, 0)
