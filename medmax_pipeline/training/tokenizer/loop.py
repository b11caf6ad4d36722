"""The tuning loop: a batch a step, two Adams, and a state from which a killed run goes on to the same bytes.

Terms are `objective.py`, data `pictures.py`, several processes `training/group.py`, states `training/state.py`, figures
`measure.py`. The rate is constant, as in the reference's configuration.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.files import Json, write_bytes, write_json, write_text
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.training.group import Group
from medmax_pipeline.training.loop import TrainingDiverged
from medmax_pipeline.training.state import Piece, gather, newest_state, save_state
from medmax_pipeline.training.tokenizer.card import CARD, card
from medmax_pipeline.training.tokenizer.discriminator import PatchDiscriminator, new_discriminator
from medmax_pipeline.training.tokenizer.job import FAILURES, Job, identity
from medmax_pipeline.training.tokenizer.measure import measure
from medmax_pipeline.training.tokenizer.objective import (
    adaptive_weight,
    codebook_term,
    hinge,
    judged_real,
    straight_through,
)
from medmax_pipeline.training.tokenizer.perceptual import Lpips, read_lpips
from medmax_pipeline.training.tokenizer.pictures import (
    Pictures,
    Reader,
    keep_failures,
    kept_failures,
    read_chosen,
)

Log = Callable[[str], None]
ADAM_BETAS = (0.5, 0.9)
"""Of both optimisers, as in the code of "Taming Transformers"."""
SHARE = "unreadable-{}.json"
"""In the work folder: what each process could not use, by its rank."""
TERMS = ("pixels", "perceptual", "codebook", "adversarial", "adaptive_weight", "discriminator")
"""What a step's line tells beside the loss; None where a term took no part."""


@dataclass(frozen=True)
class Setup:
    """Networks ready to learn."""

    vqgan: VQGAN
    discriminator: PatchDiscriminator
    lpips: Lpips | None
    tuner: torch.optim.Adam
    judge: torch.optim.Adam
    last_layer: Tensor
    group: Group

    def parameters(self, step: int, start: int) -> Iterator[tuple[dict[str, nn.Parameter], torch.optim.Adam]]:
        """What has learned after `step` steps, under names of its own, with its optimiser."""
        yield {f"vqgan.{name}": value for name, value in self.vqgan.named_parameters()}, self.tuner
        if step > start:
            yield {f"discriminator.{name}": value for name, value in self.discriminator.named_parameters()}, self.judge


def prepare(job: Job, group: Group) -> Setup:
    """Load the base tokenizer, and make everything of this process repeatable.

    Raises:
        WeightsError: the tokenizer has no decoder, or the perceptual weights are none.
        ConfigError: its pictures are too small for the discriminator.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS sums in any order
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=group.device == "cuda")
    tuning = job.tuning
    vqgan = VQGAN.load(Path(job.base), mode="exact")
    if vqgan.decoder is None:
        raise WeightsError(f"{job.base}: a tokenizer without a decoder cannot be tuned. Take one made from vqgan.ckpt.")
    vqgan = vqgan.requires_grad_(True).train().to(group.device)
    judge = new_discriminator(tuning.discriminator_layers, tuning.discriminator_width, vqgan.resolution, tuning.seed)
    judge = judge.train().to(group.device)
    lpips = read_lpips(Path(job.perceptual)).to(group.device) if job.perceptual else None
    rate = tuning.base_lr * tuning.batch
    optimisers = [torch.optim.Adam(net.parameters(), lr=rate, betas=ADAM_BETAS) for net in (vqgan, judge)]
    assert vqgan.decoder is not None
    return Setup(vqgan, judge, lpips, optimisers[0], optimisers[1], vqgan.decoder.conv_out.weight, group)


def tune(job: Job, reader: Reader, group: Group, log: Log) -> dict[str, Json]:
    """Run or go on with a job; the first process leaves the result in `job.out`.

    Returns:
        the card of the tuned tokenizer; empty in the other processes.

    Raises:
        TrainingDiverged: the loss is not finite; the states so far stay.
        ConfigError: no pictures, or the work folder holds another run's state.
    """
    chosen = read_chosen(Path(job.pictures))
    setup, tuning = prepare(job, group), job.tuning
    steps = max(1, round(tuning.epochs * len(chosen.trained) / tuning.batch))
    pictures = Pictures(chosen.trained, reader, setup.vqgan.resolution, tuning.seed, setup.vqgan.geometry)
    whose = identity(job)
    start, metrics = _resume(job, setup, whose, log)
    pictures.failures.update(kept_failures(sorted(Path(job.work).glob(SHARE.format("*")))))
    log(f"{steps} steps of {tuning.batch} pictures, {len(chosen.trained):,} pictures, {group.size} x {group.device}")
    began = time.monotonic()
    batches = pictures.batches(start, steps, tuning.batch, group.share(tuning.batch), job.readers)
    for step, pixels in enumerate(batches, start):
        metrics.append(json.dumps(_step(job, setup, pixels.to(group.device), step)))
        if (step + 1) % job.log_steps == 0 or step + 1 == steps:
            log(_line(metrics[-1], steps, start, time.monotonic() - began, tuning.batch))
        if (step + 1) % tuning.checkpoint_steps == 0 and step + 1 < steps:
            keep_failures(Path(job.work) / SHARE.format(group.rank), pictures.failures)
            _save(job, setup, step + 1, whose, metrics)
    keep_failures(Path(job.work) / SHARE.format(group.rank), pictures.failures)
    group.wait()
    if not group.leads:
        return {}
    seconds = time.monotonic() - began
    run: dict[str, Json] = {"train_s": round(seconds, 2), "resumed_after": start, "processes": group.size}
    return _finish(job, setup, pictures, chosen.held_out, metrics, run)


def _resume(job: Job, setup: Setup, whose: str, log: Log) -> tuple[int, list[str]]:
    """Steps done by earlier processes, and their lines."""
    found = newest_state(Path(job.work), whose, log, setup.group)
    if found is None:
        return 0, []
    for parameters, optimiser in setup.parameters(found.step, job.tuning.adversarial_start):
        found.restore(parameters, optimiser)
    log(f"goes on after step {found.step}")
    return found.step, found.metrics


def _save(job: Job, setup: Setup, step: int, whose: str, metrics: list[str]) -> None:
    pieces: dict[str, Piece] = {}
    for parameters, optimiser in setup.parameters(step, job.tuning.adversarial_start):
        pieces |= gather(parameters, optimiser, setup.group)
    save_state(Path(job.work), step, whose, pieces, metrics, setup.group)


def _step(job: Job, setup: Setup, true_BCHW: Tensor, step: int) -> dict[str, Json]:
    """One update of the tokenizer, and of the discriminator once it takes part; the step's line."""
    tuning, vqgan, averaged = job.tuning, setup.vqgan, setup.group.averaged
    terms: dict[str, Tensor] = {}
    quantised = straight_through(vqgan.latents(true_BCHW), vqgan.quantize.embedding.weight)
    made_BCHW = vqgan.pixels(quantised.through_BDHW)
    terms["pixels"] = (made_BCHW - true_BCHW).abs().mean()
    likeness = tuning.pixel_weight * terms["pixels"]
    if setup.lpips is not None:
        terms["perceptual"] = setup.lpips(made_BCHW, true_BCHW)
        likeness = likeness + tuning.perceptual_weight * terms["perceptual"]
    terms["codebook"] = codebook_term(quantised, tuning.beta)
    loss = likeness + tuning.codebook_weight * terms["codebook"]
    judged = step >= tuning.adversarial_start
    if judged:
        setup.discriminator.requires_grad_(False)
        terms["adversarial"] = judged_real(setup.discriminator(made_BCHW))
        terms["adaptive_weight"] = adaptive_weight(likeness, terms["adversarial"], setup.last_layer, averaged)
        loss = loss + tuning.adversarial_weight * terms["adaptive_weight"] * terms["adversarial"]
    _update(setup, setup.tuner, vqgan, loss)
    if judged:
        setup.discriminator.requires_grad_(True)
        terms["discriminator"] = hinge(setup.discriminator(true_BCHW), setup.discriminator(made_BCHW.detach()))
        _update(setup, setup.judge, setup.discriminator, terms["discriminator"])
    return _record(step, loss, terms, averaged)


def _update(setup: Setup, optimiser: torch.optim.Adam, network: nn.Module, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    setup.group.average_gradients(network.parameters())
    optimiser.step()


def _record(step: int, loss: Tensor, terms: dict[str, Tensor], averaged: Callable[[Tensor], Tensor]) -> dict[str, Json]:
    values = averaged(torch.stack([loss.detach(), *(term.detach() for term in terms.values())])).tolist()
    if not all(map(math.isfinite, values)):
        raise TrainingDiverged(
            f"step {step + 1}: loss {values[0]}, {dict(zip(terms, values[1:], strict=True))}; finite numbers expected. "
            "Nothing is published. Lower tuning.base_lr or tuning.adversarial_weight."
        )
    named: dict[str, Json] = dict(zip(terms, values[1:], strict=True))
    return {"step": step + 1, "loss": values[0], **{name: named.get(name) for name in TERMS}}


def _line(record: str, steps: int, start: int, seconds: float, batch: int) -> str:
    values = json.loads(record)
    done = values["step"] - start
    shown = "  ".join(f"{name.replace('_', ' ')} {values[name]:.4f}" for name in TERMS if values[name] is not None)
    minutes, rest = divmod(round((steps - values["step"]) * seconds / done), 60)
    rate = done * batch / seconds
    return f"step {values['step']} of {steps}  {shown}  {rate:.1f} pictures/s  {minutes}:{rest:02d} left"


def _finish(
    job: Job, setup: Setup, pictures: Pictures, held_out: list[str], metrics: list[str], run: dict[str, Json]
) -> dict[str, Json]:
    """Write the tuned tokenizer, its card and its logs."""
    out = Path(job.out)
    tuned = setup.vqgan.requires_grad_(False).eval()
    tuned.save(out)
    seen = [pixels for image_id in held_out if (pixels := pictures.pixels(image_id)) is not None]
    figures: dict[str, Json] = {"pictures_held_out": 0}
    if seen:
        gain, sheet = measure(VQGAN.load(Path(job.base), mode="exact").to(setup.group.device), tuned, seen)
        figures = gain.figures()
        write_bytes(out / "log" / "reconstruction.png", sheet)
    everybodys = kept_failures(Path(job.work).glob(SHARE.format("*"))) | pictures.failures
    keep_failures(Path(job.work) / FAILURES, everybodys)
    made = card(job, len(metrics), figures)
    write_json(out / CARD, made)
    write_text(out / "log" / "metrics.jsonl", "".join(line + "\n" for line in metrics))
    write_json(out / "log" / "run.json", run | {"device": setup.group.device, "threads": job.threads})
    return made
