"""Resumable state: a folder a checkpoint, published atomically, verified before it is believed. No pickle.

    work/step-00000200/state.safetensors   trained parameters, optimizer moments, random generators
    work/step-00000200/metrics.jsonl       a line a step so far
    work/step-00000200/state.json          step, whose state it is, sha256 of the other two

The data's whole state is the step. Results are `export.py`'s; these folders are thrown away after publishing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.files import (
    TEMPORARY,
    disk_errors,
    publish_folder,
    read_json,
    remove_tree,
    sha256_file,
    write_json,
    write_text,
)

KEPT = 2
"""Checkpoints that stay: the newest, and the one before in case the newest is damaged."""
TENSORS, METRICS, STATE = "state.safetensors", "metrics.jsonl", "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each parameter."""


class Resumed(NamedTuple):
    """Where an earlier process got to."""

    step: int
    metrics: list[str]
    tensors: dict[str, Tensor]


def gather(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that the next step depends on beside the data."""
    tensors = {f"parameter.{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = value
    tensors["generator.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["generator.cuda"] = torch.cuda.get_rng_state()
    return {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}


def restore(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Put back what `gather` took."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"parameter.{name}"])
            moments = {moment: tensors[f"{moment}.{name}"] for moment in MOMENTS}
            on_device = {key: value if key == "step" else value.to(parameter.device) for key, value in moments.items()}
            optimizer.state[parameter] = on_device
    torch.set_rng_state(tensors["generator.cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator.cuda"])


def save_state(work: Path, step: int, identity: str, tensors: dict[str, Tensor], metrics: Sequence[str]) -> None:
    """Publish the state after `step` steps and drop what is older than the last two."""
    target = work / f"step-{step:08d}"
    remove_tree(target)  # a damaged one that was passed over
    scratch = work / f"{TEMPORARY}{target.name}-{os.getpid()}"
    with disk_errors(scratch):
        scratch.mkdir(parents=True)
        save_file(tensors, scratch / TENSORS)
    write_text(scratch / METRICS, "".join(line + "\n" for line in metrics))
    digests = {name: sha256_file(scratch / name) for name in (TENSORS, METRICS)}
    write_json(scratch / STATE, {"step": step, "identity": identity, "files": digests})
    publish_folder(scratch, target)
    for old in _folders(work)[:-KEPT]:
        remove_tree(old)


def newest_state(work: Path, identity: str, log: Callable[[str], None]) -> Resumed | None:
    """The newest state that is whole, or None; half-written ones of a killed process are removed.

    Raises:
        ConfigError: the state is another run's.
    """
    for scratch in work.glob(f"{TEMPORARY}*"):
        remove_tree(scratch)
    for folder in reversed(_folders(work)):
        try:
            value = read_json(folder / STATE)
            whole = all(sha256_file(folder / name) == value["files"][name] for name in (TENSORS, METRICS))
        except (StoreError, OSError, KeyError, TypeError):
            whole = False
        if not whole:
            log(f"{folder.name} is damaged and is passed over")
            continue
        return _read(folder, value, identity)
    return None


def _read(folder: Path, value: Mapping[str, Any], identity: str) -> Resumed:
    if value["identity"] != identity:
        raise ConfigError(
            f"{folder}: is the state of another run (other recipe, shards, base model or threads). "
            "Name an empty work folder, or remove this one."
        )
    metrics = (folder / METRICS).read_text().splitlines()
    return Resumed(int(value["step"]), metrics, load_file(folder / TENSORS))


def _folders(work: Path) -> list[Path]:
    return sorted(work.glob("step-*"))
