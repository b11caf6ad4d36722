"""The training loop: packs, gradients, AdamW, and a state from which a killed run goes on to the same bytes.

What a process computes is `data.py`, the model `setup.py`, the objective `loss.py`, the rate `schedule.py`, state
`state.py`, what is told `metrics.py`, results `export.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch

from medmax_pipeline.errors import ConfigError, MedmaxError
from medmax_pipeline.files import Json
from medmax_pipeline.training.data import Packs, StepData
from medmax_pipeline.training.export import MODEL, export_log, export_model
from medmax_pipeline.training.flops import peak_flops, step_flops
from medmax_pipeline.training.group import ALONE, Group
from medmax_pipeline.training.job import Job, identity
from medmax_pipeline.training.loss import Sums
from medmax_pipeline.training.metrics import TENSORBOARD, Metrics
from medmax_pipeline.training.schedule import learning_rate, total_steps
from medmax_pipeline.training.setup import Setup, prepare
from medmax_pipeline.training.state import gather, newest_state, save_state

ROUND_UP = 128
"""Packs are rounded up to this many tokens on an accelerator, whose kernels want it; facts measured: <= 1 % waste."""
Log = Callable[[str], None]


class TrainingDiverged(MedmaxError):
    """The loss or the gradient is no longer a number."""


def train(job: Job, packs: Packs, log: Log, group: Group = ALONE) -> dict[str, Json]:
    """Run or go on with a job; the first process leaves its result in `job.out`.

    Returns:
        the report: steps, last losses (nats a token), tokens a second of this process; empty in the other processes.

    Raises:
        TrainingDiverged: the loss is not finite; state up to the last checkpoint stays.
        ConfigError: the result's folder holds one already, the work folder another run's state, or a step cannot be
            shared by so many processes.
    """
    if (Path(job.out) / MODEL).exists():  # told now, not after days
        raise ConfigError(f"{job.out}: holds a {MODEL}/ already. Name another folder, or remove it.")
    recipe, tell = job.recipe, log if group.leads else _silently
    steps = total_steps(recipe.schedule, len(packs), recipe.packs_per_step)
    setup = prepare(job, group)
    pad = int(setup.model.config.pad_token_id)
    multiple = 1 if group.device == "cpu" else ROUND_UP
    data = StepData(packs, recipe, setup.image_ids, group, multiple=multiple, pad=pad)
    work, whose = Path(job.work), identity(job)
    resumed = newest_state(work, whose, tell, group)
    start, earlier = (0, []) if resumed is None else (resumed.step, resumed.metrics)
    if resumed is not None:
        resumed.restore(setup.parameters, setup.optimizer)
        tell(f"goes on after step {start} of {steps}")
    tell(_opening(setup, job, steps, len(packs)))
    metrics = Metrics(job, earlier, tell) if group.leads else None
    lines: list[str] = [] if metrics is None else metrics.lines
    for step in range(start, steps):
        _step(setup, data, metrics, step, steps)
        if (step + 1) % recipe.schedule.checkpoint_steps == 0 and step + 1 < steps:
            save_state(work, step + 1, whose, gather(setup.parameters, setup.optimizer, group), lines, group)
    tuned = setup.whole(Path(job.base))
    if tuned is None or metrics is None:
        return {}
    metrics.close()
    report = metrics.report()
    run: dict[str, Json] = {**report, "threads": job.threads, "device": _device(group), "resumed_after": start}
    run |= {"processes": group.size, "parallel": job.parallel}
    export_log(Path(job.out), metrics.lines, run, work / TENSORBOARD)
    export_model(Path(job.out), *tuned, recipe, Path(job.base))  # last: a model there means that all is there
    return report


def _silently(line: str) -> None:
    """What the others would say, the first says."""


def _device(group: Group) -> str:
    return torch.cuda.get_device_name() if group.device == "cuda" else group.device


def _opening(setup: Setup, job: Job, steps: int, packs: int) -> str:
    learned = sum(parameter.numel() for parameter in setup.parameters.values())
    group, each = setup.group, job.recipe.packs_per_step
    many = f", {group.size} processes ({job.parallel})" if group.size > 1 else ""
    return (
        f"{steps} steps of {'one pack' if each == 1 else f'{each} packs'}, {packs} packs, {learned:,} parameters "
        f"learn, on {_device(group)}{many}"
    )


def _step(setup: Setup, data: StepData, metrics: Metrics | None, step: int, steps: int) -> None:
    """One update, and its record."""
    recipe, group = setup.recipe, setup.group
    rate = learning_rate(recipe.schedule, step, steps)
    for options in setup.optimizer.param_groups:
        options["lr"] = rate
    setup.optimizer.zero_grad(set_to_none=True)
    batches, adapter = data.batches(step), recipe.adapter
    told = sum(setup.learn(batch, last=batch is batches[-1]) for batch in batches)
    assert isinstance(told, torch.Tensor)
    operations = sum(
        step_flops(setup.model.config, batch.lengths, int(batch.trained_T.sum()), adapter.kind, False, adapter.rank)
        for batch in batches
    )
    counted = torch.tensor([sum(batch.tokens for batch in batches), operations], dtype=told.dtype, device=told.device)
    *sums, tokens, flops = group.summed(torch.cat([told, counted])).tolist()
    norm = setup.clipped()
    record = _record(Sums(*sums), norm, rate, step, recipe.z_loss)
    if not (math.isfinite(sums[0]) and math.isfinite(norm)):
        raise TrainingDiverged(
            f"step {step + 1} of {steps}: loss {record['loss']}, gradient norm {norm}; finite numbers expected. "
            f"Nothing is published. Lower schedule.peak_lr (now {recipe.schedule.peak_lr}) or clip_norm "
            f"({recipe.schedule.clip_norm})."
        )
    setup.optimizer.step()
    if metrics is not None:
        one = peak_flops(group.device)
        metrics.add(record, int(tokens), flops, None if one is None else one * group.size, steps)


def _record(sums: Sums, norm: float, rate: float, step: int, z_loss: float) -> dict[str, Json]:
    record: dict[str, Json] = {
        "step": step + 1,
        "loss": sums.loss,
        "text_loss": sums.text / sums.text_targets if sums.text_targets else None,
        "image_loss": sums.image / sums.image_targets if sums.image_targets else None,
        "text_targets": int(sums.text_targets),
        "image_targets": int(sums.image_targets),
        "lr": rate,
        "grad_norm": norm,
    }
    return record | ({"z_loss": z_loss * sums.z} if z_loss else {})
