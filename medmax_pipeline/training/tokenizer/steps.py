"""The assets of a tuned image tokenizer: `base_image_tokenizer` before, `image_tokenizer` after. Loads no torch.

config.json, model.safetensors   the tuned VQGAN, as every image tokenizer
card.json                        from what and how it was made, what it gained, what it is to be used for with care
log/                             metrics.jsonl (a line a step), reconstruction.png, run.json

Which pictures there are is `choose.py`, the work `loop.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from medmax_pipeline.config import TokenizerTuning, Weights
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import DigestCache, Json
from medmax_pipeline.manifest import External, Lock
from medmax_pipeline.models.steps import DESCRIPTIONS, image_tokenizer_step, with_options
from medmax_pipeline.steps import Need, Outcome, Run, Step

BASE: Final = "base_image_tokenizer"
"""Key of the tokenizer before tuning."""
CODE_VERSION: Final = "1"
"""Raise when the same pictures, parameters and base give other weights."""
SAMPLE: Final = "sample"
"""Name of the shipped weights, where tuning starts from them."""


def untuned_step(weights: Weights) -> Step:
    """The tokenizer that tuning starts from, as a build without tuning would have it.

    Raises:
        ConfigError: `weights.name` is neither `sample` nor that of a published VQGAN.
    """
    named = Weights(kind="sample") if weights.name == SAMPLE else Weights(kind="published", name=weights.name)
    start = replace(named, geometry=weights.geometry)
    return replace(image_tokenizer_step(start), key=BASE, description="The image tokenizer before tuning.")


def tuned_step(weights: Weights, sources: Sequence[str], trained: Sequence[str]) -> Step:
    """The step that tunes the image tokenizer.

    Args:
        weights: of kind `finetuned`.
        sources: those of the build; their evaluation pictures are never tuned on.
        trained: those of them that are curated.

    Raises:
        ConfigError: the build says no tuning, or one with values out of bounds.
    """
    tuning = weights.tuning
    if tuning is None:
        raise ConfigError("image_tokenizer: kind 'finetuned' needs a table image_tokenizer.tuning with batch, epochs.")
    check(tuning, "image_tokenizer")
    needs = [Need(BASE), *(Need(f"{source}/samples") for source in sources)]
    needs += [Need(f"{source}/curated") for source in trained]

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.training.tokenizer.tune import tune

        return tune(ctx, tuning, sources, trained)

    step = Step(
        key="image_tokenizer",
        run=run,
        code_version=CODE_VERSION,
        needs=tuple(needs),
        params={"kind": weights.kind, "name": weights.name, "tuning": result_parameters(tuning)},
        external=lambda landing, digests: _perceptual(tuning, landing, digests),
        lock=lambda landing: _lock(tuning, landing),
        locks_on=(BASE,),
        group="weights",
        description=f"{DESCRIPTIONS['image_tokenizer']} Tuned on this build's training pictures.",
    )
    return with_options(step, weights)


def check(tuning: TokenizerTuning, where: str) -> None:
    """Refuse values that tune nothing.

    Args:
        tuning: what was read.
        where: its place, for the message.

    Raises:
        ConfigError: naming each.
    """
    above = ("batch", "epochs", "base_lr", "discriminator_layers", "discriminator_width", "checkpoint_steps")
    weights = ("pixel_weight", "perceptual_weight", "codebook_weight", "beta", "adversarial_weight")
    values = asdict(tuning)
    wrong = [f"{name} is {values[name]}, expected above 0" for name in above if not values[name] > 0]
    least = (*weights, "adversarial_start", "held_out")
    wrong += [f"{name} is {values[name]}, expected at least 0" for name in least if not values[name] >= 0]
    if wrong:
        raise ConfigError(f"{where}: tuning.{'; tuning.'.join(wrong)}.")


def result_parameters(tuning: TokenizerTuning) -> dict[str, Json]:
    """The tuning as JSON values, without what never changes a result; the perceptual weights count by their bytes."""
    return {name: value for name, value in asdict(tuning).items() if name not in ("checkpoint_steps", "perceptual")}


def _perceptual(tuning: TokenizerTuning, landing: Path, digests: DigestCache) -> tuple[External, ...]:
    """The file of perceptual weights, where one is named."""
    if not tuning.perceptual:
        return ()
    path = landing / tuning.perceptual
    return (External(tuning.perceptual, digests.sha256(path), path.stat().st_size),)


def _lock(tuning: TokenizerTuning, landing: Path) -> Lock | None:
    """Why tuning cannot run: perceptual weights are named and not there."""
    if not tuning.perceptual or (landing / tuning.perceptual).is_file():
        return None
    return Lock(
        f"{tuning.perceptual}: the perceptual weights that the build names are not in the landing folder.",
        "Write them with the package lpips: safetensors.torch.save_model(lpips.LPIPS(net='vgg'), FILE). Or leave "
        "image_tokenizer.tuning.perceptual empty: the tokenizer is then tuned without that term, and its card says so.",
    )
