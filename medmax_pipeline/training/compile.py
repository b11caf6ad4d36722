"""Which parts of the transformer `torch.compile` takes, so that packs of every length run through the same code.

Each layer's attention, feed-forward and norms are compiled by themselves, and one compilation serves all layers. The
layers stay as they are, for recomputing them (activation checkpointing) and gathering their shards (FSDP2) are calls
around a layer's forward pass that the compiler would stop at. Outside stay embedding, head and residual sums too;
and, where no variable-length kernel runs (`models/attention.py`), attention itself, document by document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medmax_pipeline.models.chameleon import MixedModalChameleon

PARTS = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
"""Of a layer, by transformers' names."""


def compiled(model: MixedModalChameleon, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile in place; the work is done at the first step, and once more for a first pack of one document.

    Lengths, documents of a pack and the longest of them are taken as numbers that change.

    Args:
        model: with its adapters, recomputing or not.
        backend: torch's name of it, or one's own; `inductor` needs a C++ compiler, and Triton on CUDA.
    """
    for layer in model.model.layers:
        for part in PARTS:
            getattr(layer, part).compile(backend=backend, dynamic=True)
