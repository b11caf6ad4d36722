"""Which codebook an image tokenizer has, told the same way by its own folder and by a model that holds it. No torch.

A model keeps encoder and codebook of its image tokenizer, not the file they came from, so the tokenizer's digest
(`weights.py`) cannot be had from it. The codebook's can: what codes mean follows from it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import numpy as np

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.models.weights import read_header

NAMES: Final = ("quantize.embedding.weight", "model.vqmodel.quantize.embedding.weight")
"""In a tokenizer's own folder, and in a whole Chameleon's."""
STORED: Final = {"F32": "<u4", "BF16": "<u2"}
"""Types that a codebook is read in, and how numpy sees their bits."""


def codebook_digest(folder: Path) -> str:
    """sha256 (64 hex digits) of a folder's codebook: its (codes, dimensions) and its values in bfloat16.

    Bfloat16, because some published models keep it so, and a digest in float32 would call one codebook two.

    Raises:
        WeightsError: the folder has no safetensors with a codebook, or it is stored in another type.
    """
    for path in sorted(folder.glob("*.safetensors")):
        found = next((name for name in NAMES if name in read_header(path)), None)
        if found is not None:
            return _digest(path, found)
    raise WeightsError(f"{folder}: no safetensors there hold a codebook ({NAMES[0]}). Expected an image tokenizer.")


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        entry = json.loads(handle.read(length))[name]
        start, end = entry["data_offsets"]
        handle.seek(8 + length + start)
        data = handle.read(end - start)
    if entry["dtype"] not in STORED:
        raise WeightsError(f"{path}: its codebook is {entry['dtype']}, expected one of {', '.join(STORED)}.")
    bits = np.frombuffer(data, dtype=STORED[entry["dtype"]])
    if entry["dtype"] == "F32":
        wide = bits.astype(np.uint64)  # nearest, ties to even
        bits = ((wide + 0x7FFF + ((wide >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
    shape = "x".join(str(side) for side in entry["shape"])
    return hashlib.sha256(shape.encode() + b"\n" + bits.astype("<u2").tobytes()).hexdigest()
