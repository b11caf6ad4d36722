"""The one attention function of our transformers: whole documents packed in a row, or rows with an explicit mask.

Registered with transformers under the name `DOCUMENTS`. No mask function is registered beside it, so that transformers
builds no mask of its own for it: stock mask building looks at `use_cache` and at the mask it is given, and lets packed
documents see each other silently when either is not as it expects. Here the document bounds decide, or the 4-D mask
that generation hands in, or plain causality. Which kernel runs is `attention_kind`'s.

T tokens of a pack, D documents in it, H heads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from medmax_pipeline.errors import TokenError

DOCUMENTS = "medmax_documents"
"""The name under which transformers finds `document_attention`."""


FLASH_CAPABILITY = (8, 0)
"""The compute capability from which flash attention has kernels."""
HALVES = (torch.float16, torch.bfloat16)
"""The types that they take."""


@dataclass(frozen=True)
class VarlenOptions:
    """Torch's variable-length flash attention, in which blocks between documents are never computed.

    Its signature differs from release to release.

    Attributes:
        call: the function.
        causal: the words that make it causal.
        scale: whether it takes a factor; if not, the query is scaled to have the same effect.
        grouped: whether it takes fewer key heads than query heads; if not, they are repeated.
    """

    call: Callable[..., Any]
    causal: dict[str, Any]
    scale: bool
    grouped: bool


@cache
def varlen_options() -> VarlenOptions | None:
    """What the torch that runs here offers; None: nothing."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return options_of(varlen_attn)


def options_of(call: Callable[..., Any]) -> VarlenOptions | None:
    """How to call a `varlen_attn`; None if it cannot be causal."""
    taken = inspect.signature(call).parameters
    if "is_causal" in taken:
        causal: dict[str, Any] = {"is_causal": True}
    elif "window_size" in taken:
        causal = {"window_size": (-1, 0)}  # all of the past, none of the future
    else:
        return None
    return VarlenOptions(call, causal, "scale" in taken, "enable_gqa" in taken)


@dataclass(frozen=True)
class Documents:
    """Where each document of a pack begins and ends.

    Attributes:
        cu_seqlens: (D+1,) int32 cumulative lengths on the model's device, from 0 to T.
        lengths: the D lengths, known to the host, so that no layer waits for the device.
        longest: the greatest of them. Compiled code reads this and not `lengths`, every one of which it would take
            for a constant.
        varlen: how to attend over all of them in one call; None: where they are, it must be done one by one.
    """

    cu_seqlens: Tensor
    lengths: tuple[int, ...]
    longest: int
    varlen: VarlenOptions | None

    @classmethod
    def of(cls, cu_seqlens: Tensor, tokens: int, device: torch.device | str = "cpu") -> Documents:
        """Check cumulative lengths against the number of tokens.

        Args:
            cu_seqlens: (D+1,) integers, best on the host, which reads them.
            tokens: of the pack.
            device: where the model is.

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
        return cls(cu_seqlens.to(device, torch.int32), lengths, max(lengths), _varlen_on(torch.device(device)))


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
    query, key, value = _autocast(query), _autocast(key), _autocast(value)
    if documents.varlen is not None and query.dtype in HALVES and dropout == 0.0:
        return _varlen(query, key, value, scaling, documents, documents.varlen), None
    return _each(query, key, value, documents, dropout, scaling, grouped), None


def attention_kind(device: torch.device | str, dtype: torch.dtype) -> str:
    """In words, how packs are attended over on a device in a type: for logs."""
    if dtype in HALVES and _varlen_on(torch.device(device)) is not None:
        return "variable-length flash attention"
    return "scaled_dot_product_attention, document by document"


def _varlen_on(device: torch.device) -> VarlenOptions | None:
    fit = device.type == "cuda" and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY
    return varlen_options() if fit else None


def _autocast(tensor: Tensor) -> Tensor:
    """What autocast does to torch's own attention; norms before it leave float32, which flash kernels do not take."""
    kind = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tensor


@torch.compiler.disable(reason="a call for each document: no other pack could use what is compiled")  # type: ignore[untyped-decorator]
def _each(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    documents: Documents,
    dropout: float,
    scaling: float | None,
    grouped: bool,
) -> Tensor:
    """Torch's attention, document by document."""
    parts = zip(*(tensor.split(documents.lengths, dim=2) for tensor in (query, key, value)), strict=True)
    rows = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        for q, k, v in parts
    ]
    return torch.cat(rows, dim=2).transpose(1, 2)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, documents: Documents, options: VarlenOptions
) -> Tensor:
    """All documents in one call."""
    told = dict(options.causal)
    groups = query.shape[1] // key.shape[1]
    if options.scale:
        told["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    if groups > 1 and options.grouped:
        told["enable_gqa"] = True
    elif groups > 1:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    mixed = options.call(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        documents.cu_seqlens,
        documents.cu_seqlens,
        documents.longest,
        documents.longest,
        **told,
    )
    assert isinstance(mixed, Tensor)
    return mixed[None]


AttentionInterface.register(DOCUMENTS, document_attention)
