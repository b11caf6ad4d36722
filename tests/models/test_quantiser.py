"""Nearest codes: the stock quantiser's, its ties, in chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAEVectorQuantizer

from medmax_pipeline.models import quantiser
from medmax_pipeline.models.quantiser import nearest_codes


def stock_codes(z_BDHW: Tensor, codebook_KD: Tensor) -> Tensor:
    layer = ChameleonVQVAEVectorQuantizer(
        ChameleonVQVAEConfig(num_embeddings=len(codebook_KD), embed_dim=codebook_KD.shape[1])
    )
    with torch.no_grad():
        layer.embedding.weight.copy_(codebook_KD)
        codes: Tensor = layer(z_BDHW)[2]
    return codes


def drawn(pictures: int, dimensions: int, codes: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, D, 8, 8), the same as rows, and a codebook."""
    generator = torch.Generator().manual_seed(5)
    z_BDHW = torch.randn(pictures, dimensions, 8, 8, generator=generator) * scale
    book_KD = torch.randn(codes, dimensions, generator=generator) * scale
    return z_BDHW, z_BDHW.permute(0, 2, 3, 1).reshape(-1, dimensions), book_KD


@pytest.mark.parametrize(("dimensions", "codes"), [(8, 24), (256, 512)])
def test_codes_are_the_stock_quantisers(dimensions: int, codes: int) -> None:
    z_BDHW, z_MD, book_KD = drawn(4, dimensions, codes)
    assert torch.equal(nearest_codes(z_MD, book_KD), stock_codes(z_BDHW, book_KD))


def test_near_ties_fall_as_the_stock_quantisers_do() -> None:
    """Codes that differ in their last bits, and long latents: rounding alone decides, and decides alike."""
    z_BDHW, z_MD, book_KD = drawn(4, 8, 16, scale=30.0)
    close_KD = torch.cat([book_KD, book_KD * (1 + 1e-7), book_KD * (1 - 1e-7)])
    expected = stock_codes(z_BDHW, close_KD)
    assert torch.equal(nearest_codes(z_MD, close_KD), expected)
    assert not torch.equal(nearest_codes(z_MD, close_KD, rounded=False), expected)  # the square is what rounds them so


def test_of_equal_rows_the_first_is_taken() -> None:
    book_KD = torch.tensor([[5.0, 5.0], [1.0, 1.0], [1.0, 1.0]])
    for rounded in (True, False):
        assert nearest_codes(torch.tensor([[1.0, 1.1]]), book_KD, rounded=rounded).tolist() == [1]


@pytest.mark.parametrize("rows", [1, 7, 256, 10_000])
def test_chunks_change_no_code(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    _, z_MD, book_KD = drawn(4, 8, 24)
    whole = nearest_codes(z_MD, book_KD)
    monkeypatch.setattr(quantiser, "MAX_CELLS", rows * 24)
    assert torch.equal(nearest_codes(z_MD, book_KD), whole)


def test_no_more_distances_are_held_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    argmin = torch.argmin

    def watched(distances_MK: Tensor, dim: int) -> Tensor:
        seen.append(distances_MK.numel())
        return argmin(distances_MK, dim=dim)

    monkeypatch.setattr(quantiser, "MAX_CELLS", 500)
    monkeypatch.setattr(torch, "argmin", watched)
    _, z_MD, book_KD = drawn(4, 8, 24)
    nearest_codes(z_MD, book_KD)
    assert max(seen) <= 500
    assert sum(seen) == len(z_MD) * 24


def test_no_latents_have_no_codes() -> None:
    assert nearest_codes(torch.zeros(0, 8), torch.zeros(24, 8)).shape == (0,)
