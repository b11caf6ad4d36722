"""The step `shards/<recipe>`: what it reads, its parameters and what locks it. What it does is `make.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from medmax_pipeline.config import Recipe
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.shards import BLOCK_TOKENS
from medmax_pipeline.steps import Need, Outcome, Run, Step

CODE_VERSION = "5"
"""Raise when the same samples, codes and recipe would give other bytes or other columns."""
TOKENIZERS = ("text_tokenizer", "image_tokenizer")


def shards_step(recipe: Recipe, sources: Sequence[str]) -> Step:
    """The step that makes a recipe's shards.

    Args:
        recipe: its mixture names the sources it reads.
        sources: what a mixture of the build may name.

    Raises:
        ConfigError: the mixture names a source the build has not, or a pack that no block can hold.
    """
    mixture = recipe.mixture
    used = [*mixture.required, *(source for source in mixture.optional if source not in mixture.required)]
    unknown = sorted(set(used) - set(sources))
    if unknown:
        raise ConfigError(f"recipe {recipe.name}: the build has no source {', '.join(unknown)} that its mixture names.")
    if any(times < 1 for times in mixture.repeat.values()):
        raise ConfigError(f"recipe {recipe.name}: mixture.repeat must be at least 1; leave the source out instead.")
    if recipe.packing.token_budget > BLOCK_TOKENS:
        raise ConfigError(
            f"recipe {recipe.name}: packing.token_budget is {recipe.packing.token_budget:,}, at most {BLOCK_TOKENS:,}."
        )

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.shards.make import make_shards

        return make_shards(ctx, recipe, used)

    return Step(
        key=f"shards/{recipe.name}",
        run=run,
        code_version=CODE_VERSION,
        needs=tuple(Need(key) for key in (*TOKENIZERS, "image_codes", *(f"{source}/curated" for source in used))),
        params={"mixture": json.loads(json.dumps(asdict(mixture))), "packing": asdict(recipe.packing)},
        locks_on=(*TOKENIZERS, "image_codes", *(f"{source}/curated" for source in mixture.required)),
        group="shards",
        description=f"The mixture of recipe {recipe.name} as packs of whole sequences, in webdataset tars.",
    )
