"""Pictures as JSON lines of codes and back: what `medmax encode` and `medmax decode` do.

A line is `{"image": name, "codes": [N integers]}`. Pictures and lines are untrusted, and one that cannot be used is
told of and does not stop the others. Encoding a whole corpus into the code store is `encode.py`.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final

from PIL import Image

from medmax_pipeline.errors import ImageError, TokenError
from medmax_pipeline.files import Json, write_bytes
from medmax_pipeline.tokens.image import normalise, preprocess, to_levels

if TYPE_CHECKING:
    from medmax_pipeline.models.vqgan import VQGAN
    from medmax_pipeline.models.weights import NumericMode

MAX_FILE_BYTES: Final = 256 << 20
"""Of a picture's file."""
MAX_LINE_BYTES: Final = 1 << 20
"""A picture of 65,536 codes of five digits, with its name, is about half of it."""
MAX_LINES: Final = 1_000_000
"""A file of lines makes no more pictures than this; more are to be split by the one who knows what they are."""
MAX_NAME: Final = 100
"""Characters of a picture's file name before its number and `.png`."""
UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


Told = dict[str, Json]
"""What is printed of a picture: its `image` and one of `codes` (encoded), `file` (decoded) or `error`."""


def load(path: Path, mode: NumericMode | None) -> VQGAN:
    """A tokenizer on the accelerator, where there is one.

    Raises:
        WeightsError: there is none at `path`.
    """
    import torch

    from medmax_pipeline.models.vqgan import VQGAN

    return VQGAN.load(path, mode).to("cuda" if torch.cuda.is_available() else "cpu")


def encode_files(vqgan: VQGAN, paths: Iterable[Path]) -> Iterator[Told]:
    """Encode picture files, each as it comes.

    Args:
        vqgan: the tokenizer, on the device to encode on.
        paths: picture files in any form that ingest takes.
    """
    import torch

    device = next(vqgan.parameters()).device
    for path in paths:
        try:
            pixels = preprocess(_read(path), vqgan.resolution, vqgan.geometry)
        except (ImageError, OSError) as error:
            yield {"image": str(path), "error": str(error)}
            continue
        values = torch.from_numpy(normalise(pixels[None])).permute(0, 3, 1, 2).contiguous().to(device)
        yield {"image": str(path), "codes": vqgan.encode(values)[0].tolist()}


def _read(path: Path) -> bytes:
    """A picture file's bytes; a device or a pipe that never ends is read no further than the limit."""
    with path.open("rb") as handle:
        data = handle.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageError("image_too_large", f"more than {MAX_FILE_BYTES:,} bytes")
    return data


def decode_file(vqgan: VQGAN, name: str, folder: Path) -> Iterator[Told]:
    """`decode_lines` of a file, or of standard input where its name is `-`.

    Raises:
        TokenError: the file cannot be read, or has more than a million lines.
    """
    if name == "-":
        yield from decode_lines(vqgan, sys.stdin.buffer, folder)
        return
    try:
        with Path(name).open("rb") as lines:
            yield from decode_lines(vqgan, lines, folder)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise TokenError(
            f"{name}: cannot be read ({error.strerror}). Expected lines as `medmax encode` prints."
        ) from error


def decode_lines(vqgan: VQGAN, lines: IO[bytes], folder: Path) -> Iterator[Told]:
    """Decode lines of codes into PNG files, named after the pictures; nothing that exists is overwritten.

    Args:
        vqgan: the tokenizer, on the device to decode on.
        lines: JSON lines; empty ones are skipped.
        folder: where the files go; made if need be.

    Raises:
        TokenError: more than a million lines.
    """
    numbers: dict[str, int] = {}
    for number, line in _lines(lines):
        name = f"line {number}"
        try:
            name, codes = read_line(line, vqgan.codes_per_image, vqgan.codebook_size, name)
        except TokenError as error:
            yield {"image": name, "error": str(error)}
            continue
        path = _free(folder, name, numbers)
        write_bytes(path, _png(vqgan, codes))
        yield {"image": name, "file": str(path)}


def _lines(lines: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not empty; of one that is too long, its beginning, which is still too long."""
    number = 0
    while line := lines.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number > MAX_LINES:
            raise TokenError(f"more than {MAX_LINES:,} lines of codes. Split the file.")
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = lines.readline(MAX_LINE_BYTES + 1)
        if line.strip():
            yield number, line


def read_line(line: bytes, codes_per_image: int, codebook_size: int, unnamed: str) -> tuple[str, list[int]]:
    """The picture's name and its codes.

    Args:
        line: one JSON object; untrusted.
        codes_per_image: how many codes are a picture.
        codebook_size: codes are below this.
        unnamed: the name of a picture whose line has none.

    Raises:
        TokenError: too long, no JSON object of that form, or codes that are no picture of this tokenizer.
    """
    if len(line) > MAX_LINE_BYTES:
        raise TokenError(f"{unnamed}: more than {MAX_LINE_BYTES:,} bytes. Expected one picture a line.")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TokenError(f"{unnamed}: no JSON ({error}). Expected lines as `medmax encode` prints them.") from error
    codes = value.get("codes") if isinstance(value, dict) else None
    if not isinstance(codes, list) or not all(type(code) is int for code in codes):
        raise TokenError(f'{unnamed}: has no "codes", a list of integers. Expected lines as `medmax encode` prints.')
    if len(codes) != codes_per_image or not all(0 <= code < codebook_size for code in codes):
        span = f" from {min(codes)} to {max(codes)}" if codes else ""
        raise TokenError(
            f"{unnamed}: {len(codes)} codes{span}; this tokenizer's pictures have {codes_per_image} from 0 to "
            f"{codebook_size - 1}. Decode with the tokenizer that encoded."
        )
    name = value.get("image")
    return (name if isinstance(name, str) and name else unnamed), codes


def _png(vqgan: VQGAN, codes: list[int]) -> bytes:
    """A decoded picture as a PNG file."""
    import torch

    device = next(vqgan.parameters()).device
    values = vqgan.decode(torch.tensor([codes], dtype=torch.int64, device=device))[0]
    buffer = io.BytesIO()
    Image.fromarray(to_levels(values.permute(1, 2, 0).cpu().numpy())).save(buffer, format="PNG")
    return buffer.getvalue()


def _free(folder: Path, name: str, numbers: dict[str, int]) -> Path:
    """A path inside `folder` that is not taken, named after a picture: its stem in plain characters.

    Args:
        folder: where it will be.
        name: the picture's; any text.
        numbers: how often each stem was asked for; kept from call to call.
    """
    stem = UNSAFE.sub("_", PurePosixPath(name.replace("\\", "/")).stem).strip("._-")[:MAX_NAME] or "picture"
    while True:
        numbers[stem] = numbers.get(stem, 0) + 1
        path = folder / (f"{stem}.png" if numbers[stem] == 1 else f"{stem}-{numbers[stem]}.png")
        if not (path.exists() or path.is_symlink()):
            return path
