"""The training loop: one pack a step, AdamW, and a state from which a killed run goes on to the same bytes.

Order of packs is `data.py`, the objective `loss.py`, the rate `schedule.py`, state `state.py`, results `export.py`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.files import Json
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.adapt import adapted, trained_parameters
from medmax_pipeline.training.data import Batch, Packs, collate
from medmax_pipeline.training.export import export_log, export_model
from medmax_pipeline.training.job import Job, identity
from medmax_pipeline.training.loss import Objective, objective
from medmax_pipeline.training.schedule import learning_rate, total_steps
from medmax_pipeline.training.state import gather, newest_state, restore, save_state

if TYPE_CHECKING:
    from peft import PeftModel

ROUND_UP = 128
"""Packs are rounded up to this many tokens on an accelerator, whose kernels want it; facts measured: <= 1 % waste."""
ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
"""torch's and transformers' defaults, which the paper's scripts leave alone."""


class TrainingDiverged(MedmaxError):
    """The loss or the gradient is no longer a number."""


@dataclass(frozen=True)
class Setup:
    """A model ready to learn."""

    model: MixedModalChameleon
    owner: PeftModel | None
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    image_ids: frozenset[int]
    device: str


def train(job: Job, packs: Packs, log: Callable[[str], None]) -> dict[str, Json]:
    """Run or go on with a job and leave its result in `job.out`.

    Returns:
        the report: steps, last losses (nats a token), tokens a second of this process.

    Raises:
        TrainingDiverged: the loss is not finite; state up to the last checkpoint stays.
        ConfigError: the work folder holds another run's state.
    """
    setup = prepare(job)
    steps = total_steps(job.recipe.schedule, len(packs))
    work, whose = Path(job.work), identity(job)
    resumed = newest_state(work, whose, log)
    start, metrics = 0, []
    if resumed is not None:
        start, metrics = resumed.step, resumed.metrics
        restore(resumed.tensors, setup.parameters, setup.optimizer)
        log(f"goes on after step {start} of {steps}")
    learned = sum(parameter.numel() for parameter in setup.parameters.values())
    log(f"{steps} steps of one pack, {len(packs)} packs, {learned:,} parameters learn, on {setup.device}")
    pace = Pace(steps, start)
    for step in range(start, steps):
        batch = _batch(job, setup, packs, packs.position(step, job.recipe.seed))
        metrics.append(json.dumps(_step(job, setup, batch, step, steps)))
        pace.add(batch.tokens)
        if (step + 1) % job.log_steps == 0 or step + 1 == steps:
            log(_line(metrics[-job.log_steps :], pace, step + 1))
        if (step + 1) % job.recipe.schedule.checkpoint_steps == 0 and step + 1 < steps:
            save_state(work, step + 1, whose, gather(setup.parameters, setup.optimizer), metrics)
    out = Path(job.out)
    export_model(out, setup.model, setup.owner, job.recipe, Path(job.base))
    report = _report(metrics, pace)
    export_log(out, metrics, {**report, "threads": job.threads, "device": setup.device, "resumed_after": start})
    return report


def prepare(job: Job) -> Setup:
    """Seed everything, load the base model and mark what learns."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS sums in any order
    recipe = job.recipe
    device = ("cuda" if torch.cuda.is_available() else "cpu") if job.device == "auto" else job.device
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
    torch.manual_seed(recipe.seed)
    half = recipe.dtype == "bfloat16" and recipe.adapter.kind == "lora"  # a full tuning keeps its sums in float32
    dtype = torch.bfloat16 if half else torch.float32
    model = MixedModalChameleon.load(Path(job.base), dtype=dtype, device=device)
    owner = adapted(model, recipe.adapter)
    model.train()
    if job.recompute:
        model.activation_checkpointing_enable({"use_reentrant": False})
    parameters = trained_parameters(model)
    schedule = recipe.schedule
    optimizer = torch.optim.AdamW(
        list(parameters.values()),
        lr=schedule.peak_lr,
        betas=ADAM_BETAS,
        eps=ADAM_EPS,
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    images = frozenset(int(value) for value in model.model.vocabulary_mapping.image_tokens)
    return Setup(model, owner, parameters, optimizer, images, device)


def _batch(job: Job, setup: Setup, packs: Packs, number: int) -> Batch:
    multiple = 1 if setup.device == "cpu" else ROUND_UP
    pad = int(setup.model.config.pad_token_id)
    weighting = job.recipe.loss_weighting
    return collate(packs.pack(number), setup.image_ids, weighting, multiple=multiple, pad=pad).to(setup.device)


def _step(job: Job, setup: Setup, batch: Batch, step: int, steps: int) -> dict[str, Json]:
    """One update; the step's record."""
    schedule = job.recipe.schedule
    rate = learning_rate(schedule, step, steps)
    for group in setup.optimizer.param_groups:
        group["lr"] = rate
    setup.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(setup.device, torch.bfloat16, enabled=job.recipe.dtype == "bfloat16"):
        told = objective(setup.model, batch)
    told.loss.backward()
    norm: Tensor = nn.utils.clip_grad_norm_(list(setup.parameters.values()), schedule.clip_norm)
    record = _record(told, float(norm), rate, step, batch)
    if not (math.isfinite(float(told.loss.detach())) and math.isfinite(float(norm))):
        raise TrainingDiverged(
            f"step {step + 1} of {steps}: loss {record['loss']}, gradient norm {record['grad_norm']}; finite numbers "
            f"expected. Nothing is published. Lower schedule.peak_lr (now {schedule.peak_lr}) or clip_norm "
            f"({schedule.clip_norm})."
        )
    setup.optimizer.step()
    return record


def _record(told: Objective, norm: float, rate: float, step: int, batch: Batch) -> dict[str, Json]:
    return {
        "step": step + 1,
        "loss": float(told.loss.detach()),
        "text_loss": float(told.text_sum) / told.text_count if told.text_count else None,
        "image_loss": float(told.image_sum) / told.image_count if told.image_count else None,
        "text_targets": told.text_count,
        "image_targets": told.image_count,
        "tokens": batch.tokens,
        "lr": rate,
        "grad_norm": norm,
    }


class Pace:
    """How fast this process goes."""

    def __init__(self, steps: int, start: int) -> None:
        self._left = steps - start
        self._steps = 0
        self._tokens = 0
        self._began = time.monotonic()

    def add(self, tokens: int) -> None:
        """One step more."""
        self._steps += 1
        self._left -= 1
        self._tokens += tokens

    @property
    def seconds(self) -> float:
        """Since the first step of this process."""
        return time.monotonic() - self._began

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second, prompt and response."""
        return self._tokens / self.seconds if self._steps else 0.0

    @property
    def left_s(self) -> float:
        """Seconds that the rest will take at this pace."""
        return self._left * self.seconds / self._steps if self._steps else 0.0


def _means(lines: list[str]) -> dict[str, float]:
    """Mean losses over some steps; text and image by their targets."""
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    means = {"loss": sum(record["loss"] for record in records) / len(records)}
    for kind in ("text", "image"):
        targets = sum(record[f"{kind}_targets"] for record in records)
        summed = sum(
            record[f"{kind}_loss"] * record[f"{kind}_targets"] for record in records if record[f"{kind}_targets"]
        )
        if targets:
            means[f"{kind}_loss"] = summed / targets
    return means


def _line(lines: list[str], pace: Pace, step: int) -> str:
    means = _means(lines)
    losses = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in means.items())
    rate = json.loads(lines[-1])["lr"]
    minutes, seconds = divmod(round(pace.left_s), 60)
    return f"step {step}  {losses}  lr {rate:.2e}  {pace.tokens_per_s:,.0f} tokens/s  {minutes}:{seconds:02d} left"


REPORT_STEPS = 20
"""Last steps over which the report's losses are means."""


def _report(metrics: list[str], pace: Pace) -> dict[str, Json]:
    losses = {name: round(value, 4) for name, value in _means(metrics[-REPORT_STEPS:]).items()}
    return {
        "steps": len(metrics),
        **losses,
        "tokens_per_s": round(pace.tokens_per_s, 1),
        "train_s": round(pace.seconds, 2),
    }
