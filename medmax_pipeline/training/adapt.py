"""What of the model is trained: all of the transformer, or LoRA matrices beside its projections.

The matrices are peft's, kept in the model's own type: float32 copies are the optimizer's business (`optimizer.py`).
Dropout on their inputs is drawn once for projections that read the same tensor. The image tokenizer inside the model
is never trained. How the result is written is `export.py`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medmax_pipeline.config import Adapter
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.models.chameleon import MixedModalChameleon

if TYPE_CHECKING:
    from peft import PeftModel

SHARERS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""The seven projections of each layer (paper, section 4), by the tensor that they read."""
LORA_TARGETS = tuple(name for group in SHARERS for name in group)
ADAPTER = "default"
"""Under which peft files the matrices."""


def adapted(model: MixedModalChameleon, adapter: Adapter) -> PeftModel | None:
    """Mark what is trained; for LoRA, put its matrices into `model` (which stays the one to call) and give its owner.

    Initialisation draws from torch's global generator, and so does dropout: seed it first.

    Raises:
        ConfigError: the matrices do not have the number of elements that rank and shapes say (39,976,960 for the
            published 7B at rank 16): the installed peft or transformers puts them elsewhere.
    """
    model.requires_grad_(False)
    if adapter.kind == "full":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith("model.vqmodel."))
        return None
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(LORA_TARGETS),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 asks transformers by a name that v6 drops
        owner: PeftModel = get_peft_model(model, config, autocast_adapter_dtype=False)
    learned = sum(parameter.numel() for parameter in trained_parameters(model).values())
    expected = lora_elements(model.config, adapter.rank)
    if learned != expected:
        raise ConfigError(
            f"LoRA of rank {adapter.rank} put {learned:,} parameters into the model; its shapes say {expected:,}. "
            "Install peft and transformers as constraints.txt names them."
        )
    if adapter.dropout:
        share_dropout(model, adapter.dropout)
    return owner


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name, in the model's own order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def projection_shapes(config: Any) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each projection of a layer, by a Chameleon's configuration."""
    hidden, inner = config.hidden_size, config.intermediate_size
    keys = hidden // config.num_attention_heads * config.num_key_value_heads
    return {
        "q_proj": (hidden, hidden),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (hidden, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def lora_elements(config: Any, rank: int) -> int:
    """Elements of all LoRA matrices of a Chameleon: rank x (inputs + outputs) for each projection."""
    shapes = projection_shapes(config).values()
    return int(config.num_hidden_layers) * rank * sum(inputs + outputs for inputs, outputs in shapes)


def share_dropout(model: nn.Module, chance: float) -> None:
    """Draw four masks a layer in place of seven: one for each tensor that adapters read.

    A mask and the tensor under it are kept until the backward pass, 3 bytes an element in bfloat16; that is saved for
    three of seven projections. Each projection's own inputs are dropped with the same chance as before; within a
    group they are the same ones.
    """
    for layer in model.modules():
        for names in SHARERS:
            held = [getattr(layer, name, None) for name in names]
            if all(hasattr(projection, "lora_dropout") for projection in held):
                shared = SharedDropout(chance, len(names))
                for projection in held:
                    projection.lora_dropout[ADAPTER] = shared  # type: ignore[union-attr]


class SharedDropout(nn.Module):
    """Dropout that `readers` modules, called one after another on one tensor, share.

    The first call draws, the others get the same result, the last lets go of it. A call with another tensor draws
    anew, whoever was still to come: recomputing layers may stop before the last reader.
    """

    def __init__(self, chance: float, readers: int) -> None:
        super().__init__()
        self.chance = chance
        self.readers = readers
        self._given: Tensor | None = None
        self._dropped: Tensor | None = None
        self._left = 0

    def forward(self, given: Tensor) -> Tensor:
        """`given` with a share of its elements set to zero and the others scaled up; itself outside training."""
        if not self.training:
            return given
        if self._dropped is None or self._given is not given:
            self._given, self._dropped = given, torch.dropout(given, self.chance, train=True)
            self._left = self.readers
        dropped = self._dropped
        self._left -= 1
        if self._left == 0:
            self._given = self._dropped = None
        return dropped

    def extra_repr(self) -> str:
        """What `print(model)` tells."""
        return f"p={self.chance}, readers={self.readers}"
