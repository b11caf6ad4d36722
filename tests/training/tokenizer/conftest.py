"""A tiny image tokenizer that knows nothing yet, and drawn pictures in a real landing folder to tune it on."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageDraw

from medmax_pipeline.arrow import IMAGE_SCHEMA
from medmax_pipeline.config import TokenizerTuning
from medmax_pipeline.files import sha256_bytes, write_bytes, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.training.group import Group
from medmax_pipeline.training.tokenizer.job import PICTURE_SCHEMA, Job
from medmax_pipeline.training.tokenizer.loop import tune
from tests.tokens.small import write_vqgan

ALONE = Group(0, 1, "cpu")
SOURCE = "drawn"


def drawn(number: int) -> bytes:
    """A PNG of a disc on a shaded ground: 24 x 20 px, no two alike."""
    chance = np.random.default_rng(number)
    image = Image.new("RGB", (24, 20), tuple(int(level) for level in chance.integers(0, 120, 3)))
    left, top, side = (int(value) for value in chance.integers((2, 2, 6), (10, 8, 12)))
    colour = tuple(int(level) for level in chance.integers(120, 256, 3))
    ImageDraw.Draw(image).ellipse((left, top, left + side, top + side), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def place_pictures(landing: Path, folder: str, files: Sequence[bytes]) -> pa.Table:
    """Write picture files and the lines of `images.parquet` that say where they lie."""
    rows = []
    for data in files:
        image_id = sha256_bytes(data)
        write_bytes(landing / folder / f"{image_id[:8]}.png", data)
        place = {"folder": folder, "file": f"{image_id[:8]}.png", "member": "", "kind": "loose", "bytes": len(data)}
        numbers = {"offset": 0, "packed": 0, "crc": 0}
        rows.append(dict.fromkeys(IMAGE_SCHEMA.names) | {"image_id": image_id, "source": folder} | place | numbers)
    return pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA)


def tuning_of(**changes: Any) -> TokenizerTuning:
    """A short tuning at a rate that a network without knowledge learns by: 24 pictures, 6 a step."""
    values: dict[str, Any] = {
        "batch": 6,
        "epochs": 3.0,
        "base_lr": 5e-4,
        "adversarial_start": 6,
        "discriminator_layers": 2,
        "discriminator_width": 8,
        "checkpoint_steps": 4,
    }
    return TokenizerTuning(**(values | changes))


@pytest.fixture(autouse=True)
def as_found() -> Any:
    """Tuning sets torch up for itself; other tests find it as it was."""
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vqgan/ and landing/ with 28 pictures, 4 of them held out; nobody writes into it."""
    root = tmp_path_factory.mktemp("pictures")
    write_vqgan(root / "vqgan")
    table = place_pictures(root / "landing", SOURCE, [drawn(number) for number in range(28)])
    write_table(root / "images.parquet", table)
    ids = sorted(table["image_id"].to_pylist())
    columns = {"image_id": ids, "held_out": [number % 7 == 0 for number in range(28)]}
    write_table(root / "pictures.parquet", pa.table(columns, schema=PICTURE_SCHEMA))
    return root


@pytest.fixture
def make_job(world: Path, tmp_path: Path) -> Callable[..., Job]:
    """A job on the drawn pictures, with folders of its own."""

    def make(name: str = "run", **changes: Any) -> Job:
        return Job(
            tuning=tuning_of(**changes),
            base=str(world / "vqgan"),
            landing=str(world / "landing"),
            images=(str(world / "images.parquet"),),
            pictures=str(world / "pictures.parquet"),
            out=str(tmp_path / name / "out"),
            work=str(tmp_path / name / "work"),
            device="cpu",
            readers=2,
            log_steps=4,
        )

    return make


def run(job: Job, log: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Tune in this process; the card."""
    with ImageReader(Path(job.landing), [Path(path) for path in job.images]) as reader:
        return tune(job, reader, ALONE, log)
