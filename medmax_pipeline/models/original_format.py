"""Chameleon's original tensors and transformers' ones: names, the order of rotated rows, what heads share.

Three things differ. Names: `TABLE`. Rotary position: the original turns neighbours (0, 1), (2, 3), …, transformers a
head's halves (0, D/2), (1, D/2 + 1), …, so the rows of each head of the query and key projections, and what scales
them, stand in another order (RoPE: arXiv 2104.09864). Query and key norms: one scale and one shift in the original,
shared by all heads of the 7B; transformers keeps a copy a head, which full tuning moves apart, and then there is no
original form of them. Folders are `original_format_files.py` and `original_format_write.py`, measures
`original_format_params.py`, the image tokenizer's names `vqgan_keys.py`.

H heads, D dimensions a head, C hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from medmax_pipeline.errors import WeightsError

GLOBAL: Final = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
"""Original names and transformers', outside the layers."""
TABLE: Final = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.wq.weight": "self_attn.q_proj.weight",
    "attention.wk.weight": "self_attn.k_proj.weight",
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "attention.q_normalization.weight": "self_attn.q_norm.weight",
    "attention.q_normalization.bias": "self_attn.q_norm.bias",
    "attention.k_normalization.weight": "self_attn.k_norm.weight",
    "attention.k_normalization.bias": "self_attn.k_norm.bias",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
}
"""Of a layer: `layers.{n}.` before the original's name, `model.layers.{n}.` before transformers'."""
FUSED: Final = {
    "attention.wqkv.weight": ("attention.wq.weight", "attention.wk.weight", "attention.wv.weight"),
    "feed_forward.w13.weight": ("feed_forward.w1.weight", "feed_forward.w3.weight"),
}
"""As the authors' network joins them when it has loaded them; a dump of it holds these, rows in this order."""
UNUSED: Final = ("rope.freqs",)
"""Follows from the sizes; some dumps carry it."""
ROTATED: Final = ("attention.wq.", "attention.wk.", "attention.q_norm", "attention.k_norm")
IN_LAYER: Final = re.compile(r"layers\.(0|[1-9]\d{0,3})\.(.+)")


@dataclass(frozen=True, slots=True)
class Sizes:
    """The measures that shapes follow from."""

    dim: int
    """C."""
    layers: int
    heads: int
    """H of the queries."""
    key_heads: int
    """H of keys and values; as many as `heads` in the published 7B."""
    feed_forward: int
    vocabulary: int

    @property
    def head_dim(self) -> int:
        """D."""
        return self.dim // self.heads

    def heads_of(self, name: str) -> int:
        """H of a rotated tensor, by its original name."""
        return self.heads if ".wq." in name or ".q_norm" in name else self.key_heads


def original_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in the original form."""
    c, keys, f = sizes.dim, sizes.key_heads * sizes.head_dim, sizes.feed_forward
    layer: dict[str, tuple[int, ...]] = {
        "attention_norm.weight": (c,),
        "attention.wq.weight": (c, c),
        "attention.wk.weight": (keys, c),
        "attention.wv.weight": (keys, c),
        "attention.wo.weight": (c, c),
        "ffn_norm.weight": (c,),
        "feed_forward.w1.weight": (f, c),
        "feed_forward.w2.weight": (c, f),
        "feed_forward.w3.weight": (f, c),
    }
    layer |= {name: (sizes.head_dim,) for name in TABLE if "_normalization." in name}
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (sizes.vocabulary, c),
        "norm.weight": (c,),
        "output.weight": (sizes.vocabulary, c),
    }
    for number in range(sizes.layers):
        shapes |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}
    return shapes


def split_fused(state: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """The state with joined projections taken apart, and without what is not used."""
    keys = sizes.key_heads * sizes.head_dim
    rows = {"attention.wqkv.weight": [sizes.dim, keys, keys], "feed_forward.w13.weight": [sizes.feed_forward] * 2}
    apart: dict[str, Tensor] = {}
    for name, tensor in state.items():
        inner = IN_LAYER.fullmatch(name)
        parts = FUSED.get(inner[2]) if inner else None
        if inner is None or parts is None:
            if name not in UNUSED:
                apart[name] = tensor
        elif tensor.dim() == 2 and len(tensor) == sum(rows[inner[2]]):
            pieces = tensor.split(rows[inner[2]])
            apart |= {f"layers.{inner[1]}.{part}": piece for part, piece in zip(parts, pieces, strict=True)}
        else:
            raise WeightsError(
                f"{name} is {tuple(tensor.shape)}, expected {sum(rows[inner[2]])} rows. "
                "params.json and the checkpoint must belong together."
            )
    return apart


def halves(tensor: Tensor, heads: int) -> Tensor:
    """Rows of each head from the original's order (pairs of neighbours) to transformers' (two halves).

    Args:
        tensor: (heads * D, …).
        heads: how many heads the rows belong to.
    """
    turned: Tensor = tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(tensor.shape)
    return turned


def pairs(tensor: Tensor, heads: int) -> Tensor:
    """Rows of each head from transformers' order to the original's; undoes `halves`."""
    turned: Tensor = tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)
    return turned


def to_transformers(state: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """Original tensors under transformers' names and in its order; the types stay.

    Args:
        state: names and shapes as `original_shapes` has them.
        sizes: the measures.
    """
    made = {}
    for name, tensor in state.items():
        inner = IN_LAYER.fullmatch(name)
        if inner is None:
            made[GLOBAL[name]] = tensor
            continue
        ours = f"model.layers.{inner[1]}.{TABLE[inner[2]]}"
        if not inner[2].startswith(ROTATED):
            made[ours] = tensor
        elif "_normalization." in name:
            made[ours] = halves(tensor, 1).repeat(sizes.heads_of(name), 1)
        else:
            made[ours] = halves(tensor, sizes.heads_of(name))
    return made


def to_original(state: Mapping[str, Tensor], sizes: Sizes, *, average_heads: bool = False) -> dict[str, Tensor]:
    """Transformers' tensors, without the image tokenizer's, under the original names and in the original order.

    Args:
        state: names and shapes as `to_transformers` gives them.
        sizes: the measures.
        average_heads: put the mean over heads where their norms differ; another model than the one given.

    Raises:
        WeightsError: heads have norms of their own, and `average_heads` is not set; says how many and how far apart.
    """
    _refuse_drift(state, sizes, average_heads)
    made = {theirs: state[ours] for theirs, ours in GLOBAL.items()}
    for number in range(sizes.layers):
        for theirs, ours in TABLE.items():
            name, tensor = f"layers.{number}.{theirs}", state[f"model.layers.{number}.{ours}"]
            if "_normalization." in theirs:
                one = tensor.double().mean(0).to(tensor.dtype) if average_heads and _drift(tensor) else tensor[0]
                made[name] = pairs(one, 1)
            else:
                made[name] = pairs(tensor, sizes.heads_of(name)) if theirs.startswith(ROTATED) else tensor
    return made


def _drift(tensor_HD: Tensor) -> float:
    """How far the heads' norms are from the first head's, at most."""
    return float((tensor_HD.double() - tensor_HD[:1].double()).abs().max())


def _refuse_drift(state: Mapping[str, Tensor], sizes: Sizes, average_heads: bool) -> None:
    norms = [ours for theirs, ours in TABLE.items() if "_normalization." in theirs]
    names = [f"model.layers.{number}.{ours}" for number in range(sizes.layers) for ours in norms]
    apart = {name: drift for name in names if (drift := _drift(state[name]))}
    if apart and not average_heads:
        worst: Callable[[str], float] = apart.__getitem__
        name = max(apart, key=worst)
        raise WeightsError(
            f"{len(apart)} of {len(names)} query and key norms differ from head to head (at most {apart[name]:.3g}, in "
            f"{name}): full tuning moved them apart. The original form has one for all heads. Keep the transformers "
            "form, tune with LoRA, or say --average-heads, which makes another model."
        )


def plain(tensor: Tensor) -> Tensor:
    """The tensor with a storage of its own and no more: a checkpoint keeps whole storages."""
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if alone else tensor.clone(memory_format=torch.contiguous_format)
