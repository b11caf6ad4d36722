"""The sample's small CLIP from pairs to shipped files, and what its card says of it on pictures it never saw.

How it learns is `train_similarity.py`, from which pairs `pairs.py`. Shipped in half precision, loaded in float32; what
the card tells is measured on the shipped files.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from tokenizers import Tokenizer

from medmax_pipeline.curation.figure_prompts import PROMPTS
from medmax_pipeline.curation.figure_scores import Scorer
from medmax_pipeline.files import digest_of, remove_tree, sha256_bytes, write_bytes, write_json, write_text
from medmax_pipeline.models.similarity import Similarity, open_similarity
from medmax_pipeline.models.similarity_files import CARD, PREPROCESSOR, TOKENIZER
from medmax_pipeline.models.weights import CONFIG, STATE
from medmax_pipeline.sample.charts import HELD_OUT, TRAINED, chart, chart_texts
from medmax_pipeline.sample.layouts.pmc_oa import PHRASES
from medmax_pipeline.sample.pairs import Said, corpus_pairs
from medmax_pipeline.sample.pictures import Picture, pictures
from medmax_pipeline.sample.train_similarity import Pair, Schedule, preprocessor, train, train_tokenizer
from medmax_pipeline.tokens.image import decode

NAME: Final = "sample_similarity"
CAPTIONS: Final = "pmc_oa"
"""Whose held-out captions are told apart."""
CHARTS: Final = 240
"""Charts learnt from; none of them is planted in the corpus."""
MEASURED_CHARTS: Final = 80
THRESHOLD: Final = 0.1
"""The sample build's `figures_threshold`, at which the card counts."""


def make_similarity(folder: Path, schedule: Schedule, seed: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Train the similarity model, write it, and say how it was made and how good it is on held-out pictures."""
    torch.set_num_threads(1)  # the sums of one thread come out the same on every run
    with tempfile.TemporaryDirectory() as scratch:
        said = corpus_pairs(Path(scratch), log)
    pairs = [*_decoded(said.train), *_charts()]
    log(f"{len(pairs):,} pairs")
    tokenizer = train_tokenizer([pair.text for pair in pairs])
    model = train(pairs, Tokenizer.from_str(tokenizer), seed, schedule, log)
    remove_tree(folder)
    state = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / STATE, save(state, metadata={"format": "pt"}))
    config = json.loads(model.config.to_json_string(use_diff=False))
    write_json(folder / CONFIG, {name: value for name, value in config.items() if name != "transformers_version"})
    write_text(folder / TOKENIZER, tokenizer)
    write_json(folder / PREPROCESSOR, preprocessor())
    write_json(folder / CARD, {"name": NAME, "form": "transformers"})
    opened = open_similarity(folder)
    captions = [one for one in said.held_out if one.source == CAPTIONS]
    return {
        "what": "CLIP of the sample build: 64 x 64 pixels and up to 48 pieces of text into 64 dimensions",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "schedule": asdict(schedule),
        "torch": torch.__version__,
        "pairs": len(pairs),
        "pairs_digest": digest_of([[sha256_bytes(one.data), one.text] for one in said.train]),
        "charts": CHARTS,
        **measured(opened, list(pictures("eval"))),
        "captions_held_out": len(captions),
        "caption_pairs_right_held_out": round(pairs_right(opened, captions), 3),
        "caption_pairs_right_by_chance": 0.5,
    }


def _decoded(said: Sequence[Said]) -> list[Pair]:
    """One pair each; a picture of which much is said is scaled once."""
    known: dict[bytes, Pair] = {}
    made = []
    for one in said:
        if one.data not in known:
            known[one.data] = Pair.of(Image.fromarray(decode(one.data)), one.text)
        made.append(known[one.data]._replace(text=one.text))
    return made


def _charts() -> list[Pair]:
    numbers = range(TRAINED, TRAINED + CHARTS)
    return [Pair.of(chart(n).image(), chart_texts(n)[n // 4 % 4]) for n in numbers]


def measured(model: Similarity, held_out: Sequence[Picture]) -> dict[str, Any]:
    """What the card tells of held-out pictures, none of whose files was learnt from, and of charts never seen."""
    charts_C = _chart_scores(model, [_png(chart(HELD_OUT + n).image()) for n in range(MEASURED_CHARTS)])
    real_R = _chart_scores(model, [_png(picture.image()) for picture in held_out])
    return {
        **_modalities(model, held_out),
        "chart_auc": round(float(np.mean(charts_C[:, None] > real_R[None, :])), 4),
        "charts_found": round(float(np.mean(charts_C > THRESHOLD)), 3),
        "held_out_pictures_taken_for_charts": round(float(np.mean(real_R > THRESHOLD)), 3),
    }


def _modalities(model: Similarity, held_out: Sequence[Picture]) -> dict[str, Any]:
    """How often the nearest of the modalities' names is the picture's own."""
    names = sorted({picture.modality for picture in held_out})
    texts_TD = model.texts([f"{PHRASES[name][0].upper()}{PHRASES[name][1:]}." for name in names])
    nearest = (model.images([_png(picture.image()) for picture in held_out]) @ texts_TD.T).argmax(axis=1)
    right = [names[at] == picture.modality for at, picture in zip(nearest.tolist(), held_out, strict=True)]
    commonest = max(sum(picture.modality == name for picture in held_out) for name in names)
    return {
        "pictures_eval": len(held_out),
        "modality_right_held_out": round(sum(right) / len(right), 3),
        "modality_right_by_majority": round(commonest / len(held_out), 3),
    }


def pairs_right(model: Similarity, said: Sequence[Said]) -> float:
    """Of all ways to set a picture's own text against another text of the set, the share in which its own is nearer."""
    texts = sorted({one.text for one in said})
    near_BT = model.images([one.data for one in said]) @ model.texts(texts).T
    own = np.array([texts.index(one.text) for one in said])
    better = near_BT[np.arange(len(own)), own][:, None] > near_BT
    return float(better.sum() / (len(own) * (len(texts) - 1)))


def _chart_scores(model: Similarity, files: Sequence[bytes]) -> Any:
    scorer = Scorer(model, *PROMPTS["v1"])
    return np.array([row["score"] for row in scorer.rows([str(n) for n in range(len(files))], files)])


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
