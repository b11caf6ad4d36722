"""What a finished run leaves: model/ (a transformers folder), adapter/ for LoRA, recipe.json, log/.

Everything but log/ is the same bytes for the same inputs on the same machine. Resumable state is `state.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from medmax_pipeline.config import Recipe
from medmax_pipeline.files import Json, write_bytes, write_json, write_text
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.curve import loss_curve
from medmax_pipeline.training.job import result_parameters

if TYPE_CHECKING:
    from peft import PeftModel

BOARD = "log/tensorboard"
MODEL, ADAPTER, RECIPE, METRICS, CURVE, RUN = (
    "model",
    "adapter",
    "recipe.json",
    "log/metrics.jsonl",
    "log/curve.png",
    "log/run.json",
)


def export_model(out: Path, model: MixedModalChameleon, owner: PeftModel | None, recipe: Recipe, base: Path) -> None:
    """Write the adapter where there is one, the whole (merged) model in the recipe's type, and the recipe."""
    if owner is not None:
        save_adapter(out / ADAPTER, owner)
        merged: MixedModalChameleon = owner.merge_and_unload()
        model = merged
    write_json(out / RECIPE, result_parameters(recipe))
    model.requires_grad_(False)
    model.to("cpu", dtype=getattr(torch, recipe.dtype)).save(out / MODEL, text_folder=base)


def save_adapter(folder: Path, owner: PeftModel) -> None:
    """The adapter as peft reads it; peft's own writer leaves this machine's paths and an order by chance in it."""
    from peft import get_peft_model_state_dict

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(owner).items()}
    write_bytes(folder / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))
    config = {name: sorted(value) if isinstance(value, set) else value for name, value in _config(owner).items()}
    write_json(folder / "adapter_config.json", {**config, "base_model_name_or_path": None, "inference_mode": True})


def _config(owner: PeftModel) -> Mapping[str, Any]:
    config: Mapping[str, Any] = owner.peft_config["default"].to_dict()
    return config


def export_log(out: Path, metrics: Sequence[str], run: Mapping[str, Json], board: Path) -> None:
    """Write the metrics as they came, the curve, what this process took, and TensorBoard's files out of `board`."""
    write_text(out / METRICS, "".join(line + "\n" for line in metrics))
    write_bytes(out / CURVE, loss_curve([json.loads(line) for line in metrics]))
    for number, path in enumerate(sorted(board.glob("*tfevents*"))):
        # TensorBoard puts the machine's name into the file's
        write_bytes(out / BOARD / f"events.out.tfevents.{number:05d}", path.read_bytes())
    write_json(out / RUN, run)
