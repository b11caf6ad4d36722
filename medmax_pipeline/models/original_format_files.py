"""Folders in Chameleon's original form, and reading one into a transformers folder.

    models/7b/{consolidated.pth, params.json, consolidate_params.json}
    tokenizer/{text_tokenizer.json, vqgan.ckpt, vqgan.yaml}

`consolidated.pth` is a dictionary of plain tensors. Files are untrusted: nothing that could run code is read, sizes are
held against `params.json`, and that within bounds. Checkpoints in several parts (`consolidated.00.pth`, the 34B) are
refused. What the tensors mean is `original_format.py`; writing such a folder is `original_format_write.py`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from transformers import ChameleonConfig

from medmax_pipeline.errors import StoreError, TokenError, WeightsError
from medmax_pipeline.models.attention import DOCUMENTS
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.original_format import (
    original_shapes,
    plain,
    split_fused,
    to_transformers,
)
from medmax_pipeline.models.original_format_params import PARAMS, Params, read_params
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.models.weights import (
    check_state,
    read_checkpoint,
)
from medmax_pipeline.tokens.vocabulary import (
    BOS,
    EOS,
    IMAGE_PLACEHOLDERS,
    PAD,
    TOKENIZER,
    read_vocabulary,
)

MODEL, TOKENIZERS = "models/7b", "tokenizer"
CHECKPOINT = "consolidated.pth"
TEXT, TEXT_CHANGED = "text_tokenizer.json", "text_tokenizer_modified.json"
VQ_CHECKPOINT, VQ_YAML = "vqgan.ckpt", "vqgan.yaml"


class Converted(NamedTuple):
    """What was written."""

    parameters: int
    left_out: tuple[str, ...]
    """What the form has and the input did not give."""


def read_original(folder: Path, out: Path, text: Path | None = None, image: Path | None = None) -> Converted:
    """Turn a folder in the original form into a transformers folder; the types of its tensors stay.

    Args:
        folder: the root of the layout, or the folder of the checkpoint.
        out: absent or empty.
        text: a text tokenizer's folder or file; None: the layout's own, the changed one before the other.
        image: the image tokenizer in any form; None: the layout's own.

    Raises:
        WeightsError: files are missing, in several parts, or do not fit `params.json` or each other.
        TokenError: the text tokenizer lacks the names of the published vocabulary, or has more ids than the model rows.
        StoreError: `out` holds something.
    """
    refuse_filled(out)
    where = _model_folder(folder)
    params = read_params(where)
    sizes = params.sizes
    given = split_fused(read_checkpoint(where / CHECKPOINT, "a Chameleon's consolidated.pth"), sizes)
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
    check_state(shapes, original_shapes(sizes), where / CHECKPOINT, f"the Chameleon of its {PARAMS}")
    root = folder if (folder / TOKENIZERS).is_dir() else where.resolve().parent.parent
    tokenizers = root / TOKENIZERS
    text = text or _first(tokenizers / TEXT_CHANGED, tokenizers / TEXT)
    vqgan = VQGAN.load(image or tokenizers / VQ_CHECKPOINT, "exact")
    vocabulary = _vocabulary(text, vqgan, sizes.vocabulary)
    model = _model(params, vqgan, vocabulary)
    state = {name: plain(tensor) for name, tensor in to_transformers(given, sizes).items()}
    encoder = {name: tensor for name, tensor in vqgan.state_dict().items() if not name.startswith("decoder.")}
    model.load_state_dict(state | {f"model.vqmodel.{name}": tensor for name, tensor in encoder.items()}, assign=True)
    with tempfile.TemporaryDirectory() as held:  # under the name that a folder of ours has it
        shutil.copyfile(text / TOKENIZER if text.is_dir() else text, Path(held) / TOKENIZER)
        model.save(out.absolute(), text_folder=Path(held))
    return Converted(sum(tensor.numel() for tensor in state.values()), ())


def refuse_filled(out: Path) -> None:
    """Refuse a folder that holds something, before hours of work rather than after.

    Raises:
        StoreError: it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: holds something already. Name a folder that is absent or empty.")


def _model_folder(folder: Path) -> Path:
    """Where the checkpoint lies.

    Raises:
        WeightsError: nowhere, at several places, or in several parts.
    """
    found = [place for place in (folder, *sorted(folder.glob("models/*"))) if (place / PARAMS).is_file()]
    if len(found) != 1:
        names = ", ".join(str(place) for place in found) or "nowhere"
        raise WeightsError(f"{folder}: {PARAMS} found: {names}. Expected one, here or in {MODEL}/.")
    parts = sorted(found[0].glob("consolidated.*.pth"))
    if not (found[0] / CHECKPOINT).is_file() and parts:
        raise WeightsError(
            f"{found[0]}: the checkpoint comes in {len(parts)} parts ({parts[0].name}, …), as the 34B's does. Only "
            f"one {CHECKPOINT} is read."
        )
    return found[0]


def _first(*paths: Path) -> Path:
    for path in paths:
        if path.is_file():
            return path
    raise WeightsError(f"{paths[-1]}: no such file. Name the text tokenizer with --text.")


def _vocabulary(text: Path, vqgan: VQGAN, rows: int) -> dict[str, int]:
    """Every name's id, the picture's placeholder under the name that transformers knows.

    Raises:
        TokenError: text and image tokenizer do not fit each other, or there are more ids than rows.
    """
    size = read_vocabulary(text, vqgan.codes_per_image, vqgan.codebook_size).size
    if size > rows:
        raise TokenError(f"{text}: names {size} ids, the model has {rows} rows. Both must come from one publisher.")
    path = text / TOKENIZER if text.is_dir() else text
    names: dict[str, int] = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    new, old = IMAGE_PLACEHOLDERS
    if new not in names:
        names[new] = names.pop(old)
    return dict(sorted(names.items(), key=lambda item: item[1]))


def _model(params: Params, vqgan: VQGAN, vocabulary: dict[str, int]) -> MixedModalChameleon:
    """The network of these measures, without memory for its weights."""
    sizes = params.sizes
    config = ChameleonConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.dim,
        intermediate_size=sizes.feed_forward,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_heads,
        max_position_embeddings=params.positions,
        rms_norm_eps=params.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": params.rope_theta},
        bos_token_id=vocabulary[BOS],
        pad_token_id=vocabulary[PAD],
        eos_token_id=vocabulary[EOS],
        vq_config=vqgan.config.to_dict(),
        vocabulary_map=vocabulary,
    )
    with torch.device("meta"):
        model: MixedModalChameleon = MixedModalChameleon._from_config(config, attn_implementation=DOCUMENTS)
    return model
