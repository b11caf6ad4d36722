"""The `checkpoint/<recipe>` asset: shards and a base model in, a tuned model out. Loads no torch; the work is launched.

model/          a transformers folder with its tokenizer.json: the tuned model, an adapter merged into it
adapter/        for LoRA: the adapter alone, as peft reads it
recipe.json     what decided the result
log/            metrics.jsonl (a line a step), curve.png, run.json
"""

from __future__ import annotations

from dataclasses import asdict

from medmax_pipeline.config import Recipe
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import Json, read_json, take_folder, write_json
from medmax_pipeline.launching.state import RESULT
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Artifact, Need, Outcome, Run, Step
from medmax_pipeline.training.job import Job, result_parameters

CODE_VERSION = "2"
"""Raise when the same recipe, shards and base model give other weights."""


def checkpoint_step(recipe: Recipe) -> Step:
    """The step that tunes the base model by this recipe."""
    shards = f"shards/{recipe.name}"
    return Step(
        key=f"checkpoint/{recipe.name}",
        run=lambda ctx: tune(ctx, recipe),
        code_version=CODE_VERSION,
        needs=(Need(shards), Need("base_model"), Need("text_tokenizer"), Need("image_tokenizer")),
        params=result_parameters(recipe),
        group="training",
        description=f"The base model tuned by the recipe {recipe.name}: weights, loss curve, what decided them.",
    )


def tune(ctx: Run, recipe: Recipe) -> Outcome:
    """Check that the inputs belong together, launch the training, and say what came out.

    Raises:
        ConfigError: credentialed shards, and the recipe does not admit them.
        TokenError: shards, tokenizer and model speak different vocabularies.
        LaunchError: the training ended badly; the next attempt goes on from its last checkpoint.
    """
    shards, base = ctx.inputs[f"shards/{recipe.name}"], ctx.inputs["base_model"].folder
    _refuse_inputs(ctx, shards, recipe)
    state = ctx.work / "launch"
    out = state / RESULT
    job = Job(recipe=recipe, shards=str(shards.folder), base=str(base), out=str(out), work=str(ctx.work / "states"))
    path = ctx.work / "job.json"
    write_json(path, asdict(job))
    ctx.launch(["medmax_pipeline.training", str(path)], state=state)
    take_folder(out, ctx.out)
    report: dict[str, Json] = read_json(ctx.out / "log" / "run.json")
    import pyarrow.parquet as pq

    from medmax_pipeline.shards.layout import INDEX

    sequences = pq.ParquetFile(shards.folder / INDEX).metadata.num_rows
    return Outcome(counts=Counts(taken=sequences, kept=sequences), summary=report)


def _refuse_inputs(ctx: Run, shards: Artifact, recipe: Recipe) -> None:
    """Refuse shards that the recipe does not admit, or whose ids mean something else to the model or to tokenizers."""
    from medmax_pipeline.models.weights import tokenizer_digest
    from medmax_pipeline.shards.layout import INDEX, VOCABULARY
    from medmax_pipeline.tokens import PREPROCESSING
    from medmax_pipeline.training.refusals import refuse_credentialed, refuse_foreign, refuse_text_tokenizer

    if shards.manifest.credentialed and not recipe.mixture.admit_credentialed:
        raise ConfigError(
            f"shards/{recipe.name} holds credentialed samples, but {recipe.name}.toml does not admit them. Set "
            "mixture.admit_credentialed = true if you may train on them, or leave their sources out of the mixture."
        )
    refuse_credentialed(shards.folder / INDEX, recipe)
    refuse_text_tokenizer(shards.folder / VOCABULARY, ctx.inputs["text_tokenizer"].folder)
    image = tokenizer_digest(ctx.inputs["image_tokenizer"].folder, preprocessing=PREPROCESSING)
    refuse_foreign(shards.folder / VOCABULARY, ctx.inputs["base_model"].folder, image)
