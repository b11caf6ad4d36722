"""A tiny world to train in: an image tokenizer of 16 codes, words as tokens, a seeded base, interleaved samples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import ChameleonVQVAEConfig

from medmax_pipeline.config import Recipe
from medmax_pipeline.files import write_json
from medmax_pipeline.models.chameleon import MixedModalChameleon, seeded_base
from medmax_pipeline.models.codebook import codebook_digest
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.shards.layout import VOCABULARY, vocabulary_record
from medmax_pipeline.shards.writer import Entry, write_shards
from medmax_pipeline.strict import read_record
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.sequence import Sequence as TokenSequence
from medmax_pipeline.tokens.sequence import Span
from medmax_pipeline.tokens.vocabulary import Vocabulary, code_name, vocabulary_of
from medmax_pipeline.training.job import Job

CODES = 16
WORDS = 40
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}


@dataclass(frozen=True)
class World:
    """Folders, and what is needed to make samples for them."""

    root: Path
    base: Path
    text: Path
    vocabulary: Vocabulary


def tiny_vqgan() -> VQGAN:
    """The world's image tokenizer, the same whenever it is made."""
    config = ChameleonVQVAEConfig(
        base_channels=32, channel_multiplier=[1, 1], num_res_blocks=1, resolution=4, latent_channels=8, embed_dim=8,
        num_embeddings=CODES, attn_type="vanilla",
    )  # fmt: skip
    torch.manual_seed(0)
    return VQGAN(config)


@lru_cache(maxsize=1)
def image_digests() -> tuple[str, str]:
    """Of the world's image tokenizer: its digest and its codebook's."""
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held) / "image"
        tiny_vqgan().save(folder)
        return tokenizer_digest(folder, preprocessing=PREPROCESSING), codebook_digest(folder)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One tiny world for all tests here; nobody writes into its folders."""
    root = tmp_path_factory.mktemp("world")
    names = ["<s>", "<pad>", "</s>", "<unk>", *(code_name(code) for code in range(CODES))]
    names += ["<eoss>", "<racm3:break>", "<reserved08706>", "<image>", *(f"word{number}" for number in range(WORDS))]
    text = root / "text"
    text.mkdir()
    Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>")).save(
        str(text / "tokenizer.json")
    )
    tiny_vqgan().save(root / "image")
    seeded_base(text, root / "image", SIZE, 0).save(root / "base", text_folder=text)
    return World(root, root / "base", text, vocabulary_of(text, root / "image"))


def sequences(vocabulary: Vocabulary, count: int, seed: int) -> list[TokenSequence]:
    """Interleaved samples: half show a picture and answer in words, half are asked for one and answer with both."""
    chance = np.random.default_rng(seed)
    voc = vocabulary
    first_word = voc.image_placeholder + 1
    made = []
    for number in range(count):
        words = list(chance.integers(first_word, first_word + WORDS, int(chance.integers(3, 9))))
        codes = chance.integers(voc.first_code, voc.first_code + CODES, voc.codes_per_image)
        picture = [voc.boi, *codes, voc.eoi]
        prompt, reply = (picture + words[:2], words[2:]) if number % 2 else (words[:2], [*words[2:], *picture])
        ids = [voc.bos, *prompt, voc.sep, *reply, voc.eos]
        spans = (Span(len(prompt) + 2, len(ids)),)
        made.append(TokenSequence(np.array(ids, dtype=np.uint16), spans))
    return made


def shards_of(folder: Path, vocabulary: Vocabulary, packs: Sequence[Sequence[TokenSequence]]) -> Path:
    """Publishable shards of these packs."""
    folder.mkdir(parents=True)
    entries = [
        [Entry(f"{i:016x}{j:016x}", "pmc_oa", "captioning", "CC-BY-4.0", False, item) for j, item in enumerate(pack)]
        for i, pack in enumerate(packs)
    ]
    write_shards(folder, entries)
    write_json(folder / VOCABULARY, vocabulary_record(vocabulary, *image_digests()))
    return folder


def recipe_of(**changes: Any) -> Recipe:
    """A short recipe; `adapter` and `schedule` are changed key by key."""
    value: dict[str, Any] = {
        "name": "tiny",
        "mixture": {"required": ["pmc_oa"]},
        "packing": {"token_budget": 128, "max_sequences": 8, "max_sequence": 64},
        "adapter": {"kind": "full"},
        "schedule": {"epochs": 6, "peak_lr": 3e-3, "checkpoint_steps": 4},
    }
    for name, change in changes.items():
        value[name] = {**value[name], **change} if isinstance(change, dict) else change
    return read_record(Recipe, value, "tiny.toml")


@pytest.fixture
def make_job(world: World, tmp_path: Path) -> Callable[..., Job]:
    """A job on four packs of three samples, with folders of its own."""

    def make(name: str = "run", **changes: Any) -> Job:
        shards = tmp_path / "shards"
        if not shards.exists():
            items = sequences(world.vocabulary, 12, 1)
            shards_of(shards, world.vocabulary, [items[start : start + 3] for start in range(0, 12, 3)])
        out, work = tmp_path / name / "out", tmp_path / name / "work"
        return Job(
            recipe=recipe_of(**changes),
            shards=str(shards),
            base=str(world.base),
            out=str(out),
            work=str(work),
            threads=1,
        )

    return make


@pytest.fixture
def model(world: World) -> MixedModalChameleon:
    """The base, freshly loaded."""
    return MixedModalChameleon.load(world.base)
