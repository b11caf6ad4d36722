"""The terms of tuning against numbers worked out by hand, and against transformers' own quantiser."""

from __future__ import annotations

import pytest
import torch
from transformers import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAEVectorQuantizer

from medmax_pipeline.training.tokenizer.objective import (
    adaptive_weight,
    codebook_term,
    hinge,
    judged_real,
    straight_through,
)


def test_codes_have_values_and_latents_the_gradients() -> None:
    z = torch.tensor([0.2, 0.9, -3.0, 5.0]).view(1, 1, 2, 2).requires_grad_(True)
    book = torch.tensor([[0.0], [1.0]])
    quantised = straight_through(z, book)
    assert quantised.codes_M.tolist() == [0, 1, 0, 1]
    assert quantised.through_BDHW.flatten().tolist() == pytest.approx([0.0, 1.0, 0.0, 1.0], abs=1e-6)
    (quantised.through_BDHW * torch.arange(4.0).view(1, 1, 2, 2)).sum().backward()
    assert z.grad is not None
    assert z.grad.flatten().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_latents_are_drawn_to_codes_fully_and_codes_to_latents_by_beta() -> None:
    z = torch.tensor([0.5]).view(1, 1, 1, 1).requires_grad_(True)
    book = torch.tensor([[0.0], [2.0]], requires_grad=True)
    term = codebook_term(straight_through(z, book), 0.25)
    term.backward()
    assert term.item() == pytest.approx(1.25 * 0.25)
    assert z.grad is not None
    assert book.grad is not None
    assert z.grad.item() == pytest.approx(1.0)  # 2 (0.5 - 0)
    assert book.grad.flatten().tolist() == pytest.approx([-0.25, 0.0])  # beta 2 (0 - 0.5), and the unused code rests


def test_codes_values_and_loss_are_transformers_own() -> None:
    stock = ChameleonVQVAEVectorQuantizer(ChameleonVQVAEConfig(num_embeddings=12, embed_dim=8))
    z = torch.randn(2, 8, 3, 5, generator=torch.Generator().manual_seed(1))
    through, loss, codes = stock(z)
    ours = straight_through(z, stock.embedding.weight)
    assert torch.equal(ours.codes_M, codes)
    assert torch.equal(ours.through_BDHW, through)
    assert codebook_term(ours, 0.25).item() == pytest.approx(loss.item(), rel=1e-6)


def test_the_hinge_rests_where_opinions_are_clear() -> None:
    assert hinge(torch.tensor([1.0, 4.0]), torch.tensor([-1.0, -2.0])).item() == 0.0
    assert hinge(torch.tensor([0.0]), torch.tensor([1.0])).item() == pytest.approx(0.5 * (1.0 + 2.0))
    assert judged_real(torch.tensor([1.0, 3.0])).item() == -2.0


@pytest.mark.parametrize(("pull", "expected"), [(2.0, 3.0 / 2.0001), (0.0, 1e4)])
def test_the_adversarial_term_is_weighed_to_pull_as_strongly(pull: float, expected: float) -> None:
    layer = torch.ones(1, requires_grad=True)
    weight = adaptive_weight((3.0 * layer).sum(), (pull * layer).sum(), layer, lambda tensor: tensor)
    assert weight.item() == pytest.approx(expected, rel=1e-6)
    assert not weight.requires_grad
