"""Make the shipped sample weights again: `python -m medmax_pipeline.sample.weights [--out DIR]`.

All three learn from the corpus's training split alone and are used like published weights afterwards. How they learn
is `train_vqgan.py`, `train_text.py` and `train_similarity.py`; a card beside each says from what, how, and how well. No
pixel and no text of the corpus is written here but the pieces of words that tokenizers learnt.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medmax_pipeline.files import DIGESTS, DigestCache, digest_of, remove_tree, write_json, write_text
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.opened import SourceFiles
from medmax_pipeline.ingest.places import SEEK, Files
from medmax_pipeline.ingest.raw import index_source
from medmax_pipeline.ingest.samples import adapt_row
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.records import IMAGE, Draft
from medmax_pipeline.sample.corpus import lay_out
from medmax_pipeline.sample.pictures import Picture, pictures
from medmax_pipeline.sample.train_text import TEXT_PIECES, train_text_tokenizer
from medmax_pipeline.sample.train_vqgan import (
    CODEBOOK_SIZE,
    RESOLUTION_PX,
    Schedule,
    fidelity,
    square,
    to_pixels,
    train,
)
from medmax_pipeline.sources import SOURCES

SEED = 20240
SHIPPED = Path(__file__).with_name("weights")
"""Where the shipped weights lie: `vqgan/`, `text/` and `similarity/`."""
CARD = "card.json"
LICENCE = "Apache-2.0"
PROVENANCE = (
    "Made from pictures whose licences are CC0, public domain or permissive (classes A and B of sample/packaged.py) "
    "and from pictures and texts drawn by sample/. The files hold weights and pieces of words; no picture is shipped."
)


TEXT_SOURCES = ("vqa_rad", "pmc_oa", "mimic_cxr")
"""Whose training rows the text tokenizer learns from."""


def training_texts(landing: Path, sources: Sequence[str] = TEXT_SOURCES) -> Iterator[str]:
    """Every turn of the corpus's training rows, as the sources' own adapters read them.

    Args:
        landing: where `corpus.lay_out` has laid out the sources.
        sources: whose rows.
    """
    for key in sources:
        source = SOURCES[key]
        with tempfile.TemporaryDirectory() as held, Files(landing / source.folder, Path(held) / SEEK) as files:
            index_source(source, landing, Path(held), DigestCache(Path(held) / DIGESTS), lambda line: None)
            for row in source.rows(SourceFiles(Index(Path(held)), files)):
                for unit in adapt_row(source, row):
                    if isinstance(unit.made, Draft) and unit.made.split == "train":
                        yield from (turn.text.replace(IMAGE, "") for turn in unit.made.turns)


def make_vqgan(folder: Path, schedule: Schedule, seed: int, log: Callable[[str], None]) -> None:
    """Train the image tokenizer on the training pictures and write it with its card."""
    import torch

    torch.set_num_threads(1)  # the sums of one thread come out the same on every run
    training = list(pictures("train"))
    model = train([each.image() for each in training], [each.modality for each in training], seed, schedule, log)
    remove_tree(folder)
    model.save(folder)
    write_json(folder / CARD, vqgan_card(model, schedule, seed, log))


def vqgan_card(model: VQGAN, schedule: Schedule, seed: int, log: Callable[[str], None]) -> dict[str, Any]:
    """How the image tokenizer was made and how well it reproduces the pictures of both splits."""
    import torch

    training = list(pictures("train"))
    figures: dict[str, Any] = {}
    for name, group in (("train", training), ("eval", list(pictures("eval")))):
        psnr_db, used = fidelity(model, _squares(group))
        figures |= {f"psnr_{name}_db": round(psnr_db, 2), f"codes_used_{name}": used, f"pictures_{name}": len(group)}
        log(f"{name}: {psnr_db:.2f} dB on {len(group)} pictures, {used} of {CODEBOOK_SIZE} codes")
    card = {
        "what": f"VQGAN of the sample build: {RESOLUTION_PX} x {RESOLUTION_PX} pixels, {model.codes_per_image} codes",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "schedule": asdict(schedule),
        "torch": torch.__version__,
        "pictures": _origins(training),
    }
    return card | figures | _common(seed)


def make_text_tokenizer(folder: Path, log: Callable[[str], None]) -> None:
    """Train the text tokenizer on the training texts and write it with its card."""
    with tempfile.TemporaryDirectory() as landing:
        lay_out(Path(landing), log)
        texts = list(training_texts(Path(landing)))
    remove_tree(folder)
    write_text(folder / "tokenizer.json", train_text_tokenizer(texts, CODEBOOK_SIZE))
    card = {
        "what": f"byte-level BPE of at most {TEXT_PIECES} pieces under the published names of special tokens",
        "texts": len(texts),
        "characters": sum(map(len, texts)),
        "texts_digest": digest_of(texts),
    }
    write_json(folder / CARD, card | _common(None))
    log(f"text tokenizer from {len(texts):,} texts")


def make_similarity_model(folder: Path, seed: int, log: Callable[[str], None]) -> None:
    """Train the similarity model on the training pairs and write it with its card."""
    from medmax_pipeline.sample.similarity_weights import make_similarity
    from medmax_pipeline.sample.train_similarity import Schedule

    write_json(folder / CARD, make_similarity(folder, Schedule(), seed, log) | _common(seed))


def _squares(group: Sequence[Picture]) -> Any:
    import numpy as np

    return to_pixels(np.stack([square(each.image(), RESOLUTION_PX) for each in group]))


def _origins(group: Sequence[Picture]) -> dict[str, Any]:
    """The package files that training pictures were cut from, with digests, and how many pictures were drawn."""
    files = {each.source for each in group if each.source is not None}
    return {
        "files": {f"{file.package}:{file.path}": file.sha256 for file in sorted(files, key=lambda file: file.name)},
        "licences": sorted({file.licence for file in files}),
        "drawn": sum(each.source is None for each in group),
    }


def _common(seed: int | None) -> dict[str, Any]:
    return {
        "licence": LICENCE,
        "provenance": PROVENANCE,
        "made_by": "python -m medmax_pipeline.sample.weights",
        "seed": seed,
    }


def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m medmax_pipeline.sample.weights", description=__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the folders go; the package by default")
    parser.add_argument("--only", choices=("vqgan", "text", "similarity"), help="make one of the three")
    chosen = parser.parse_args(arguments)
    if chosen.only in (None, "text"):
        make_text_tokenizer(chosen.out / "text", print)
    if chosen.only in (None, "vqgan"):
        make_vqgan(chosen.out / "vqgan", Schedule(), SEED, print)
    if chosen.only in (None, "similarity"):
        make_similarity_model(chosen.out / "similarity", SEED, print)


if __name__ == "__main__":
    main(sys.argv[1:])
