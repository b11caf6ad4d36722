"""How well the image tokenizer keeps pictures: a sheet of originals beside reconstructions, and their PSNR.

For people to look at; published under `log/` and part of no digest.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from medmax_pipeline.files import write_bytes
from medmax_pipeline.tokens.image import Pixels, preprocess, to_levels
from medmax_pipeline.tokens.store import CodeStore

if TYPE_CHECKING:
    from medmax_pipeline.models.vqgan import VQGAN

SHEET_IMAGES = 8
PSNR_IMAGES = 4
"""Pictures of a source whose mean PSNR is told."""


def psnr_db(original: Pixels, decoded: Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures in dB; 99 where they are equal."""
    error = float(np.mean((original.astype(np.float64) - decoded) ** 2))
    return 99.0 if error == 0.0 else min(99.0, 10.0 * float(np.log10(255.0**2 / error)))


def reconstruct(
    vqgan: VQGAN, store: CodeStore, by_source: Mapping[str, Sequence[str]], read: Callable[[str], bytes], path: Path
) -> dict[str, float]:
    """Write a sheet of originals beside what their codes decode to, and tell how well they agree.

    Args:
        vqgan: the tokenizer, on the device to decode on.
        store: holds the codes.
        by_source: image ids in order; each source's first ones are decoded.
        read: gives the bytes of a picture's file.
        path: the PNG to write; nothing is written without pictures.

    Returns:
        mean PSNR in dB of the decoded pictures of each source.
    """
    import torch

    device = next(vqgan.parameters()).device
    pairs: dict[str, list[tuple[Pixels, Pixels]]] = {}
    for source in sorted(by_source):
        ids = by_source[source][:PSNR_IMAGES]
        codes = torch.from_numpy(store.get_many(ids).astype(np.int64)).to(device)
        decoded = to_levels(vqgan.decode(codes).permute(0, 2, 3, 1).cpu().numpy())
        originals = [preprocess(read(image_id), vqgan.resolution) for image_id in ids]
        pairs[source] = list(zip(originals, decoded, strict=True))
    shown = [pair for rank in range(PSNR_IMAGES) for found in pairs.values() for pair in found[rank : rank + 1]]
    if shown:
        write_bytes(path, _sheet(shown[:SHEET_IMAGES]))
    return {
        source: round(sum(psnr_db(*pair) for pair in found) / len(found), 2) for source, found in sorted(pairs.items())
    }


def _sheet(pairs: list[tuple[Pixels, Pixels]]) -> bytes:
    """One PNG: originals in the upper row, decoded pictures below."""
    rows = [np.concatenate([pair[row] for pair in pairs], axis=1) for row in (0, 1)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows, axis=0)).save(buffer, format="PNG")
    return buffer.getvalue()
