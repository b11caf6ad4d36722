"""The graph of a build: which steps there are, and in which order each source, recipe and row gets its own.

    <source>/raw -> <source>/samples -> duplicates, leakage, figures, captions -> <source>/curated -> image_codes
      -> shards/<recipe> -> checkpoint/<recipe> -> eval/<recipe>/<task> -> scores/<recipe> -> report

One place, so that the orchestrator, the command line and the tests see the same steps. What a step does belongs to
its room; how it shows in the web UI to `assets/`. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from medmax_pipeline.config import INTERLEAVED, Build, Settings, mixed_sources
from medmax_pipeline.curation.caption_step import captions_step
from medmax_pipeline.curation.split import held_out_share
from medmax_pipeline.curation.steps import curated_step, duplicates_step, figures_step, funnel_step, leakage_step
from medmax_pipeline.eval.steps import Beside, eval_step, scores_step
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ingest.weights import weights_step
from medmax_pipeline.interleave.steps import interleaved_curated_step, written_step
from medmax_pipeline.ledger import Ledger, Planned
from medmax_pipeline.models.published import published
from medmax_pipeline.models.steps import (
    base_model_step,
    image_tokenizer_step,
    similarity_model_step,
    text_tokenizer_step,
)
from medmax_pipeline.report.steps import report_step
from medmax_pipeline.sample.step import corpus_step
from medmax_pipeline.shards.steps import shards_step
from medmax_pipeline.sources import source
from medmax_pipeline.steps import Step, in_order
from medmax_pipeline.tokens.steps import image_codes_step, published_tokens_step
from medmax_pipeline.training.steps import checkpoint_step
from medmax_pipeline.training.tokenizer.steps import tuned_step, untuned_step

EVALUATION = ("eval/", "scores/")
"""Key prefixes of what a refresh of scores may run; `report` goes with them."""
SHIPPED_SIMILARITY = "sample_similarity"
"""What the shipped similarity model calls itself."""
BASE = "base"
"""Stands in a recipe's place in `eval/base/<task>`: the model before tuning."""


class Evaluated(NamedTuple):
    """A model that the suite is run on: its name in asset keys, and the asset that holds it."""

    name: str
    key: str


def evaluated(build: Build) -> list[Evaluated]:
    """The models whose scores this build wants, the base first."""
    recipes = [Evaluated(recipe, f"checkpoint/{recipe}") for recipe in build.recipes]
    return [Evaluated(BASE, "base_model"), *recipes] if build.evaluation.base else recipes


def eval_steps(build: Build) -> Mapping[str, list[Step]]:
    """The evaluation steps by model name; those of one model are cheapest made by one process."""
    beside = beside_models(build)
    return {
        model.name: [
            eval_step(model.name, model.key, task, build.evaluation, build.sources, beside)
            for task in build.evaluation.tasks
        ]
        for model in evaluated(build)
    }


def beside_models(build: Build) -> Beside:
    """What the build gives its evaluations beside models and samples."""
    judge = build.endpoints[build.evaluation.judge] if build.evaluation.judge else None
    model = build.similarity_model
    shipped = model is not None and model.kind == "sample"
    name = SHIPPED_SIMILARITY if shipped else model.name if model else ""
    return Beside(judge=judge, similarity=name, leakage=build.curation.leakage != "off")


def _weights(build: Build, trained: Sequence[str]) -> Iterator[Step]:
    """Published files first, then what is made of them."""
    named = [build.image_tokenizer, build.text_tokenizer, build.base_model]
    if build.similarity_model is not None:
        named.append(build.similarity_model)
    for name in sorted({weights.record for weights in named} - {""}):
        yield weights_step(published(name), build.pins.get(name, ""))
    if build.image_tokenizer.kind == "finetuned":
        yield untuned_step(build.image_tokenizer)
        yield tuned_step(build.image_tokenizer, build.sources, trained)
    else:
        yield image_tokenizer_step(build.image_tokenizer)
    yield text_tokenizer_step(build.text_tokenizer)
    yield base_model_step(build.base_model)
    if build.similarity_model is not None:
        yield similarity_model_step(build.similarity_model)


def _all(settings: Settings) -> Iterator[Step]:
    build = settings.build
    corpus = build.corpus == "sample"
    if corpus:
        yield corpus_step()
    for key in build.sources:
        variant = build.variants.get(key, "")
        record = source(key, variant)
        yield raw_step(record, corpus, variant, build.pins.get(key, ""))
        yield samples_step(record, variant, held_out_share(build.curation.hold_out, record))
    yield duplicates_step(build.sources, build.curation.duplicates, build.curation.nearness)
    yield leakage_step(build.sources, build.curation.leakage, build.curation.nearness)
    yield figures_step(build.sources, build.curation, build.similarity_model is not None)
    trained = [key for key in build.sources if "train" in source(key, build.variants.get(key, "")).splits]
    yield captions_step(trained, build.curation, build.endpoints)
    for key in trained:
        yield curated_step(key, build.curation, source(key, build.variants.get(key, "")).placeholder)
    mixed = mixed_sources(build)
    if build.interleave is not None:
        yield written_step(build.interleave, build.endpoints, tuple(trained))
        yield interleaved_curated_step(build.curation)
    curated = [*trained, *(key for key in mixed if key == INTERLEAVED)]
    yield funnel_step(mixed, curated)
    yield from _weights(build, trained)
    yield image_codes_step(build.sources, trained)
    if "medmax_data" in build.sources:
        yield published_tokens_step()
    for recipe in settings.recipes.values():
        yield shards_step(recipe, mixed)
        yield checkpoint_step(recipe)
    for steps in eval_steps(build).values():
        yield from steps
    for name in settings.recipes:
        yield scores_step(name, build.evaluation.tasks, build.evaluation.base, beside_models(build).names)
    yield report_step(tuple(settings.recipes), mixed, curated, build.evaluation.tasks, build.evaluation.base)


def steps(settings: Settings) -> list[Step]:
    """Every step of the build, each after its inputs.

    Raises:
        ConfigError: the build names a source, task or recipe that does not exist.
    """
    return in_order(_all(settings))


def is_evaluation(key: str) -> bool:
    """Whether a refresh of scores may run this asset."""
    return key.startswith(EVALUATION) or key == "report"


def stale_evaluations(ledger: Ledger, steps: Sequence[Step]) -> list[Planned]:
    """Evaluation, score and report steps whose published version is not that of the inputs published now.

    A model that was never published is not evaluated; a checkpoint that is itself out of date, but not retrained,
    keeps its scores. What stands on a stale step is stale with it.
    """
    stale: dict[str, Planned] = {}
    plan = {planned.key: planned for planned in ledger.plan(steps, transitive=False)}
    for step in in_order(steps):
        planned = plan[step.key]
        if not is_evaluation(step.key):
            continue
        missing = [need.key for need in step.needs if ledger.current(need.key) is None and need.key not in stale]
        behind = [need.key for need in step.needs if need.key in stale]
        if missing or planned.action == "locked":
            continue
        if behind:
            stale[step.key] = planned._replace(reason=f"{behind[0]} is stale")
        elif planned.action == "run":
            stale[step.key] = planned
    return list(stale.values())
