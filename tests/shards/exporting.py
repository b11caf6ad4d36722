"""A small build with open and credentialed shards, ready to be exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medmax_pipeline.config import Adapter, Mixture, Packing, Recipe, Schedule
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.shards.steps import shards_step
from medmax_pipeline.tokens.steps import image_codes_step
from tests.tokens.line import Line
from tests.tokens.small import picture, sample, write_tokenizer, write_vqgan

SOURCES = ["vqa_rad", "quilt_instruct", "mimic_cxr"]
OPEN, SECRET = [picture(number) for number in range(4)], picture(9)
SECRET_WORDS = "left lower lobe of one certain person"
KEY, SECRET_KEY = "shards/mixed", "shards/secret"


def recipe(name: str, *required: str) -> Recipe:
    """A recipe that admits everything."""
    return Recipe(
        name=name,
        mixture=Mixture(required=required, repeat={required[0]: 2}, admit_credentialed=True),
        packing=Packing(token_budget=200, max_sequences=4, max_sequence=150),
        adapter=Adapter(kind="full"),
        schedule=Schedule(epochs=1, peak_lr=1e-3),
    )


def build(folder: Path) -> Ledger:
    """Questions with two pictures and with none, one open row that shows a credentialed picture, and credentialed rows.

    The credentialed rows' words and picture are planted: nothing of them may come out.
    """
    weights = folder / "weights"
    write_vqgan(weights / "vqgan")
    write_tokenizer(weights / "text")
    ids = [sha256_bytes(data) for data in OPEN]
    secret = sha256_bytes(SECRET)
    rad = [sample(number, source="vqa_rad", images=(ids[number], ids[3])) for number in range(3)]
    rad += [sample(9, source="vqa_rad"), sample(10, source="vqa_rad", images=(secret,), reply=SECRET_WORDS)]
    quilt = [replace(sample(number, source="quilt_instruct"), licence="CC-BY-NC-ND-3.0") for number in range(2)]
    cxr = [
        sample(number, source="mimic_cxr", images=(secret,), credentialed=True, reply=SECRET_WORDS)
        for number in range(3)
    ]
    files = {"vqa_rad": OPEN, "quilt_instruct": [], "mimic_cxr": [SECRET]}
    line = Line(weights, {"vqa_rad": rad, "quilt_instruct": quilt, "mimic_cxr": cxr}, files)
    steps = [
        image_codes_step(SOURCES, SOURCES),
        shards_step(recipe("mixed", *SOURCES), SOURCES),
        shards_step(recipe("secret", "mimic_cxr"), SOURCES),
    ]
    ledger, _ = line.run(folder / "store", steps)
    return ledger
