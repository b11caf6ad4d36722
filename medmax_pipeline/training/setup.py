"""A model made ready to learn: loaded, marked, compiled, and spread over the processes that train it.

    ddp    torch's DistributedDataParallel: every process holds the whole, gradients are summed while they are computed
    fsdp   torch's fully_shard (FSDP2): parameters, gradients and optimizer lie in rows, one share a process

What learns is `adapt.py`'s, the objective `loss.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.recipe import Recipe
from medmax_pipeline.training.adapt import adapted, trained_parameters
from medmax_pipeline.training.data import Batch
from medmax_pipeline.training.group import Group
from medmax_pipeline.training.job import Job
from medmax_pipeline.training.loss import Objective
from medmax_pipeline.training.optimizer import make_optimizer

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class Setup:
    """A model ready to learn, in one of the processes that train it."""

    recipe: Recipe
    model: MixedModalChameleon
    owner: PeftModel | None
    objective: nn.Module
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    image_ids: frozenset[int]
    group: Group

    def learn(self, batch: Batch, *, last: bool) -> Tensor:
        """Add a batch's gradients; its `Sums`, (6,) float64.

        Args:
            batch: this process's part of the step, or one of several.
            last: whether the step's gradients are summed over the processes now.
        """
        torch.manual_seed(batch.seed)
        # what is held in bfloat16 is computed so; autocast would hold float32 copies around norms besides
        half = self.recipe.dtype == "bfloat16" and _dtype(self.recipe) == torch.float32
        with self._summing(last), torch.autocast(self.group.device, torch.bfloat16, enabled=half):
            loss, told = self.objective(batch.to(self.group.device))
            (loss * self.group.size).backward()  # what sums over processes also divides by their number
        summed: Tensor = told
        return summed

    @contextmanager
    def _summing(self, last: bool) -> Iterator[None]:
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(last)
        wait = not last and isinstance(self.objective, DistributedDataParallel)
        with self.objective.no_sync() if wait else nullcontext():  # type: ignore[operator]
            yield

    def clipped(self) -> float:
        """Scale the gradients down to the recipe's norm; the norm they had."""
        norm: Any = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.recipe.schedule.clip_norm)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def whole(self, base: Path) -> tuple[MixedModalChameleon, PeftModel | None] | None:
        """The tuned model on the CPU of the first process, None in the others; every process must call it."""
        if not isinstance(self.model, FSDPModule):
            return (self.model, self.owner) if self.group.leads else None
        learned: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            spread: Any = parameter.detach()
            tensor = spread.full_tensor()  # one at a time, so that no device holds them all
            if self.group.leads:
                learned[name] = tensor.cpu()
        if not self.group.leads:
            return None
        model = MixedModalChameleon.load(base, dtype=_dtype(self.recipe))
        owner = adapted(model, self.recipe.adapter)
        with torch.no_grad():
            for name, target in trained_parameters(model).items():
                target.copy_(learned[name])
        return model, owner


def prepare(job: Job, group: Group) -> Setup:
    """Seed everything, load the base model, mark what learns, spread it.

    Raises:
        WeightsError: the base is none.
        ConfigError: `fsdp` with one process alone.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS sums in any order
    recipe = job.recipe
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=group.device == "cuda")
    torch.manual_seed(recipe.seed)
    spread = job.parallel == "fsdp" and group.size > 1
    # what is spread is cut on the host: no device ever holds the whole
    model = MixedModalChameleon.load(Path(job.base), dtype=_dtype(recipe), device="cpu" if spread else group.device)
    return made_ready(model, recipe, group, spread=spread)


def made_ready(model: MixedModalChameleon, recipe: Recipe, group: Group, *, spread: bool) -> Setup:
    """A loaded model as a recipe trains it; adapters draw from torch's global generator.

    Args:
        model: with the base's weights; on the host if it is to be spread, else on the group's device.
        recipe: the run's.
        group: this process among all.
        spread: whether to keep only this process's rows of it (FSDP2).
    """
    owner = adapted(model, recipe.adapter)
    model.train()
    if recipe.recompute:
        model.recompute_layers()
    if recipe.compile:
        from medmax_pipeline.training.compile import compiled

        compiled(model)
    if spread:
        _shard(model, group, half=recipe.dtype == "bfloat16")
    objective: nn.Module = Objective(model, recipe.z_loss)
    parameters = trained_parameters(model)
    if group.size > 1 and not spread:
        # the same files and seeds gave each process the same start, so nothing is sent around
        objective = DistributedDataParallel(
            objective, broadcast_buffers=False, init_sync=False, gradient_as_bucket_view=True
        )
    images = frozenset(int(value) for value in model.model.vocabulary_mapping.image_tokens)
    optimizer = make_optimizer(parameters, recipe.schedule)
    return Setup(recipe, model, owner, objective, parameters, optimizer, images, group)


def _dtype(recipe: Recipe) -> torch.dtype:
    """In which the base is held: a full tuning keeps float32, from which bfloat16 is made where it is computed."""
    return torch.bfloat16 if recipe.dtype == "bfloat16" and recipe.adapter.kind == "lora" else torch.float32


def _shard(model: MixedModalChameleon, group: Group, *, half: bool) -> None:
    """Spread each layer and the rest over the group; the image tokenizer inside is never called and stays as it is."""
    mesh = init_device_mesh(group.device, (group.size,))
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # rotary angles stay in float32
    )
    options: dict[str, Any] = {"mesh": mesh, "mp_policy": policy}
    for layer in model.model.layers:
        fully_shard(layer, **options)
    fully_shard(model, ignored_params=set(model.model.vqmodel.parameters()), **options)
    register_fsdp_forward_method(model, "labelled_loss")
