"""A recipe: one training run as a TOML file, read into frozen records in which unknown keys are errors.

The sentence under a field says what it means and where its number comes from. Builds, which name recipes, are
`config.py`. Standard library only, since training reads recipes on machines that carry little else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.records import KINDS
from medmax_pipeline.strict import read_record

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
"""Names become folders and asset keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Which sources a recipe trains on."""

    required: tuple[str, ...]
    """If one of them is locked, the recipe is locked too."""
    optional: tuple[str, ...] = ()
    """Left out, and named in the manifest, where they are locked."""
    repeat: Mapping[str, int] = field(default_factory=dict)
    """Times a source's samples occur in one epoch; 1 where a source is not named."""
    admit_credentialed: bool = False
    """Whether samples from credentialed sources may be packed and trained on."""
    limit: Mapping[str, int] = field(default_factory=dict)
    """Samples of a source at most, chosen by sample id; all where a source is not named."""
    kinds: tuple[str, ...] = ()
    """The only kinds that are trained on; empty: all."""
    without: tuple[str, ...] = ()
    """Kinds that are left out, after `limit` counted them: the rest is the whole mixture's."""
    subset: float = 1.0
    """Share of what remains, above 0 and at most 1, chosen by sample id: a smaller one is contained in a larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How whole sequences become packs, one training step's unit."""

    token_budget: int
    """A pack closes before it would pass this many ids."""
    max_sequences: int
    """A pack closes at this many sequences; the paper's batch is 8."""
    max_sequence: int
    """Longer sequences are dropped with a reason, never cut; at most the model's positions."""
    seed: int = 0
    """Seed of the order in which samples are packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What is trained."""

    kind: Literal["full", "lora"]
    rank: int = 16
    """LoRA rank; 16 in the paper, section 4."""
    alpha: int = 16
    """LoRA scale; 16 in the paper."""
    dropout: float = 0.05
    """On the adapter's input; 0.05 in the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast it learns."""

    epochs: float
    """Passes over the packs; 3 in the paper."""
    peak_lr: float
    """1e-4 in the paper (LoRA)."""
    warmup_ratio: float = 0.1
    """Share of the steps that raise the rate; 0.1 in the paper."""
    decay: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    checkpoint_steps: int = 200
    """Steps between resumable checkpoints; never part of the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run as a whole file."""

    name: str
    mixture: Mixture
    packing: Packing
    adapter: Adapter
    schedule: Schedule
    loss_weighting: Literal["sample", "token"] = "sample"
    """`sample`: each sample counts alike, the paper's setting (one sample a device); `token`: each labelled id does."""
    packs_per_step: int = 1
    """Packs between two updates, over all processes: the batch is the same on one device and on many."""
    z_loss: float = 0.0
    """Weight of the squared logarithm of the softmax's denominator, which holds logits near zero; 1e-5 in Chameleon's
    own training (arXiv 2405.09818, section 2.3), 0 in the paper's."""
    prompt_dropout: float = 0.0
    """Share of the samples with a picture in their reply that lose their prompt, drawn anew in each epoch: what
    guidance compares with. 0 in the paper's; 0.1 where guidance was proposed (arXiv 2207.12598)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: half the memory and many times the speed on accelerators; sums and the optimizer stay in float32."""
    recompute: bool = False
    """Compute activations again in the backward pass: a twentieth of their memory, about half as much time again."""
    compile: bool = False
    """Compile the layers (`torch.compile`): faster on accelerators, after minutes of compiling; other last bits."""
    seed: int = 0


def read_toml(path: Path) -> dict[str, Any]:
    """One TOML file.

    Raises:
        ConfigError: it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. `--config FILE` or MEDMAX_CONFIG names a build's TOML.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as TOML ({error}).") from error


def read_recipe(path: Path) -> Recipe:
    """The recipe in `path`, checked.

    Raises:
        ConfigError: a key or value is wrong, or the name is not that of the file.
    """
    recipe = read_record(Recipe, read_toml(path), path.name)
    if recipe.name != path.stem or not NAME.fullmatch(recipe.name):
        raise ConfigError(f"{path.name}: name is {recipe.name!r}, expected {path.stem!r} (a-z, 0-9, _).")
    if recipe.packing.max_sequence > recipe.packing.token_budget:
        raise ConfigError(
            f"{path.name}: packing.max_sequence {recipe.packing.max_sequence} is above packing.token_budget "
            f"{recipe.packing.token_budget}; a sequence must fit into a pack."
        )
    _check_mixture(recipe.mixture, path.name)
    _check_objective(recipe, path.name)
    return recipe


def _check_objective(recipe: Recipe, where: str) -> None:
    """Refuse numbers that no objective has."""
    if recipe.packs_per_step < 1:
        raise ConfigError(f"{where}: packs_per_step is {recipe.packs_per_step}; at least 1 expected.")
    if not 0 <= recipe.prompt_dropout < 1:
        raise ConfigError(
            f"{where}: prompt_dropout is {recipe.prompt_dropout}; a share of at least 0, below 1 expected."
        )
    if recipe.z_loss < 0:
        raise ConfigError(f"{where}: z_loss is {recipe.z_loss}; at least 0 expected.")


def _check_mixture(mixture: Mixture, where: str) -> None:
    """Refuse kinds that do not exist, and numbers that choose nothing."""
    strange = sorted({*mixture.kinds, *mixture.without} - {*KINDS})
    if strange:
        raise ConfigError(f"{where}: mixture.kinds and mixture.without name {strange}; kinds are {', '.join(KINDS)}.")
    if not 0 < mixture.subset <= 1:
        raise ConfigError(f"{where}: mixture.subset is {mixture.subset}; expected a share above 0 and at most 1.")
    few = sorted(key for key, most in mixture.limit.items() if most < 1)
    if few:
        raise ConfigError(f"{where}: mixture.limit of {few} is below 1; leave the source out instead.")
