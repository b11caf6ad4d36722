"""The files of a similarity model, read as untrusted data: which form they have, how pictures and texts are prepared.

Two forms: a CLIP in transformers' form (`config.json`, safetensors, `preprocessor_config.json`, `tokenizer.json`) and
BiomedCLIP in open_clip's (`open_clip_config.json`, `open_clip_pytorch_model.bin`, `tokenizer.json`). Beside them lies
`similarity.json`, which gives the model the name that metrics carry. The networks are `similarity.py` and
`biomedclip.py`.

H and W pixels of a picture, S of the square that the network takes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image
from tokenizers import Tokenizer

from medmax_pipeline.errors import ImageError, WeightsError
from medmax_pipeline.tokens.image import decode

CARD: Final = "similarity.json"
TOKENIZER: Final = "tokenizer.json"
PREPROCESSOR: Final = "preprocessor_config.json"
OPEN_CLIP_CONFIG: Final = "open_clip_config.json"
OPEN_CLIP_STATE: Final = "open_clip_pytorch_model.bin"
MAX_JSON_BYTES: Final = 1 << 20
"""The largest published of these configurations has some 5 kB."""
MAX_TOKENIZER_BYTES: Final = 32 << 20
"""CLIP's own has 2.2 MB; multilingual ones have some 17 MB."""
MAX_SIDE_PX: Final = 1024
MAX_RATIO: Final = 200
"""Longer side over shorter at most: the shorter one is scaled to S, so the longer would grow without bound."""

Form = Literal["transformers", "open_clip"]
Squares = npt.NDArray[np.float32]
"""(3, S, S), normalised."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a folder says of itself."""

    name: str
    """What metrics made with it are called after: `clip_score@<name>`."""
    form: Form


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From a decoded picture to what the network takes: scaled, the middle cut out, each channel normalised.

    Pillow's filters, no library of the publisher's: scaled so that the short side is `side_px` (or to a square where
    `squeeze`), centre crop, x / 255, minus mean, over spread.
    """

    side_px: int
    """S, and the short side before the crop."""
    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    filter: Image.Resampling
    squeeze: bool = False
    """Both sides become S, whatever the proportions."""
    scale: float = 1 / 255
    nearest: bool = False
    """The margin before the crop is rounded to the nearest pixel, halves to even, as torchvision does; else down."""

    def prepare(self, data: bytes) -> Squares:
        """A picture file's bytes as (3, S, S) float32.

        Raises:
            ImageError: it does not decode, or is more than 200 times as long as wide.
        """
        image = Image.fromarray(decode(data)).convert("RGB")
        width, height = image.size
        if max(width, height) > MAX_RATIO * min(width, height):
            raise ImageError("image_too_narrow", f"{width} x {height} pixels, at most {MAX_RATIO} to 1")
        if self.squeeze:
            size = (self.side_px, self.side_px)
        elif width <= height:
            size = (self.side_px, self.side_px * height // width)
        else:
            size = (self.side_px * width // height, self.side_px)
        image = image.resize(size, self.filter)
        left, top = (self._margin(side) for side in size)
        square = np.asarray(image.crop((left, top, left + self.side_px, top + self.side_px)), np.float32)
        mean, spread = np.array(self.mean, np.float32), np.array(self.spread, np.float32)
        levels = (square * np.float32(self.scale) - mean) / spread
        return np.ascontiguousarray(levels.transpose(2, 0, 1))

    def _margin(self, side_px: int) -> int:
        over = side_px - self.side_px
        return round(over / 2) if self.nearest else over // 2


def read_json_object(path: Path) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        WeightsError: missing, larger than 1 MiB, or no JSON object.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. A similarity model needs it; fetch the publisher's whole folder.")
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise WeightsError(f"{path}: {size:,} bytes, at most {MAX_JSON_BYTES:,} expected. Not what its name says.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error}). Fetch it again.") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: holds a {type(value).__name__}, expected a JSON object. Fetch it again.")
    return value


def read_card(folder: Path) -> Card:
    """Name and form of the model in a folder.

    A folder without `similarity.json` is what its files say, under the folder's name.

    Raises:
        WeightsError: the file is no card.
    """
    if not (folder / CARD).exists():
        return Card(folder.name, "open_clip" if (folder / OPEN_CLIP_CONFIG).is_file() else "transformers")
    values = read_json_object(folder / CARD)
    name, form = values.get("name"), values.get("form")
    if not isinstance(name, str) or not name or form not in get_args(Form):
        raise WeightsError(
            f"{folder / CARD}: name is {name!r} and form {form!r}; expected a name and one of "
            f"{', '.join(get_args(Form))}."
        )
    return Card(name, cast(Form, form))


def read_preprocessing(path: Path, side_px: int) -> Preprocessing:
    """The preparation that a `preprocessor_config.json` asks for.

    Args:
        path: the file.
        side_px: S of the network.

    Raises:
        WeightsError: it asks for something else than scaling, a centre crop to S and normalising.
    """
    values = read_json_object(path)
    size, crop = values.get("size"), values.get("crop_size", side_px)
    shortest = size.get("shortest_edge") if isinstance(size, dict) else size
    sides = {size.get("height"), size.get("width")} if isinstance(size, dict) and shortest is None else {shortest}
    cropped = {crop.get("height"), crop.get("width")} if isinstance(crop, dict) else {crop}
    switched_off = [
        name
        for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
        if values.get(name, True) is not True and not (name == "do_center_crop" and shortest is None)
    ]
    if sides != {side_px} or cropped != {side_px} or switched_off:
        raise WeightsError(
            f"{path}: size {size}, crop_size {crop}, switched off: {', '.join(switched_off) or 'nothing'}. Expected "
            f"pictures scaled and cut to the network's {side_px} px, rescaled and normalised."
        )
    return Preprocessing(
        side_px,
        _three(path, values, "image_mean"),
        _three(path, values, "image_std", above=0.0),
        _filter(path, values.get("resample", 3)),
        squeeze=shortest is None,
        scale=_number(path, values, "rescale_factor", 1 / 255),
    )


def _three(path: Path, values: dict[str, Any], name: str, above: float = -math.inf) -> tuple[float, float, float]:
    given = values.get(name)
    if (
        not isinstance(given, list)
        or len(given) != 3
        or not all(type(one) in (int, float) and above < one < 1e3 for one in given)
    ):
        raise WeightsError(f"{path}: {name} is {given!r}, expected three numbers, one a channel.")
    return float(given[0]), float(given[1]), float(given[2])


def _number(path: Path, values: dict[str, Any], name: str, usual: float) -> float:
    given = values.get(name, usual)
    if type(given) not in (int, float) or not 0 < given < 1e3:
        raise WeightsError(f"{path}: {name} is {given!r}, expected a number above 0.")
    return float(given)


def _filter(path: Path, number: Any) -> Image.Resampling:
    try:
        return Image.Resampling(number)
    except ValueError as error:
        raise WeightsError(
            f"{path}: resample is {number!r}, expected the number of one of Pillow's filters."
        ) from error


def read_text_tokenizer(path: Path, length: int, vocabulary: int) -> Tokenizer:
    """A `tokenizer.json` that gives at most `length` ids a text, each below `vocabulary`, a batch filled with 0.

    Raises:
        WeightsError: missing, too large, unreadable, or of more ids than the network has.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Texts are read with {TOKENIZER} only; fetch it beside the weights.")
    size = path.stat().st_size
    if size > MAX_TOKENIZER_BYTES:
        raise WeightsError(f"{path}: {size:,} bytes, at most {MAX_TOKENIZER_BYTES:,} expected. Not a tokenizer.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise WeightsError(f"{path}: not readable as a tokenizer ({error}). Fetch it again.") from error
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= vocabulary:
        raise WeightsError(
            f"{path}: gives ids up to {highest}; the network knows {vocabulary}. They do not belong together."
        )
    tokenizer.encode_special_tokens = True  # a text that spells out an end mark does not end there
    tokenizer.enable_truncation(max_length=length)
    tokenizer.enable_padding(pad_id=0)
    return tokenizer
