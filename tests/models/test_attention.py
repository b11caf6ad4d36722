"""The attention function: documents apart, grouped heads, masks, gradients."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.attention import Documents, document_attention
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.tokens.vocabulary import Vocabulary


def parts(heads: int, key_heads: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return tuple(  # type: ignore[return-value]
        torch.randn(1, count, tokens, 8, generator=generator) for count in (heads, key_heads, key_heads)
    )


@pytest.mark.parametrize("key_heads", [4, 2])
def test_equals_a_block_diagonal_causal_mask(key_heads: int) -> None:
    query, key, value = parts(4, key_heads, 11)
    documents = Documents.of(torch.tensor([0, 4, 5, 11]), 11)
    layer = SimpleNamespace(num_key_value_groups=4 // key_heads)
    found, weights = document_attention(layer, query, key, value, None, documents=documents)
    owner = torch.tensor([0] * 4 + [1] + [2] * 6)
    mask = (owner[:, None] == owner[None]) & torch.ones(11, 11, dtype=torch.bool).tril()
    keys, values = (tensor.repeat_interleave(4 // key_heads, dim=1) for tensor in (key, value))
    expected = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    assert weights is None
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_an_explicit_mask_is_followed() -> None:
    query, key, value = parts(2, 2, 3)
    mask = torch.eye(3, dtype=torch.bool)[None, None]
    found, _ = document_attention(SimpleNamespace(num_key_value_groups=1), query, key, value, mask)
    torch.testing.assert_close(found, value.transpose(1, 2))


def test_a_pack_with_a_mask_is_our_own_mistake() -> None:
    query, key, value = parts(2, 2, 3)
    documents = Documents.of(torch.tensor([0, 3]), 3)
    with pytest.raises(AssertionError, match="no mask"):
        document_attention(
            SimpleNamespace(num_key_value_groups=1), query, key, value, torch.ones(1, 1, 3, 3), documents=documents
        )


def test_bounds_keep_their_lengths_and_become_int32() -> None:
    documents = Documents.of(torch.tensor([0, 2, 7]), 7)
    assert documents.lengths == (2, 5)
    assert documents.cu_seqlens.dtype == torch.int32
    with pytest.raises(TokenError, match="rise"):
        Documents.of(torch.tensor([0, 7, 2]), 2)


def test_gradients_are_the_same_when_layers_are_recomputed(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    ids = torch.randint(vocabulary.size, (20,), generator=torch.Generator().manual_seed(6))
    positions = torch.cat([torch.arange(8), torch.arange(12)])
    trained = positions > 3

    def gradient() -> Tensor:
        model.zero_grad()
        loss = model.labelled_loss(ids, positions, torch.tensor([0, 8, 20]), trained)
        loss.losses_L.mean().backward()
        found: Tensor = model.model.layers[0].self_attn.q_proj.weight.grad.clone()
        return found

    model.train()
    try:
        kept = gradient()
        model.activation_checkpointing_enable()
        recomputed = gradient()
    finally:
        for layer in model.model.layers:
            layer.gradient_checkpointing = False
        model.eval()
        model.zero_grad()
    assert kept.abs().sum() > 0
    torch.testing.assert_close(recomputed, kept)
