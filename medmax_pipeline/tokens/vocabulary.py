"""Which id means what, read by name from the text tokenizer's own file.

The only place that knows special ids: the sample build uses a smaller vocabulary with the same names, so no id is
written down anywhere else. Turning text into ids belongs to `text.py`, samples into ids to `sequence.py`. Loads no
torch.

A *code* is what the image tokenizer gives, 0 to K-1; an *id* is what the model sees; an image's id is its code +
`first_code` (4 in the published vocabulary, design section 6).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import TokenError
from medmax_pipeline.files import sha256_file
from medmax_pipeline.models.weights import read_config

TOKENIZER = "tokenizer.json"
MAX_TOKENIZER_BYTES = 64 << 20
"""The published tokenizer.json is below 5 MB."""
MAX_IDS = 1 << 16
"""Ids are stored in 16 bits; the published vocabulary of 65,536 fits exactly."""

BOS, PAD, EOS, UNK = "<s>", "<pad>", "</s>", "<unk>"
EOI, BOI = "<eoss>", "<racm3:break>"
SEP = "<reserved08706>"
IMAGE_PLACEHOLDERS = ("<image>", "<reserved08707>")
"""The published file calls it `<reserved08707>`; transformers' copy renames it."""
CODE_PREFIX, CODE_END = "IMGIMG", "Z"
DIGITS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The ids of one pair of text and image tokenizer."""

    bos: int
    pad: int
    eos: int
    unk: int
    first_code: int
    """Id of code 0."""
    codebook_size: int
    """K, the number of codes."""
    eoi: int
    """End of image."""
    boi: int
    """Begin of image."""
    sep: int
    """Between a prompt and its response."""
    image_placeholder: int
    """Stands for a whole image in templates; never part of a sequence of ours."""
    size: int
    """Largest id + 1, at most 65,536."""
    codes_per_image: int
    """N, how many codes one image has."""
    digest: str
    """sha256 of tokenizer.json."""
    text_ids: npt.NDArray[np.int64] = field(compare=False, repr=False)
    """Ids a model may give as text, sorted: as the reference, all whose names are neither codes nor begin with `<`,
    the single `<` excepted. Read only."""
    special_ids: npt.NDArray[np.int64] = field(compare=False, repr=False)
    """Ids that no user's text may become: added tokens and codes, sorted. Read only."""

    @property
    def image_ids(self) -> npt.NDArray[np.int64]:
        """Ids of codes 0 to K-1, in order."""
        return np.arange(self.first_code, self.first_code + self.codebook_size, dtype=np.int64)

    @property
    def image_length(self) -> int:
        """Ids of one whole image with its begin and end."""
        return self.codes_per_image + 2

    def is_code(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Where `ids` are ids of codes; same shape."""
        return (ids >= self.first_code) & (ids < self.first_code + self.codebook_size)


class Geometry(NamedTuple):
    """An image tokenizer's pictures: height and width in pixels, N codes an image, K codes in the codebook."""

    resolution: int
    codes_per_image: int
    codebook_size: int


def code_name(code: int) -> str:
    """The token name that spells a code: digits as letters A (0) to J (9), closed by Z. 25 is `IMGIMGCFZ`."""
    return CODE_PREFIX + "".join(DIGITS[int(digit)] for digit in str(code)) + CODE_END


def read_vocabulary(tokenizer: Path, codes_per_image: int, codebook_size: int | None = None) -> Vocabulary:
    """The ids that a tokenizer.json gives its names.

    Args:
        tokenizer: the file, or the folder that holds it.
        codes_per_image: N, from the image tokenizer.
        codebook_size: K of the image tokenizer, checked where given.

    Raises:
        TokenError: the file is missing or no tokenizer, names are missing, ids clash, or the codes do not follow each
            other in order.
    """
    path = tokenizer / TOKENIZER if tokenizer.is_dir() else tokenizer
    ids, added = _read_names(path)
    special = {name: _named(ids, (name,), path) for name in (BOS, PAD, EOS, UNK, EOI, BOI, SEP)}
    placeholder = _named(ids, IMAGE_PLACEHOLDERS, path)
    first, count = _codes(ids, path)
    if codebook_size is not None and codebook_size != count:
        raise TokenError(
            f"{path}: names {count} codes, the image tokenizer has {codebook_size}. "
            "Text and image tokenizer must belong together."
        )
    if codes_per_image < 1:
        raise TokenError(f"{codes_per_image} codes an image; expected at least 1, from the image tokenizer.")
    return Vocabulary(
        bos=special[BOS],
        pad=special[PAD],
        eos=special[EOS],
        unk=special[UNK],
        first_code=first,
        codebook_size=count,
        eoi=special[EOI],
        boi=special[BOI],
        sep=special[SEP],
        image_placeholder=placeholder,
        size=max(ids.values()) + 1,
        codes_per_image=codes_per_image,
        digest=sha256_file(path),
        text_ids=_frozen(number for name, number in ids.items() if _is_text(name)),
        special_ids=_frozen({*added, *special.values(), placeholder, *range(first, first + count)}),
    )


def vocabulary_of(text_tokenizer: Path, image_tokenizer: Path) -> Vocabulary:
    """The vocabulary of two weights folders, which must fit each other.

    Args:
        text_tokenizer: a folder with `tokenizer.json`.
        image_tokenizer: a folder with `config.json` of a VQGAN; no weights are read.

    Raises:
        TokenError: as `read_vocabulary`, or the image tokenizer does not say its geometry.
        WeightsError: the image tokenizer has no readable configuration.
    """
    geometry = image_geometry(image_tokenizer)
    return read_vocabulary(text_tokenizer, geometry.codes_per_image, geometry.codebook_size)


def image_geometry(image_tokenizer: Path) -> Geometry:
    """What an image tokenizer's `config.json` says of its pictures; no weights are read.

    Raises:
        TokenError: it does not say its geometry.
        WeightsError: there is no readable configuration.
    """
    config = read_config(image_tokenizer)
    try:
        resolution = int(config["resolution"])
        side = resolution // 2 ** (len(config["channel_multiplier"]) - 1)
        return Geometry(resolution, side * side, int(config["num_embeddings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TokenError(f"{image_tokenizer}: config.json says no geometry ({error!r}). Expected a VQGAN's.") from error


def _read_names(path: Path) -> tuple[dict[str, int], set[int]]:
    """Every name's id, and the ids of added tokens."""
    if not path.is_file():
        raise TokenError(f"{path}: no such file. Expected the text tokenizer's {TOKENIZER}.")
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise TokenError(f"{path}: {path.stat().st_size:,} bytes, at most {MAX_TOKENIZER_BYTES:,} expected.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        ids = {str(name): int(number) for name, number in value["model"]["vocab"].items()}
        added = {str(token["content"]): int(token["id"]) for token in value.get("added_tokens") or ()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TokenError(f"{path}: not a tokenizer of the tokenizers library with named pieces ({error!r}).") from error
    moved = [name for name, number in added.items() if ids.setdefault(name, number) != number]
    if moved:
        raise TokenError(f"{path}: {moved[0]!r} has two ids. Fetch the file again.")
    if len(set(ids.values())) != len(ids):
        raise TokenError(f"{path}: two names share an id. Fetch the file again.")
    if not ids or min(ids.values()) < 0 or max(ids.values()) >= MAX_IDS:
        raise TokenError(f"{path}: ids are outside 0 to {MAX_IDS - 1}; they are stored in 16 bits.")
    return ids, set(added.values())


def _named(ids: Mapping[str, int], names: tuple[str, ...], path: Path) -> int:
    for name in names:
        if name in ids:
            return ids[name]
    raise TokenError(f"{path}: has no token {' or '.join(names)}. Expected the names of the published vocabulary.")


def _codes(ids: Mapping[str, int], path: Path) -> tuple[int, int]:
    """Id of code 0 and the number of codes; the ids must rise with the codes, one by one."""
    count = sum(1 for name in ids if name.startswith(CODE_PREFIX))
    first = ids.get(code_name(0))
    if first is None:
        raise TokenError(f"{path}: has no token {code_name(0)} (code 0), and {count} other codes.")
    for code in range(count):
        found = ids.get(code_name(code))
        if found != first + code:
            raise TokenError(
                f"{path}: {code_name(code)} (code {code}) has id {found}, expected {first + code}; "
                f"{count} codes must follow each other from {first} on."
            )
    return first, count


def _is_text(name: str) -> bool:
    return name == "<" or not name.startswith((CODE_PREFIX, "<"))


def _frozen(numbers: Iterable[int]) -> npt.NDArray[np.int64]:
    array = np.array(sorted(numbers), dtype=np.int64)
    array.setflags(write=False)
    return array
