"""BiomedCLIP out of its publisher's files: open_clip builds the network, this module reads everything else.

The checkpoint is a torch file and read as plain tensors only; the configuration names a text network of the hub, which
is BERT at its usual measures and made from them, so that nothing is fetched. Pictures are prepared as open_clip's own
transform does for evaluation, texts cleaned as its tokenizer does and cut to 256 ids. open_clip, timm and torchvision
are the extra `biomedclip`.

Two differences are meant: pictures with a palette, transparency or deep levels become RGB by the rules of ingest, and
a text that spells out a mark such as `[SEP]` keeps it as text. Features of made-up weights of the published sizes were
compared with open_clip's own; the published checkpoint itself has not been read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.models.open_clip_libraries import missing_libraries
from medmax_pipeline.models.similarity_files import (
    MAX_SIDE_PX,
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_STATE,
    TOKENIZER,
    Preprocessing,
    read_json_object,
    read_text_tokenizer,
)
from medmax_pipeline.models.weights import check_state, read_checkpoint

CONTEXT: Final = 256
"""Ids of a text at most, as the reference's evaluation cuts them."""
MAX_STATE_BYTES: Final = 4 << 30
"""The published checkpoint has 784 MB."""
TOWER: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
"""A network that timm itself knows; with a colon the name would be one of the hub's, or of a folder."""
CLEANING: Final = "whitespace"
"""open_clip's name for what it does to a text before its tokenizer sees it: mends encodings and marks, joins blanks."""
MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
SPREAD: Final = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own, which open_clip takes where a configuration says nothing."""


class Loaded(NamedTuple):
    """What `similarity.Similarity` is made of."""

    network: OpenClip
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    clean: Callable[[str], str]


class OpenClip:
    """An open_clip network behind `similarity.Network`."""

    def __init__(self, model: Any, dimensions: int) -> None:
        self._model = model
        self.dimensions = dimensions

    def images(self, pixels_B3SS: Tensor) -> Tensor:
        """(B, D), of any length."""
        made: Tensor = self._model.encode_image(pixels_B3SS)
        return made

    def texts(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, D), of any length; open_clip takes ids of 0 for padding by itself."""
        made: Tensor = self._model.encode_text(ids_BL)
        return made


def load_biomedclip(folder: Path, device: str) -> Loaded:
    """Load the published folder, in float32.

    Args:
        folder: `open_clip_config.json`, `open_clip_pytorch_model.bin`, `tokenizer.json`.
        device: `cpu` or `cuda`.

    Raises:
        WeightsError: the libraries do not import, or a file is missing, out of bounds or another network's.
    """
    lock = missing_libraries()
    if lock is not None:
        raise WeightsError(f"{lock.reason} {lock.cure}")
    from open_clip.tokenizer import get_clean_fn

    config = read_json_object(folder / OPEN_CLIP_CONFIG)
    network, side_px, dimensions = network_of(config, folder)
    state = read_tensors(folder)
    model = _make(network, folder)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_state({name: tuple(tensor.shape) for name, tensor in state.items()}, expected, folder, "open_clip's network")
    model.load_state_dict(state)
    tokenizer = read_text_tokenizer(folder / TOKENIZER, CONTEXT, expected[_words(expected, folder)][0])
    made = OpenClip(model.to(device).eval(), dimensions)
    return Loaded(made, preparation(config, side_px, folder), tokenizer, get_clean_fn(CLEANING))


def network_of(config: dict[str, Any], folder: Path) -> tuple[dict[str, Any], int, int]:
    """The network's own part of the configuration, its S and its D.

    Raises:
        WeightsError: it is not that of a timm picture tower beside a BERT of the hub.
    """
    network = config.get("model_cfg")
    try:
        assert isinstance(network, dict)
        vision, text = network["vision_cfg"], network["text_cfg"]
        side_px, dimensions = int(vision["image_size"]), int(network["embed_dim"])
        fits = TOWER.fullmatch(str(vision["timm_model_name"])) and "bert" in str(text["hf_model_name"]).lower()
        sound = bool(fits) and 0 < side_px <= MAX_SIDE_PX and 0 < dimensions <= 8192
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder / OPEN_CLIP_CONFIG}: not a BiomedCLIP configuration ({error!r}). Fetch it again."
        ) from error
    if not sound:
        raise WeightsError(
            f"{folder / OPEN_CLIP_CONFIG}: expected a timm picture tower of at most {MAX_SIDE_PX} px beside a BERT."
        )
    return network, side_px, dimensions


def preparation(config: dict[str, Any], side_px: int, folder: Path) -> Preprocessing:
    """open_clip's evaluation transform: bicubic, the short side to S, centre crop; mean and spread as configured.

    Raises:
        WeightsError: the configuration asks for another filter or another way of resizing.
    """
    asked = config.get("preprocess_cfg", {})
    if not isinstance(asked, dict):
        raise WeightsError(f"{folder / OPEN_CLIP_CONFIG}: preprocess_cfg is no object. Fetch it again.")
    if asked.get("interpolation", "bicubic") != "bicubic" or asked.get("resize_mode", "shortest") != "shortest":
        raise WeightsError(f"{folder / OPEN_CLIP_CONFIG}: preprocess_cfg {asked}; expected bicubic, shortest side.")
    mean, spread = asked.get("mean", MEAN), asked.get("std", SPREAD)
    try:
        means, spreads = tuple(map(float, mean)), tuple(map(float, spread))
    except (TypeError, ValueError):
        means = spreads = ()
    if len(means) != 3 or len(spreads) != 3 or min(spreads) <= 0:
        raise WeightsError(f"{folder / OPEN_CLIP_CONFIG}: mean {mean}, std {spread}; expected three numbers each.")
    return Preprocessing(
        side_px,
        (means[0], means[1], means[2]),
        (spreads[0], spreads[1], spreads[2]),
        Image.Resampling.BICUBIC,
        nearest=True,
    )


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of the published checkpoint, by name; positions that newer libraries count themselves are left out.

    Raises:
        WeightsError: missing, larger than 4 GiB, or anything but plain tensors.
    """
    state = read_checkpoint(folder / OPEN_CLIP_STATE, "BiomedCLIP's own file", MAX_STATE_BYTES)
    return {name: tensor for name, tensor in state.items() if not name.endswith(".position_ids")}


def _make(network: dict[str, Any], folder: Path) -> Any:
    """The network with no weights: its BERT at the usual measures from a file, since its name would be fetched."""
    from open_clip import CustomTextCLIP
    from transformers import BertConfig

    with tempfile.TemporaryDirectory() as scratch:
        BertConfig().save_pretrained(scratch)
        text = network["text_cfg"] | {"hf_model_name": scratch, "hf_model_pretrained": False}
        vision = network["vision_cfg"] | {"timm_model_pretrained": False}
        try:
            return CustomTextCLIP(**(network | {"text_cfg": text, "vision_cfg": vision}))
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{folder / OPEN_CLIP_CONFIG}: open_clip makes no network of it ({error}). Fetch it again, or install "
                "the open_clip that it was written for."
            ) from error


def _words(shapes: dict[str, tuple[int, ...]], folder: Path) -> str:
    """Name of the table of word pieces, whose length is the vocabulary's."""
    for name in shapes:
        if name.endswith("word_embeddings.weight"):
            return name
    raise WeightsError(f"{folder}: open_clip made a text tower without word embeddings; expected a BERT.")
