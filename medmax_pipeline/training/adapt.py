"""What of the model is trained: all of the transformer, or LoRA matrices beside its projections.

The image tokenizer inside the model is never trained. How the result is written is `export.py`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from torch import nn

from medmax_pipeline.config import Adapter
from medmax_pipeline.models.chameleon import MixedModalChameleon

if TYPE_CHECKING:
    from peft import PeftModel

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj")
"""The seven projections of each layer; paper, section 4."""


def adapted(model: MixedModalChameleon, adapter: Adapter) -> PeftModel | None:
    """Mark what is trained; for LoRA, put its matrices into `model` (which stays the one to call) and give its owner.

    Initialisation draws from torch's global generator: seed it first.
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
        owner: PeftModel = get_peft_model(model, config)
    return owner


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name, in the model's own order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
