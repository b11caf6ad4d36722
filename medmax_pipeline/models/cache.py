"""The transformer over keys and values that stay: rows of their own length in one static cache.

Everything that generates runs through `forward`; training and packs without a cache are `chameleon.py`. The network is
written out here over the model's own modules, since a step of one id is short and what stands around it in
transformers' forward (mask building, cache classes, output records) takes longer than a small model's products.

R rows, Q queries of a row, S slots of the cache, H heads, D head size, C hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from medmax_pipeline.models.chameleon import MixedModalChameleon


class KeyValues:
    """A static cache: keys and values of every layer, and where the rows end.

    Slots are filled from the left, so that slot and position in the row are the same number. What lies beyond a row's
    length is never looked at: padding of a batch is written there and overwritten by the row's next ids.

    Attributes:
        keys: for each layer (R, S, H / groups, D).
        values: as `keys`.
    """

    def __init__(self, model: MixedModalChameleon, rows: int, slots: int) -> None:
        config, weight = model.config, model.lm_head.weight
        size = config.hidden_size // config.num_attention_heads
        shape = (rows, slots, config.num_key_value_heads, size)
        made = {"dtype": weight.dtype, "device": weight.device}
        self.keys = [torch.zeros(shape, **made) for _ in range(config.num_hidden_layers)]
        self.values = [torch.zeros(shape, **made) for _ in range(config.num_hidden_layers)]
        self.slots = slots

    def take(self, rows_R: Tensor, source: KeyValues, from_R: Tensor, length: int) -> None:
        """Let rows begin with the first `length` slots of another cache's rows."""
        for mine, theirs in zip((*self.keys, *self.values), (*source.keys, *source.values), strict=True):
            mine[rows_R, :length] = theirs[from_R, :length]

    def keep(self, rows_R: Tensor) -> None:
        """Drop all rows but these, layer by layer."""
        for layers in (self.keys, self.values):
            for place, tensor in enumerate(layers):
                layers[place] = tensor[rows_R]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a call's ids go and what they see.

    Attributes:
        rows: how many of the cache's first rows take part.
        start: the slot of everybody's first id where it is the same; then `slots_RQ` is not needed.
        slots_RQ: each id's slot.
        reach: attention looks at slots below it; 0 for the call's own ids alone, causally.
        mask: (R, 1, Q, reach) bool, True where an id may look.
    """

    rows: int
    start: int | None
    slots_RQ: Tensor | None
    reach: int
    mask: Tensor | None


def rotation(model: MixedModalChameleon, positions: int) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine of positions 0 to `positions` - 1: (positions, 1, D) each, in the model's type."""
    weight = model.lm_head.weight
    at = torch.arange(positions, device=weight.device)[None]
    cos, sin = model.model.rotary_emb(weight, position_ids=at)
    half = sin.shape[-1] // 2
    signed = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
    return cos[0, :, None], signed[0, :, None]


def forward(
    model: MixedModalChameleon, cache: KeyValues, ids_RQ: Tensor, turned: tuple[Tensor, Tensor], places: Places
) -> Tensor:
    """Run ids through the network and leave their keys and values in the cache.

    Args:
        model: the transformer.
        cache: what the rows hold so far.
        ids_RQ: int64.
        turned: cosine and signed sine of each id's position, broadcast against (R, Q, H, D).
        places: see there.

    Returns:
        (R, Q, C) after the final norm.
    """
    hidden = model.model.embed_tokens(ids_RQ)
    swin = bool(model.config.swin_norm)
    for layer, keys, values in zip(model.model.layers, cache.keys, cache.values, strict=True):
        if swin:  # the larger published sizes normalise after each half
            hidden = hidden + layer.input_layernorm(_attend(layer.self_attn, hidden, turned, keys, values, places))
            hidden = hidden + layer.post_attention_layernorm(layer.mlp(hidden))
        else:
            normal = layer.input_layernorm(hidden)
            hidden = hidden + _attend(layer.self_attn, normal, turned, keys, values, places)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    normal_RQC: Tensor = model.model.norm(hidden)
    return normal_RQC


def _attend(
    attention: Any, hidden: Tensor, turned: tuple[Tensor, Tensor], keys: Tensor, values: Tensor, places: Places
) -> Tensor:
    rows, queries, _ = hidden.shape
    heads, shared, size = attention.num_heads, attention.num_key_value_heads, attention.head_dim
    query = attention.q_norm(attention.q_proj(hidden).view(-1, heads, size)).view(rows, queries, heads, size)
    key = attention.k_norm(attention.k_proj(hidden).view(-1, shared, size)).view(rows, queries, shared, size)
    value = attention.v_proj(hidden).view(rows, queries, shared, size)
    cos, sin = turned
    query = query * cos + query.roll(size // 2, -1) * sin
    key = key * cos + key.roll(size // 2, -1) * sin
    if places.start is not None:
        keys[: places.rows, places.start : places.start + queries] = key
        values[: places.rows, places.start : places.start + queries] = value
    else:
        assert places.slots_RQ is not None, "ids need slots"
        owners_R1 = torch.arange(rows, device=key.device)[:, None]
        keys.index_put_((owners_R1, places.slots_RQ), key)
        values.index_put_((owners_R1, places.slots_RQ), value)
    if places.reach:
        key, value = keys[: places.rows, : places.reach], values[: places.rows, : places.reach]
    mixed = functional.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=places.mask,
        is_causal=places.mask is None and queries > 1,
        scale=attention.scaling,
        enable_gqa=heads != shared,
    )
    made: Tensor = attention.o_proj(mixed.transpose(1, 2).reshape(rows, queries, heads * size))
    return made
