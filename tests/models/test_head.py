"""Losses through the head: the plain cross-entropy's values and gradients, however the head is held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional

from medmax_pipeline.models import head as module
from medmax_pipeline.models.head import token_losses

TARGETS, HIDDEN, VOCABULARY = 50, 24, 301


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one is not full."""
    monkeypatch.setattr(module, "HEAD_CHUNK", 16)


def a_head(*, learns: bool) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(HIDDEN, VOCABULARY, bias=False).requires_grad_(learns)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, targets, and a weight for each target."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(TARGETS, HIDDEN, generator=generator) * 4
    targets = torch.randint(VOCABULARY, (TARGETS,), generator=generator)
    return hidden.requires_grad_(), targets, torch.rand(TARGETS, generator=generator)


def plain(head: nn.Linear, z_loss: float) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients as torch computes them from all logits."""
    hidden, targets, weights = inputs()
    logits = head(hidden).float()
    losses = functional.cross_entropy(logits, targets, reduction="none")
    loss = (weights * losses).sum() + z_loss * (weights * logits.logsumexp(1) ** 2).sum()
    learned = [parameter for parameter in head.parameters() if parameter.requires_grad]
    return loss.detach(), list(torch.autograd.grad(loss, [hidden, *learned]))


def ours(head: nn.Linear, z_loss: float) -> tuple[Tensor, list[Tensor]]:
    hidden, targets, weights = inputs()
    told = token_losses(head, hidden, targets)
    loss = (weights * told.losses_L).sum()
    if z_loss:
        loss = loss + z_loss * (weights * told.log_z_L**2).sum()
    learned = [parameter for parameter in head.parameters() if parameter.requires_grad]
    return loss.detach(), list(torch.autograd.grad(loss, [hidden, *learned]))


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_losses_and_gradients_are_those_of_the_plain_cross_entropy(learns: bool, z_loss: float) -> None:
    head = a_head(learns=learns)
    torch.testing.assert_close(ours(head, z_loss), plain(head, z_loss), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("learns", [False, True])
def test_denominators_alone_have_their_gradient(learns: bool) -> None:
    head = a_head(learns=learns)
    hidden, targets, weights = inputs()
    (found,) = torch.autograd.grad((token_losses(head, hidden, targets).log_z_L * weights).sum(), [hidden])
    (expected,) = torch.autograd.grad((head(hidden).logsumexp(1) * weights).sum(), [hidden])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_gradients_are_as_close_to_the_truth_as_torchs_own() -> None:
    _, (_, *_) = truth = plain(a_head(learns=False), 0.0)
    hidden, targets, weights = inputs()
    half = a_head(learns=False).bfloat16()
    rounded = hidden.detach().bfloat16().requires_grad_()
    (found,) = torch.autograd.grad((weights * token_losses(half, rounded, targets).losses_L).sum(), [rounded])
    theirs = functional.cross_entropy(half(rounded).float(), targets, reduction="none")
    (expected,) = torch.autograd.grad((weights * theirs).sum(), [rounded])
    exact = truth[1][0]
    assert (found - exact).norm() < 1.2 * (expected - exact).norm() < 0.1 * exact.norm()


def test_logits_too_large_for_an_exponential_stay_finite() -> None:
    head = a_head(learns=False)
    hidden, targets, _ = inputs()
    told = token_losses(head, hidden * 1e4, targets)
    assert told.losses_L.isfinite().all()
    torch.testing.assert_close(told.losses_L, functional.cross_entropy(head(hidden * 1e4), targets, reduction="none"))


@pytest.mark.parametrize("learns", [False, True])
def test_a_pack_without_targets_has_no_losses_and_no_gradient(learns: bool) -> None:
    hidden = torch.ones(3, HIDDEN, requires_grad=True)
    told = token_losses(a_head(learns=learns), hidden[:0], torch.zeros(0, dtype=torch.int64))
    assert told.losses_L.shape == told.log_z_L.shape == (0,)
    told.losses_L.sum().backward()
    assert hidden.grad is not None
    assert not hidden.grad.any()


@pytest.mark.parametrize("learns", [False, True])
def test_nothing_of_the_vocabularys_size_is_kept_for_the_backward_pass(learns: bool) -> None:
    head = a_head(learns=learns)
    hidden, targets, _ = inputs()
    kept: list[tuple[int, ...]] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_losses(head, hidden, targets)
    assert kept
    assert not [shape for shape in kept if VOCABULARY in shape and shape != (VOCABULARY, HIDDEN)]


@contextmanager
def a_group_of_one(folder: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("learns", [False, True])
def test_a_sharded_head_gathers_itself(tmp_path: Path, learns: bool) -> None:
    expected = plain(a_head(learns=learns), 0.1)
    with a_group_of_one(tmp_path):
        head = a_head(learns=learns)
        fully_shard(head, mesh=init_device_mesh("cpu", (1,)))
        hidden, targets, weights = inputs()
        told = token_losses(head, hidden, targets)
        loss = (weights * (told.losses_L + 0.1 * told.log_z_L**2)).sum()
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected[0])
        torch.testing.assert_close(hidden.grad, expected[1][0], rtol=1e-5, atol=1e-5)
        if learns:
            assert isinstance(head.weight.grad, DTensor)
            torch.testing.assert_close(head.weight.grad.full_tensor(), expected[1][1], rtol=1e-5, atol=1e-5)
