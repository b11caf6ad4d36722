"""The one attention function of our transformers: whole documents packed in a row, or rows with an explicit mask.

Registered with transformers under the name `DOCUMENTS`. No mask function is registered beside it, so that transformers
builds no mask of its own for it: stock mask building looks at `use_cache` and at the mask it is given, and lets packed
documents see each other silently when either is not as it expects. Here the document bounds decide, or the 4-D mask
that generation hands in, or plain causality.

T tokens of a pack, D documents in it, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from medmax_pipeline.errors import TokenError

DOCUMENTS = "medmax_documents"
"""The name under which transformers finds `document_attention`."""


@dataclass(frozen=True)
class Documents:
    """Where each document of a pack begins and ends.

    Attributes:
        cu_seqlens: (D+1,) int32 cumulative lengths on the model's device, from 0 to T.
        lengths: the D lengths, known to the host, so that no layer waits for the device.
    """

    cu_seqlens: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, cu_seqlens: Tensor, tokens: int) -> Documents:
        """Check cumulative lengths against the number of tokens.

        Raises:
            TokenError: they do not rise from 0 to `tokens`.
        """
        bounds = cu_seqlens.tolist()
        lengths = tuple(bounds[i + 1] - bounds[i] for i in range(len(bounds) - 1))
        if not lengths or bounds[0] != 0 or bounds[-1] != tokens or min(lengths) < 1:
            raise TokenError(
                f"document bounds are {bounds[:4]}…{bounds[-1:]} for {tokens} tokens; expected them to rise from 0 to "
                f"{tokens}. A pack is whole documents, one after another."
            )
        return cls(cu_seqlens.to(torch.int32), lengths)


def document_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    documents: Documents | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention; tokens see their own document only.

    Args:
        module: the attention layer; its `num_key_value_groups` says how many query heads share a key head.
        query: (B, H, Q, head_dim); B is 1 for packs.
        key: (B, H / groups, K, head_dim).
        value: as `key`.
        attention_mask: (B, 1, Q, K) bool, True where a query may look; only without `documents`.
        dropout: probability of dropping a weight.
        scaling: factor of the products; 1/sqrt(head_dim) if None.
        documents: the pack's bounds.

    Returns:
        (B, Q, H, head_dim), and None for the weights, which are not kept.
    """
    grouped = module.num_key_value_groups > 1
    if documents is None:
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=attention_mask,
            dropout_p=dropout,
            is_causal=attention_mask is None and query.shape[2] > 1,
            scale=scaling,
            enable_gqa=grouped,
        )
        return mixed.transpose(1, 2), None
    assert attention_mask is None, "a pack has no mask: its documents' bounds are the mask"
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and dropout == 0.0:
        return _varlen(query, key, value, scaling, documents, grouped), None
    parts = zip(*(tensor.split(documents.lengths, dim=2) for tensor in (query, key, value)), strict=True)
    rows = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        for q, k, v in parts
    ]
    return torch.cat(rows, dim=2).transpose(1, 2), None


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, documents: Documents, grouped: bool
) -> Tensor:
    """Torch's variable-length flash attention: blocks between documents are never computed."""
    from torch.nn.attention.varlen import varlen_attn

    longest = max(documents.lengths)
    mixed = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        documents.cu_seqlens,
        documents.cu_seqlens,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0),  # all of the past, none of the future
        enable_gqa=grouped,
    )
    assert isinstance(mixed, Tensor)
    return mixed[None]


AttentionInterface.register(DOCUMENTS, document_attention)
