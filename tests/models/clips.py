"""A CLIP folder of no training, in transformers' form, for tests of what reads one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel

END, START = "<|endoftext|>", "<|startoftext|>"
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def lay_clip(folder: Path, *, seed: int = 0, **preprocessing: Any) -> Path:
    """Write one; `preprocessing` replaces fields of its `preprocessor_config.json`."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", END, START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a chest radiograph", "a bar chart"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 2), (END, 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    text = {**TOWER, "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 16}
    config = CLIPConfig(
        text_config={**text, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    values = {
        "do_resize": True,
        "size": {"shortest_edge": 32},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
        "do_normalize": True,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values | preprocessing))
    return folder


def png(width: int, height: int, seed: int = 0, mode: str = "RGB") -> bytes:
    """A picture of noise as PNG bytes."""
    bands = {"RGB": 3, "RGBA": 4, "L": 1}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if bands == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
