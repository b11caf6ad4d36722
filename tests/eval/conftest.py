"""A tiny random model with its tokenizers, a few samples and their codes: everything an evaluation reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ChameleonVQVAEConfig

from medmax_pipeline.arrow import samples_to_table
from medmax_pipeline.config import Endpoint
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.job import Job, TaskJob
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.files import digest_of, sha256_bytes, write_table, write_text
from medmax_pipeline.models.chameleon import seeded_base
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.records import Kind, Origin, Sample, Split, Turn
from medmax_pipeline.sample.train_text import train_text_tokenizer
from medmax_pipeline.tokens.store import CodeStore

SIZE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 160,
}
CODES = 16
CODEBOOK = 24
CAPTIONS = ("axial ct of the chest", "a lymph node by ultrasound", "a retina", "no lesion is seen")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small products run faster alone, and the same way each time."""
    torch.set_num_threads(1)


def image_id(name: str) -> str:
    """A content hash."""
    return sha256_bytes(name.encode())


def sample(
    number: int,
    *,
    source: str = "vqa_rad",
    kind: Kind = "vqa_closed",
    text: str = "<image>is this a chest radiograph?",
    answer: str = "yes",
    image: str = "one",
    split: Split = "eval",
    credentialed: bool = False,
) -> Sample:
    """A sample whose id is the digest of its number."""
    return Sample(
        sample_id=digest_of([source, number])[:32],
        source=source,
        split=split,
        kind=kind,
        turns=(Turn("user", text), Turn("assistant", answer)),
        images=(image_id(image),),
        options=(),
        answer=answer,
        answer_type="",
        modality="",
        context="",
        licence="CC0-1.0",
        credentialed=credentialed,
        origin=Origin("file.json", "0" * 64, number),
        extra="{}",
    )


CLOSED = [sample(n, answer="yes" if n % 3 else "no", image=f"picture{n // 4}") for n in range(20)]
CAPTIONED = [
    sample(n, source="pmc_oa", kind="captioning", answer=CAPTIONS[n % 4], image=f"figure{n}", text="<image>Describe.")
    for n in range(10)
]


OPEN = [
    sample(60 + n, kind="vqa_open", text="<image>what is shown?", answer=CAPTIONS[n % 4], image=f"picture{n % 3}")
    for n in range(7)
]
JUDGE = Endpoint(kind="sample", model="sample_judge")
"""The judge of the embedded build: rules, no network."""


@dataclass(frozen=True)
class World:
    """Folders of one tiny model and what it is asked."""

    root: Path
    model: Path
    text: Path
    vqgan: Path
    codes: Path
    samples: Mapping[str, Path]

    def job(
        self, at: Path, *tasks: str, limit: int | None = None, model_name: str = "tiny", judge: Endpoint | None = None
    ) -> Job:
        """A job that works and writes below `at`."""
        return Job(
            model_name=model_name,
            model=str(self.model),
            text_tokenizer=str(self.text),
            image_tokenizer=str(self.vqgan),
            codes=str(self.codes),
            device="cpu",
            judge=judge,
            replies=str(at / "replies"),
            tasks=tuple(
                TaskJob(
                    task=task,
                    samples=(str(self.samples["vqa_rad" if task.startswith("vqa_rad") else "pmc_oa"]),),
                    seed=0,
                    limit=limit,
                    work=str(at / "work" / task),
                    out=str(at / "out" / task),
                )
                for task in tasks
            ),
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Weights with the published names, closed and open questions, captions, and codes of all their pictures."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("world")
    config = ChameleonVQVAEConfig(
        resolution=16,
        base_channels=32,
        channel_multiplier=[1, 1, 2],
        num_res_blocks=1,
        latent_channels=32,
        embed_dim=8,
        num_embeddings=CODEBOOK,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vqgan = VQGAN(config).eval()
        torch.nn.init.normal_(vqgan.quantize.embedding.weight, std=0.05)
    vqgan.save(root / "vqgan")
    texts = ["is this a chest radiograph? yes", "is there an effusion? no", *CAPTIONS] * 5
    write_text(root / "text" / "tokenizer.json", train_text_tokenizer(texts, codebook_size=CODEBOOK, pieces=300))
    model = seeded_base(root / "text", root / "vqgan", SIZE, seed=1)
    with torch.no_grad():
        for parameter in [*model.model.layers.parameters(), model.lm_head.weight, model.model.embed_tokens.weight]:
            if parameter.dim() > 1 and parameter.shape[0] != SIZE["num_attention_heads"]:
                parameter.mul_(8.0)  # larger than usual, so that answers are no near ties
    model.save(root / "model", text_folder=root / "text")
    paths = {"vqa_rad": root / "vqa_rad" / "samples.parquet", "pmc_oa": root / "pmc_oa" / "samples.parquet"}
    extra = [sample(99, split="train"), sample(98, kind="vqa_mcq")]
    write_table(paths["vqa_rad"], samples_to_table([*CLOSED, *OPEN, *extra]))
    write_table(paths["pmc_oa"], samples_to_table(CAPTIONED))
    images = sorted({image for each in (*CLOSED, *CAPTIONED) for image in each.images})
    drawn = np.random.default_rng(0).integers(0, CODEBOOK, (len(images), CODES))
    CodeStore(root / "codes", CODES).add(images, drawn, credentialed=False)
    return World(root, root / "model", root / "text", root / "vqgan", root / "codes", paths)


@pytest.fixture(scope="session")
def engine(world: World) -> Engine:
    """The model of the world, loaded."""
    return Engine.load(world.model, world.text, world.vqgan)


def record(
    number: int, correct: bool | None, *, cluster: str = "", reference: str = "yes", **more: object
) -> ItemRecord:
    """A record of a closed item with its verdict under all three readings."""
    value = None if correct is None else float(correct)
    fields: dict[str, object] = {
        "task": "vqa_rad/closed",
        "model": "tiny",
        "item_id": digest_of(number)[:32],
        "image_ids": (image_id(cluster),),
        "cluster": cluster or str(number),
        "credentialed": False,
        "prompt": "<image>is it?",
        "reference": reference,
        "correct_strict": correct,
        "correct_compat": correct,
        "unscored": "" if correct is not None else "image_without_codes",
        "metrics": dict.fromkeys(("accuracy_strict", "accuracy_parsed", "accuracy_compat"), value),
    }
    return ItemRecord(**(fields | more))  # type: ignore[arg-type]
