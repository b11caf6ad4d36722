"""The attention function: documents apart, grouped heads, masks, gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.attention import (
    Documents,
    attention_kind,
    document_attention,
    options_of,
    varlen_options,
)
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


def windowed(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int,
    *, scale: float | None = None, window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """What torch's newer `varlen_attn` computes, with (T, heads, head_dim) tensors, for a machine without flash."""
    assert window_size == (-1, 0)
    assert max_q == max_k == int(cu_seq_q.diff().max())
    assert torch.equal(cu_seq_q, cu_seq_k)
    owner = torch.repeat_interleave(torch.arange(len(cu_seq_q) - 1), cu_seq_q.diff())
    mask = (owner[:, None] == owner[None]) & torch.ones(len(owner), len(owner), dtype=torch.bool).tril()
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)[
        0
    ].transpose(0, 1)


def bare(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int,
    is_causal: bool = False,
) -> Tensor:  # fmt: skip
    """The same by the first signature that torch had: no factor, no grouped heads."""
    return windowed(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=(-1, 0 if is_causal else -1))


@pytest.mark.parametrize("call", [windowed, bare])
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("scaling", [None, 0.2])
def test_every_signature_of_variable_length_attention_gives_the_same(
    call: Callable[..., Tensor], key_heads: int, scaling: float | None
) -> None:
    query, key, value = (tensor.bfloat16() for tensor in parts(4, key_heads, 11))
    layer = SimpleNamespace(num_key_value_groups=4 // key_heads)
    each = Documents.of(torch.tensor([0, 4, 5, 11]), 11)
    at_once = replace(each, varlen=options_of(call))
    found, _ = document_attention(layer, query, key, value, None, scaling=scaling, documents=at_once)
    expected, _ = document_attention(layer, query, key, value, None, scaling=scaling, documents=each)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_a_signature_that_cannot_be_causal_is_not_used() -> None:
    def without(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return query

    assert options_of(without) is None


def test_the_installed_torchs_variable_length_attention_can_be_called() -> None:
    options = varlen_options()
    assert options is not None
    inspect.signature(options.call).bind(*range(7), **options.causal)


def test_the_kind_is_told_in_words() -> None:
    assert attention_kind("cpu", torch.bfloat16) == "scaled_dot_product_attention, document by document"


def test_autocast_reaches_packed_attention() -> None:
    """Norms before it give float32 under autocast, which flash kernels do not take."""
    query, key, value = parts(4, 4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = document_attention(
            SimpleNamespace(num_key_value_groups=1), query, key, value, None,
            documents=Documents.of(torch.tensor([0, 6]), 6),
        )  # fmt: skip
    assert found.dtype == torch.bfloat16


@pytest.mark.parametrize("use_cache", [None, False])
def test_documents_stay_apart_whatever_the_cache_is(
    model: MixedModalChameleon, vocabulary: Vocabulary, use_cache: bool | None
) -> None:
    """Stock attention lets them see each other when the cache is left at its default."""
    ids = torch.randint(vocabulary.size, (20,), generator=torch.Generator().manual_seed(6))
    positions = torch.cat([torch.arange(8), torch.arange(12)])
    documents = Documents.of(torch.tensor([0, 8, 20]), 20)
    packed = model(input_ids=ids[None], position_ids=positions[None], documents=documents, use_cache=use_cache)
    alone = model(input_ids=ids[None, 8:]).logits
    torch.testing.assert_close(packed.logits[:, 8:], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_variable_length_attention_on_a_device_equals_document_by_document() -> None:
    query, key, value = (tensor.cuda().bfloat16().requires_grad_() for tensor in parts(4, 4, 300))
    layer = SimpleNamespace(num_key_value_groups=1)
    at_once = Documents.of(torch.tensor([0, 37, 38, 300]), 300, "cuda")
    assert at_once.varlen is not None
    results = []
    for documents in (at_once, replace(at_once, varlen=None)):
        found, _ = document_attention(layer, query, key, value, None, documents=documents)
        results.append((found, *torch.autograd.grad(found.float().square().sum(), (query, key, value))))
    torch.testing.assert_close(*results, rtol=2e-2, atol=2e-2)


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
        model.recompute_layers()
        recomputed = gradient()
    finally:
        for layer in model.model.layers:
            layer.gradient_checkpointing = False
        model.eval()
        model.zero_grad()
    assert kept.abs().sum() > 0
    torch.testing.assert_close(recomputed, kept)
