"""Tiny weights for the tests of this room: random, seeded, with the published names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import ChameleonVQVAEConfig

from medmax_pipeline.files import write_text
from medmax_pipeline.models.chameleon import MixedModalChameleon, seeded_base
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.sample.train_text import train_text_tokenizer
from medmax_pipeline.tokens.vocabulary import Vocabulary, vocabulary_of

SIZE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 160,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small products run faster alone, and the same way each time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def vqgan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random image tokenizer: 16 x 16 pixels, 4 x 4 codes of 24."""
    config = ChameleonVQVAEConfig(
        resolution=16,
        base_channels=32,
        channel_multiplier=[1, 1, 2],
        num_res_blocks=1,
        latent_channels=32,
        embed_dim=8,
        num_embeddings=24,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = VQGAN(config).eval()
        torch.nn.init.normal_(model.quantize.embedding.weight, std=0.05)
    folder = tmp_path_factory.mktemp("weights") / "vqgan"
    model.save(folder)
    return folder


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text tokenizer of a few words that names 24 codes."""
    texts = ["is this a chest radiograph? yes", "is there an effusion? no", "a lymph node by ultrasound"] * 5
    folder = tmp_path_factory.mktemp("text")
    write_text(folder / "tokenizer.json", train_text_tokenizer(texts, codebook_size=24, pieces=300))
    return folder


@pytest.fixture(scope="session")
def vocabulary(text_folder: Path, vqgan_folder: Path) -> Vocabulary:
    """The ids of the two."""
    return vocabulary_of(text_folder, vqgan_folder)


@pytest.fixture(scope="session")
def model(text_folder: Path, vqgan_folder: Path) -> MixedModalChameleon:
    """A random transformer of two layers, its weights larger than usual so that answers are not near ties."""
    made = seeded_base(text_folder, vqgan_folder, SIZE, seed=1)
    with torch.no_grad():
        for parameter in [*made.model.layers.parameters(), made.lm_head.weight, made.model.embed_tokens.weight]:
            if parameter.dim() > 1 and parameter.shape[0] != SIZE["num_attention_heads"]:
                parameter.mul_(8.0)
    return made


@pytest.fixture
def questions(vocabulary: Vocabulary) -> list[list[int]]:
    """Twelve: four on each of two pictures, three without one, and one with two pictures."""
    generator = torch.Generator().manual_seed(6)

    def text(length: int) -> list[int]:
        drawn = torch.randint(len(vocabulary.text_ids), (length,), generator=generator)
        return list(vocabulary.text_ids[drawn.numpy()].tolist())

    codes = torch.randint(vocabulary.codebook_size, (3, vocabulary.codes_per_image), generator=generator)
    shown = [[vocabulary.boi, *(row + vocabulary.first_code).tolist(), vocabulary.eoi] for row in codes]
    pictures = [shown[0]] * 4 + [[]] * 3 + [shown[1]] * 4 + [shown[0] + shown[2]]
    return [
        [vocabulary.bos, *picture, *text(2 + 5 * number % 13), vocabulary.sep]
        for number, picture in enumerate(pictures)
    ]


def ids_run(model: MixedModalChameleon, work: Callable[[], object]) -> int:
    """How many ids go through the network, padding included."""
    seen: list[int] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, given, __: seen.append(given[0].numel()))
    try:
        work()
    finally:
        hook.remove()
    return sum(seen)
