"""Weights as artifacts: image tokenizer, text tokenizer and base model, each a folder that later steps load.

Where the files come from is the build's word (`Weights.kind`). Fetching published weights belongs to ingest; making
the shipped ones to `sample/weights.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from medmax_pipeline.config import Weights
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import Json, write_bytes
from medmax_pipeline.steps import Need, Outcome, Run, Step

SHIPPED = {"image_tokenizer": "vqgan", "text_tokenizer": "text"}
"""Folders below `sample/weights/`."""
WEIGHTS_VERSION = "1"
"""Raise when the layout of a weights folder changes."""
BASE_VERSION = "1"
"""Raise when the seeded initialisation gives other weights."""


def shipped_files(name: str) -> dict[str, bytes]:
    """The shipped files of `image_tokenizer` or `text_tokenizer`, by name."""
    folder = resources.files("medmax_pipeline") / "sample" / "weights" / SHIPPED[name]
    return {item.name: item.read_bytes() for item in sorted(folder.iterdir(), key=lambda item: item.name)}


def _shipped_step(name: str, weights: Weights, description: str) -> Step:
    if weights.kind != "sample":
        raise ConfigError(f"{name}: kind is {weights.kind!r}; only 'sample' weights can be had in this version.")

    def run(run: Run) -> Outcome:
        files = shipped_files(name)
        for file, data in files.items():
            write_bytes(run.out / file, data)
        card: Mapping[str, Any] = json.loads(files.get("card.json", b"{}"))
        figures: dict[str, Json] = {key: value for key, value in card.items() if isinstance(value, int | float | str)}
        return Outcome(licences=("Apache-2.0",), credentialed=False, revision="shipped", summary=figures)

    return Step(
        name,
        run,
        WEIGHTS_VERSION,
        params={"kind": weights.kind, "files": _digests(name)},
        group="weights",
        description=description,
    )


def _digests(name: str) -> dict[str, Json]:
    """Digests of the shipped files: they are inputs, so a changed file must change the fingerprint."""
    from medmax_pipeline.files import sha256_bytes

    return {file: sha256_bytes(data) for file, data in shipped_files(name).items()}


def image_tokenizer_step(weights: Weights) -> Step:
    """The VQGAN that turns a picture into codes and back."""
    return _shipped_step(
        "image_tokenizer", weights, "VQGAN (encoder, codebook, decoder) that all pictures pass through."
    )


def text_tokenizer_step(weights: Weights) -> Step:
    """The tokenizer whose vocabulary holds text pieces, image codes and marks."""
    return _shipped_step("text_tokenizer", weights, "Byte-level BPE with the published names of the special tokens.")


def base_model_step(weights: Weights) -> Step:
    """The model before tuning: for `seeded`, an initialisation that depends on size and seed alone."""
    if weights.kind != "seeded":
        raise ConfigError(f"base_model: kind is {weights.kind!r}; only a 'seeded' base can be made in this version.")

    def run(run: Run) -> Outcome:
        from medmax_pipeline.models.chameleon import seeded_base

        text, image = run.inputs["text_tokenizer"].folder, run.inputs["image_tokenizer"].folder
        model = seeded_base(text, image, size=dict(weights.size), seed=weights.seed)
        model.save(run.out, text)
        count = sum(parameter.numel() for parameter in model.parameters())
        return Outcome(summary={"parameters": count})

    return Step(
        "base_model",
        run,
        BASE_VERSION,
        needs=(Need("text_tokenizer"), Need("image_tokenizer")),
        params={"kind": weights.kind, "size": dict(weights.size), "seed": weights.seed},
        group="weights",
        description="The mixed-modal model before tuning.",
    )
