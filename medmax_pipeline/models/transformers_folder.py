"""What stock transformers wants beside weights and `config.json`: tokenizer, processor and generation settings.

Ids come by name from the folder's own `tokenizer.json`, whatever the base model's publisher wrote: public conversions
carry bos 1 and no pad, where the tokenizer has bos 0 and pad 1. `tokenizer.json` itself stays as it is: shards and
evaluations know it by its digest. Writing the weights is `chameleon.py`.

No setting of transformers puts `<s>` before a text; the chat template does. The processor's pictures are near the
reference's, not equal: long sides are rounded otherwise (of six sizes tried two gave equal pixels), transparency is not
blended on white, and with torchvision all pixels are resized otherwise. `medmax encode` gives the right codes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from transformers.utils import logging

from medmax_pipeline.files import write_json, write_text
from medmax_pipeline.models.weights import read_config
from medmax_pipeline.tokens.vocabulary import (
    BOI,
    BOS,
    EOI,
    EOS,
    IMAGE_PLACEHOLDERS,
    PAD,
    SEP,
    TOKENIZER,
    UNK,
    read_vocabulary,
)

GENERATION, TOKENIZER_CONFIG, SPECIAL_TOKENS = (
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
PROCESSOR, PREPROCESSOR, CHAT_TEMPLATE = "processor_config.json", "preprocessor_config.json", "chat_template.jinja"
LANCZOS: Final = 1
"""Pillow's number."""
TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ('user', 'assistant') %}"
    "{{ raise_exception('roles are user and assistant; there is no system prompt') }}"
    "{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ sep_token if message['role'] == 'user' else eos_token }}"
    "{% endfor %}"
)
"""A conversation as the model was tuned on it: `<s>prompt<reserved08706>reply</s>`, and so on for further turns."""


@contextmanager
def bars_for_people() -> Iterator[None]:
    """Around transformers' reading and writing of weights: no progress bars where standard error is a log."""
    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def write_companions(folder: Path) -> None:
    """Write the files beside a Chameleon's `config.json` and `tokenizer.json`, in their place where they are there.

    Raises:
        TokenError: the tokenizer lacks the names of the published vocabulary.
    """
    config = read_config(folder)
    vq = config["vq_config"]
    resolution = int(vq["resolution"])
    codes = (resolution // 2 ** (len(vq["channel_multiplier"]) - 1)) ** 2
    ids = read_vocabulary(folder, codes)
    write_json(
        folder / GENERATION,
        {
            "bos_token_id": ids.bos,
            "eos_token_id": ids.eos,
            "pad_token_id": ids.pad,
            "transformers_version": config["transformers_version"],
        },
    )
    placeholder = _placeholder(folder)
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "sep_token": SEP, "unk_token": UNK}
    write_json(folder / SPECIAL_TOKENS, special)
    write_json(folder / TOKENIZER_CONFIG, _tokenizer(special, placeholder, int(config["max_position_embeddings"])))
    processor = {"processor_class": "ChameleonProcessor", "image_seq_length": codes, "image_token": placeholder}
    write_json(folder / PROCESSOR, processor)
    write_json(folder / PREPROCESSOR, _preprocessor(resolution))
    write_text(folder / CHAT_TEMPLATE, TEMPLATE.replace("<image>", placeholder))


def _placeholder(folder: Path) -> str:
    """The name under which this tokenizer has the picture's placeholder."""
    names = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))["model"]["vocab"]
    return next(name for name in IMAGE_PLACEHOLDERS if name in names)


def _tokenizer(special: dict[str, str], placeholder: str, positions: int) -> dict[str, Any]:
    return {
        **special,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "ChameleonProcessor",
        "image_token": placeholder,
        "boi_token": BOI,
        "eoi_token": EOI,
        "model_max_length": positions,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }


def _preprocessor(resolution: int) -> dict[str, Any]:
    """As the reference prepares pictures, as far as these fields can say it: x / 127.5 - 1."""
    return {
        "image_processor_type": "ChameleonImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": resolution},
        "resample": LANCZOS,
        "do_center_crop": True,
        "crop_size": {"height": resolution, "width": resolution},
        "do_rescale": True,
        "rescale_factor": 1 / 127.5,
        "do_normalize": True,
        "image_mean": [1.0, 1.0, 1.0],
        "image_std": [1.0, 1.0, 1.0],
    }
