"""Training the sample's small CLIP from pairs of pictures and texts of the corpus's training split.

Published similarity models are taken as they are; this exists because the embedded build must score with weights that
may be shipped. Which pairs there are is `pairs.py`; writing the weights and their card is `weights.py`. The loss is
CLIP's, but for pairs whose texts are equal, of which the corpus has many: they count as right for each other.

B pairs, N pictures, H and W pixels, L ids, D dimensions of the space.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from medmax_pipeline.sample.train_vqgan import square

RESOLUTION_PX = 64
WIDE_PX = 96
"""Short side of the copies from which moving windows are taken."""
LENGTH = 48
"""Ids of a text at most."""
PIECES = 900
"""Pieces of text at most, the 256 bytes among them. Ours: the corpus's words are few."""
PAD, END, START = "<|pad|>", "<|endoftext|>", "<|startoftext|>"
"""Ids 0, 1 and 2. transformers takes a CLIP whose end is 2 for one of its oldest, and looks elsewhere."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast; the defaults made the shipped weights."""

    steps: int = 600
    batch: int = 64
    peak_rate: float = 1.5e-3
    """AdamW's step size after the warm-up; it falls to a fiftieth by a cosine."""
    warm_up: int = 50
    weight_decay: float = 0.05
    scale: float = 14.0
    """What cosines are multiplied by at the start; learnt, at most 50."""


class Pair(NamedTuple):
    """A training picture as two squares, and its text."""

    exact: Tensor
    """(3, 64, 64) uint8."""
    wide: Tensor
    """(3, 96, 96) uint8."""
    text: str

    @classmethod
    def of(cls, image: Image.Image, text: str) -> Pair:
        """The pair of a picture of any size and mode."""
        exact, wide = (
            torch.from_numpy(square(image, side).copy()).permute(2, 0, 1) for side in (RESOLUTION_PX, WIDE_PX)
        )
        return cls(exact, wide, text)


def sample_config(vocabulary: int) -> CLIPConfig:
    """CLIP's architecture at the sample's measures: 64 x 64 pixels in 64 patches, 64 dimensions."""
    tower = {"num_attention_heads": 4, "hidden_act": "gelu", "projection_dim": 64}
    return CLIPConfig(
        vision_config={
            **tower,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "image_size": RESOLUTION_PX,
            "patch_size": 8,
        },
        text_config={
            **tower,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "vocab_size": vocabulary,
            "max_position_embeddings": LENGTH,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        },
        projection_dim=64,
    )


def train_tokenizer(texts: Sequence[str]) -> str:
    """A `tokenizer.json` of lower-case byte-level pairs; the same texts in the same order give the same file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        min_frequency=2,
        special_tokens=[PAD, END, START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 2), (END, 1)]
    )
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, indent=0) + "\n"


def preprocessor() -> dict[str, Any]:
    """The `preprocessor_config.json` of the shipped model: as training saw pictures, values in [-1, 1]."""
    return {
        "do_resize": True,
        "size": {"shortest_edge": RESOLUTION_PX},
        "resample": int(Image.Resampling.LANCZOS),
        "do_center_crop": True,
        "crop_size": {"height": RESOLUTION_PX, "width": RESOLUTION_PX},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": True,
    }


def train(
    pairs: Sequence[Pair], tokenizer: Tokenizer, seed: int, schedule: Schedule, log: Callable[[str], None]
) -> Any:
    """Train a CLIP; the same pairs, seed and schedule give the same weights on one thread.

    Args:
        pairs: at least two.
        tokenizer: of `train_tokenizer`.
        seed: of initialisation and draws.
        schedule: how long.
        log: told the loss now and then.

    Returns:
        a `CLIPModel`, in evaluation.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(sample_config(tokenizer.get_vocab_size()))
    model.logit_scale.data.fill_(math.log(schedule.scale))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.peak_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    tokenizer.enable_truncation(max_length=LENGTH)
    tokenizer.enable_padding(pad_id=0)
    draws = _Draws(pairs, generator)
    model.train()
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.peak_rate * _rate(step, schedule)
        pixels_B3HW, texts = draws.batch(schedule.batch)
        encoded = tokenizer.encode_batch(texts)
        loss = _loss(model, pixels_B3HW, torch.tensor([one.ids for one in encoded]), texts)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        model.logit_scale.data.clamp_(max=math.log(50.0))
        if step % 50 == 0 or step == schedule.steps - 1:
            log(f"step {step} of {schedule.steps}: loss {loss.item():.4f}")
    return model.requires_grad_(False).eval()


class _Draws:
    """Batches of pairs: rare texts as often as common ones, nearly; windows, mirrored, changed in tone."""

    def __init__(self, pairs: Sequence[Pair], generator: torch.Generator) -> None:
        counts = Counter(pair.text for pair in pairs)
        self._weights = torch.tensor([counts[pair.text] ** -0.5 for pair in pairs])
        self._pairs, self._generator = pairs, generator

    def batch(self, count: int) -> tuple[Tensor, list[str]]:
        """(B, 3, 64, 64) in [-1, 1] and B texts."""
        picks = torch.multinomial(self._weights, count, replacement=True, generator=self._generator).tolist()
        chosen = [self._pairs[pick] for pick in picks]
        views = torch.stack([self._view(pair) for pair in chosen]).to(torch.float32) / 255.0
        chance = torch.rand(3, count, 1, 1, 1, generator=self._generator)
        toned = views ** torch.exp(1.2 * (chance[0] - 0.5)) * (0.7 + 0.6 * chance[1])
        grain = torch.randn(views.shape, generator=self._generator) * 0.03 * chance[2]
        return (toned + grain).clamp(0, 1) * 2 - 1, [pair.text for pair in chosen]

    def _view(self, pair: Pair) -> Tensor:
        low, left, mirror, source = torch.rand(4, generator=self._generator).tolist()
        slack = WIDE_PX - RESOLUTION_PX + 1
        top, side = int(low * slack), int(left * slack)
        view = pair.exact if source < 0.4 else pair.wide[:, top : top + RESOLUTION_PX, side : side + RESOLUTION_PX]
        sided = "left" in pair.text.lower() or "right" in pair.text.lower()
        return view.flip(2) if mirror < 0.5 and not sided else view


def _loss(model: Any, pixels_B3HW: Tensor, ids_BL: Tensor, texts: Sequence[str]) -> Tensor:
    images_BD = functional.normalize(model.visual_projection(model.vision_model(pixels_B3HW).pooler_output), dim=1)
    said = model.text_model(input_ids=ids_BL, attention_mask=(ids_BL != 0).long())
    texts_BD = functional.normalize(model.text_projection(said.pooler_output), dim=1)
    logits_BB = model.logit_scale.exp() * images_BD @ texts_BD.T
    same_BB = torch.tensor(np.array(texts)[:, None] == np.array(texts)[None, :], dtype=torch.float32)
    target_BB = same_BB / same_BB.sum(dim=1, keepdim=True)
    return (functional.cross_entropy(logits_BB, target_BB) + functional.cross_entropy(logits_BB.T, target_BB)) / 2


def _rate(step: int, schedule: Schedule) -> float:
    if step < schedule.warm_up:
        return (step + 1) / schedule.warm_up
    done = (step - schedule.warm_up) / max(1, schedule.steps - schedule.warm_up)
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done))
