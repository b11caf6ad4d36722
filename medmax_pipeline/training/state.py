"""Resumable state: a folder a checkpoint, published atomically, verified before it is believed. No pickle.

    work/step-00000200/state-00000.safetensors   what the first process keeps: parameters, optimizer moments
    work/step-00000200/state-00001.safetensors   what the second keeps, where the model is spread over processes
    work/step-00000200/metrics.jsonl             a line a step so far
    work/step-00000200/state.json                step, whose state it is, sha256 of the others

A tensor that is spread lies in rows: each file says which rows of it are inside, and any number of processes reads the
rows that are its own, so a run goes on with more or fewer of them. The data's whole state is the step, and random
numbers are drawn from generators that the step seeds. Results are `export.py`'s; these folders are thrown away after
publishing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

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
from medmax_pipeline.models.weights import weights_written
from medmax_pipeline.training.group import ALONE, Group

KEPT = 2
"""Checkpoints that stay: the newest, and the one before in case the newest is damaged."""
METRICS, STATE = "metrics.jsonl", "state.json"
PIECES = "state-{:05d}.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step", "master")
"""What the optimizers keep of each parameter: Adam's moments, its count of steps, and the float32 copy of weights that
are stored in fewer bits."""


class Rows(NamedTuple):
    """Which rows of a tensor a process holds; all of a tensor without dimensions is row 0."""

    first: int
    many: int


class Piece(NamedTuple):
    """Rows of a tensor."""

    tensor: Tensor
    first: int


def rows_of(tensor: Tensor) -> Rows:
    """The rows of a tensor that lie in this process: all, or an even share of a spread one."""
    whole = tensor.shape[0] if tensor.dim() else 1
    if not isinstance(tensor, DTensor):
        return Rows(0, whole)
    assert tensor.placements == (Shard(0),), f"spread as {tensor.placements}"
    each = -(-whole // tensor.device_mesh.size())
    first = min(whole, tensor.device_mesh.get_local_rank() * each)
    return Rows(first, min(whole, first + each) - first)


def local(tensor: Tensor) -> Tensor:
    """What of a tensor lies in this process."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, group: Group) -> dict[str, Piece]:
    """What this process keeps of everything that the next step depends on beside the data.

    Tensors that every process holds whole are kept by the first.
    """
    named: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        named[f"parameter.{name}"] = parameter.detach()
        for moment, value in optimizer.state.get(parameter, {}).items():
            named[f"{moment}.{name}"] = value
    return {
        name: Piece(local(tensor).contiguous().cpu(), rows_of(tensor).first)
        for name, tensor in named.items()
        if (group.leads or isinstance(tensor, DTensor)) and rows_of(tensor).many
    }


def save_state(
    work: Path, step: int, identity: str, pieces: Mapping[str, Piece], metrics: Sequence[str], group: Group = ALONE
) -> None:
    """Publish the state after `step` steps and drop what is older than the last two; every process must call it."""
    target = work / f"step-{step:08d}"
    scratch = work / f"{TEMPORARY}{target.name}"
    if group.leads:
        remove_tree(target)  # a damaged one that was passed over
        remove_tree(scratch)
        with disk_errors(scratch):
            scratch.mkdir(parents=True)
    group.wait()
    firsts = json.dumps({name: piece.first for name, piece in pieces.items()}, sort_keys=True)
    tensors = {name: piece.tensor for name, piece in pieces.items()}
    piece = scratch / PIECES.format(group.rank)
    with weights_written(piece):
        save_file(tensors, piece, metadata={"firsts": firsts})
    group.wait()
    if group.leads:
        write_text(scratch / METRICS, "".join(line + "\n" for line in metrics))
        digests = {path.name: sha256_file(path) for path in sorted(scratch.iterdir())}
        write_json(scratch / STATE, {"step": step, "identity": identity, "files": digests})
        publish_folder(scratch, target)
        for old in _folders(work)[:-KEPT]:
            remove_tree(old)
    group.wait()


class Resumed(NamedTuple):
    """Where earlier processes got to."""

    step: int
    metrics: list[str]
    folder: Path

    def restore(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        """Put back what `gather` took, whatever number of processes took it.

        Raises:
            StoreError: rows of a parameter are in no file.
        """
        kept = _Kept(self.folder)
        with torch.no_grad():
            for name, parameter in parameters.items():
                local(parameter).copy_(kept.read(f"parameter.{name}", rows_of(parameter)))
                state: dict[str, Tensor] = {}
                for moment in MOMENTS:
                    key = f"{moment}.{name}"
                    if moment == "step" and key in kept:
                        state[moment] = kept.read(key, Rows(0, 1))
                    elif key in kept:
                        state[moment] = torch.zeros_like(parameter, dtype=kept.dtype(key))
                        local(state[moment]).copy_(kept.read(key, rows_of(parameter)))
                optimizer.state[parameter] = state


class _Kept:
    """The tensors of a state's files, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Any] = [
            safe_open(path, framework="pt") for path in sorted(folder.glob(PIECES.replace("{:05d}", "*")))
        ]
        self._where: dict[str, list[tuple[int, int]]] = {}
        for number, file in enumerate(self._files):
            for name, first in json.loads(file.metadata()["firsts"]).items():
                self._where.setdefault(name, []).append((first, number))

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def dtype(self, name: str) -> torch.dtype:
        """The type in which a tensor is kept."""
        piece = self._files[self._where[name][0][1]].get_slice(name)
        return piece[:0].dtype if piece.get_shape() else self._tensor(name).dtype

    def read(self, name: str, rows: Rows) -> Tensor:
        """Those rows of a tensor."""
        if name not in self._where:
            raise StoreError(f"{self._folder}: holds no {name}; it is another network's. Remove the folder.")
        if not self._files[self._where[name][0][1]].get_slice(name).get_shape():
            return self._tensor(name)
        found = list(self._cuts(name, rows))
        whole = torch.cat(found) if len(found) != 1 else found[0]
        if len(whole) != rows.many:
            raise StoreError(
                f"{self._folder}: {len(whole)} of {rows.many} rows of {name} are there; a file is missing. "
                "Remove the folder; the run goes on from the state before."
            )
        return whole

    def _tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._files[self._where[name][0][1]].get_tensor(name)
        return tensor

    def _cuts(self, name: str, rows: Rows) -> Iterator[Tensor]:
        if not rows.many:
            yield self._files[self._where[name][0][1]].get_slice(name)[:0]
        for first, number in sorted(self._where[name]):
            piece = self._files[number].get_slice(name)
            begin, end = max(0, rows.first - first), min(piece.get_shape()[0], rows.first + rows.many - first)
            if begin < end:
                yield piece[begin:end]


def newest_state(work: Path, identity: str, log: Callable[[str], None], group: Group = ALONE) -> Resumed | None:
    """The newest state that is whole, or None; half-written ones of a killed process are removed.

    Every process must call it; the first looks, the others are told.

    Raises:
        ConfigError: the state is another run's.
    """
    step = group.of_leader(_newest_step(work, log) if group.leads else 0)
    if step < 0:
        return None
    folder = work / f"step-{step:08d}"
    value = read_json(folder / STATE)
    if value["identity"] != identity:
        raise ConfigError(
            f"{folder}: is the state of another run (other recipe, shards, base model or threads). "
            "Name an empty work folder, or remove this one."
        )
    return Resumed(step, (folder / METRICS).read_text().splitlines(), folder)


def _newest_step(work: Path, log: Callable[[str], None]) -> int:
    """Steps done in the newest state that is whole; -1: there is none."""
    for scratch in work.glob(f"{TEMPORARY}*"):
        remove_tree(scratch)
    for folder in reversed(_folders(work)):
        try:
            value: Mapping[str, Any] = read_json(folder / STATE)
            whole = all(sha256_file(folder / name) == digest for name, digest in value["files"].items())
            if whole and {METRICS, PIECES.format(0)} <= value["files"].keys() and folder == _folder(work, value):
                return int(value["step"])
        except (StoreError, OSError, KeyError, TypeError, ValueError, AttributeError):
            pass
        log(f"{folder.name} is damaged and is passed over")
    return -1


def _folder(work: Path, value: Mapping[str, Any]) -> Path:
    return work / f"step-{int(value['step']):08d}"


def _folders(work: Path) -> list[Path]:
    return sorted(work.glob("step-*"))
