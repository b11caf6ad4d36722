"""Small stand-ins of the published shapes: a byte-level tokenizer with the published names, a VQGAN, samples."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.records import Kind, Origin, Sample, Split, Turn
from medmax_pipeline.tokens.sequence import Sequencer
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import Vocabulary, code_name, read_vocabulary

CODES = 24
"""K of the small codebook."""
N = 4
"""Codes of an image where no VQGAN is at hand."""
VQGAN_N = 16
"""Codes of an image of the small VQGAN (16 x 16 pixels)."""


def special_names(codebook_size: int = CODES) -> list[str]:
    """Names in the order of their ids, as published: four, the codes, two, the separator, the placeholder."""
    codes = [code_name(code) for code in range(codebook_size)]
    return ["<s>", "<pad>", "</s>", "<unk>", *codes, "<eoss>", "<racm3:break>", "<reserved08706>", "<image>"]


def write_tokenizer(folder: Path, names: Sequence[str] | None = None) -> Path:
    """A `tokenizer.json` of single bytes and a few merges, in `folder`."""
    names = special_names() if names is None else names
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the", "<="]
    vocab = {name: index for index, name in enumerate([*names, *pieces])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("t", "h"), ("th", "e"), ("<", "=")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def edit_tokenizer(folder: Path, **changes: Any) -> Path:
    """A written tokenizer whose JSON has other values at the top; `vocab` replaces the model's."""
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    if "vocab" in changes:
        value["model"]["vocab"] = changes.pop("vocab")
    path.write_text(json.dumps(value | changes))
    return path


def make_sequencer(folder: Path, codes_per_image: int = N) -> Sequencer:
    """A sequencer over the small tokenizer."""
    vocabulary = make_vocabulary(folder, codes_per_image)
    return Sequencer(vocabulary, TextTokenizer(folder, vocabulary))


def make_vocabulary(folder: Path, codes_per_image: int = N) -> Vocabulary:
    """The small tokenizer's vocabulary; writes the tokenizer."""
    return read_vocabulary(write_tokenizer(folder), codes_per_image)


def write_vqgan(folder: Path) -> Path:
    """A random VQGAN with 16 x 16 pixels, 16 codes an image and 24 in the codebook."""
    import torch
    from transformers import ChameleonVQVAEConfig

    from medmax_pipeline.models.vqgan import VQGAN

    config = ChameleonVQVAEConfig(
        embed_dim=8,
        num_embeddings=CODES,
        latent_channels=8,
        resolution=16,
        base_channels=32,
        channel_multiplier=[1, 1, 1],
        num_res_blocks=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VQGAN(config)
        with torch.no_grad():
            model.quantize.embedding.weight.copy_(torch.randn(CODES, 8) * 0.05)
        model.save(folder)
    return folder


def picture(number: int, size: tuple[int, int] = (24, 20)) -> bytes:
    """A PNG of seeded noise over a slope: no two numbers give the same bytes."""
    generator = np.random.default_rng(number)
    slope = np.linspace(0, 160, size[0])[None, :, None]
    pixels = slope + generator.integers(0, 90, (size[1], size[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def image_id(number: int) -> str:
    """An invented image id."""
    return sha256_bytes(f"image {number}".encode())


def random_codes(number: int, count: int = N) -> npt.NDArray[np.int64]:
    """Seeded codes of one image."""
    return np.random.default_rng(number).integers(0, CODES, count)


def sample(
    number: int,
    *,
    images: tuple[str, ...] = (),
    source: str = "vqa",
    split: Split = "train",
    kind: Kind = "vqa_open",
    credentialed: bool = False,
    question: str = "",
    reply: str = "",
) -> Sample:
    """A sample of one question whose pictures come first."""
    marks = "<image>" * len(images)
    turns = (Turn("user", f"{marks}{question or f'What is {number}?'}"), Turn("assistant", reply or f"It is {number}."))
    return Sample(
        sample_id=sha256_bytes(f"{source} {number}".encode())[:32],
        source=source,
        split=split,
        kind=kind,
        turns=turns,
        images=images,
        options=(),
        answer="",
        answer_type="",
        modality="",
        context="",
        licence="CC0-1.0" if not credentialed else "PhysioNet",
        credentialed=credentialed,
        origin=Origin("train.json", "0" * 64, number),
        extra="{}",
    )
