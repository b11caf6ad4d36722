"""Weights as artifacts: image tokenizer, text tokenizer, base and similarity model, each a folder that steps load.

Where the files come from is the build's word (`Weights.kind`). Bringing published ones belongs to ingest (`weights/`
assets), converting them to `conversion.py`, making the shipped ones to `sample/weights.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from medmax_pipeline.config import Weights
from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.files import DIGESTS, DigestCache, Json, write_bytes
from medmax_pipeline.models.open_clip_libraries import missing_libraries
from medmax_pipeline.models.published import (
    ANOLE_7B,
    BIOMEDCLIP,
    CHAMELEON_7B,
    CLIP,
    MEDMAX_7B,
    TEXT_TOKENIZER,
    VQGAN,
)
from medmax_pipeline.models.weights import GEOMETRY, MODE, set_options
from medmax_pipeline.steps import Need, Outcome, Run, Step

SHIPPED = {"image_tokenizer": "vqgan", "text_tokenizer": "text", "similarity_model": "similarity"}
"""Folders below `sample/weights/`."""
FITTING = {
    "image_tokenizer": (VQGAN,),
    "text_tokenizer": (TEXT_TOKENIZER,),
    "base_model": (ANOLE_7B, CHAMELEON_7B, MEDMAX_7B),
    "similarity_model": (BIOMEDCLIP, CLIP),
}
"""Published weights that a build may name for each asset."""
DESCRIPTIONS = {
    "image_tokenizer": "VQGAN (encoder, codebook, decoder) that all pictures pass through.",
    "text_tokenizer": "Byte-level BPE with the published names of the special tokens.",
    "base_model": "The mixed-modal model before tuning.",
    "similarity_model": "Picture and text in one space, for similarity scores.",
}
WEIGHTS_VERSION = "1"
"""Raise when the layout of a weights folder changes."""
BASE_VERSION = "2"
"""Raise when the seeded initialisation gives other weights, or its folder other files."""


class Files(NamedTuple):
    """The verified files of a `weights/` input."""

    folder: Path
    names: tuple[str, ...]


def shipped_files(name: str) -> dict[str, bytes]:
    """The shipped files of an asset of `SHIPPED`, by name."""
    folder = resources.files("medmax_pipeline") / "sample" / "weights" / SHIPPED[name]
    return {item.name: item.read_bytes() for item in sorted(folder.iterdir(), key=lambda item: item.name)}


def _shipped_step(name: str, weights: Weights) -> Step:
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
        description=DESCRIPTIONS[name],
    )


def _digests(name: str) -> dict[str, Json]:
    """Digests of the shipped files: they are inputs, so a changed file must change the fingerprint."""
    from medmax_pipeline.files import sha256_bytes

    return {file: sha256_bytes(data) for file, data in shipped_files(name).items()}


def _check_kind(name: str, weights: Weights, *kinds: str) -> None:
    """Refuse weights that the asset cannot be made of.

    Raises:
        ConfigError: naming what could be.
    """
    fitting = [record.key for record in FITTING[name]]
    if weights.kind not in kinds:
        raise ConfigError(f"{name}: kind is {weights.kind!r}; expected one of {', '.join(map(repr, kinds))}.")
    if weights.tuning is not None:
        raise ConfigError(f"{name}: has a table tuning, but kind {weights.kind!r} is not tuned.")
    if name != "image_tokenizer" and options(weights):
        raise ConfigError(f"{name}: {', '.join(options(weights).values())}: only an image tokenizer has such options.")
    if weights.kind == "published" and weights.name not in fitting:
        raise ConfigError(f"{name}: name is {weights.name!r}; expected one of {', '.join(map(repr, fitting))}.")


def verified(run: Run, name: str) -> Files:
    """The files of `weights/<name>`, as they were verified.

    Raises:
        StoreError: a file has been changed since.
    """
    digests, names = DigestCache(run.store / DIGESTS), []
    folder = f"weights/{name}"
    for entry in run.inputs[folder].manifest.external:
        if digests.sha256(run.landing / entry.path) != entry.sha256:
            raise StoreError(f"{entry.path}: changed since it was verified. Materialise {folder} again.")
        names.append(entry.path.removeprefix(f"{folder}/"))
    return Files(run.landing / folder, tuple(names))


def image_tokenizer_step(weights: Weights) -> Step:
    """The VQGAN that turns a picture into codes and back."""
    _check_kind("image_tokenizer", weights, "sample", "published")
    step = _shipped_step("image_tokenizer", weights) if weights.kind == "sample" else _converted_step(weights)
    return with_options(step, weights)


def options(weights: Weights) -> dict[str, str]:
    """What the build asks of an image tokenizer beyond the usual, by the name of its configuration's field."""
    asked = {GEOMETRY: (weights.geometry, "centre_crop"), MODE: (weights.mode, "exact")}
    return {name: value for name, (value, usual) in asked.items() if value != usual}


def with_options(step: Step, weights: Weights) -> Step:
    """The step that makes an image tokenizer, its options written into the configuration that it publishes."""
    asked = options(weights)
    if not asked:
        return step

    def run(run: Run) -> Outcome:
        outcome = step.run(run)
        set_options(run.out, asked)
        return outcome

    return replace(step, run=run, params={**step.params, **asked})


def _converted_step(weights: Weights) -> Step:
    def run(run: Run) -> Outcome:
        from medmax_pipeline.models.conversion import convert_vqgan

        files = verified(run, weights.name)
        checkpoint = next(name for name in files.names if name.endswith(".ckpt"))
        return Outcome(summary=convert_vqgan(files.folder / checkpoint, run.out))

    return _published_step("image_tokenizer", weights, run)


def text_tokenizer_step(weights: Weights) -> Step:
    """The tokenizer whose vocabulary holds text pieces, image codes and marks."""
    _check_kind("text_tokenizer", weights, "sample", "published")
    if weights.kind == "sample":
        return _shipped_step("text_tokenizer", weights)

    def run(run: Run) -> Outcome:
        from medmax_pipeline.models.conversion import place_text_tokenizer

        files = verified(run, weights.name)
        first = next(item.path for item in TEXT_TOKENIZER.files if item.path in files.names)
        return Outcome(summary={"ids": place_text_tokenizer(files.folder / first, run.out)})

    return _published_step("text_tokenizer", weights, run)


def base_model_step(weights: Weights) -> Step:
    """The model before tuning: published, or an initialisation that depends on size and seed alone."""
    _check_kind("base_model", weights, "seeded", "published")
    if weights.kind == "seeded":
        return _seeded_step(weights)

    def run(run: Run) -> Outcome:
        from medmax_pipeline.models.conversion import place_chameleon

        files, text = verified(run, weights.name), run.inputs["text_tokenizer"].folder
        if any(name.endswith(".pth") for name in files.names):
            from medmax_pipeline.models.original_format_files import read_original

            return Outcome(summary={"parameters": read_original(files.folder, run.out, text).parameters})
        return Outcome(summary={"parameters": place_chameleon(files.folder, files.names, text, run.out)})

    return _published_step("base_model", weights, run, Need("text_tokenizer"))


def similarity_model_step(weights: Weights) -> Step:
    """The network behind similarity scores; BiomedCLIP is locked where its libraries do not import."""
    _check_kind("similarity_model", weights, "sample", "published")
    if weights.kind == "sample":
        return _shipped_step("similarity_model", weights)

    def run(run: Run) -> Outcome:
        from medmax_pipeline.models.conversion import place_similarity

        files = verified(run, weights.name)
        return Outcome(summary=place_similarity(files.folder, files.names, weights.name, run.out))

    step = _published_step("similarity_model", weights, run)
    return replace(step, lock=lambda landing: missing_libraries()) if weights.name == BIOMEDCLIP.key else step


def _published_step(name: str, weights: Weights, run: Any, *needs: Need) -> Step:
    return Step(
        name,
        run,
        WEIGHTS_VERSION,
        needs=(Need(f"weights/{weights.name}"), *needs),
        params={"kind": weights.kind, "name": weights.name},
        group="weights",
        description=DESCRIPTIONS[name],
    )


def _seeded_step(weights: Weights) -> Step:
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
        description=DESCRIPTIONS["base_model"],
    )
