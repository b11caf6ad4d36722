"""How well the image tokenizer keeps pictures: a sheet of originals beside reconstructions, PSNR and SSIM by source.

The sheet is for people to look at; it is published under `log/` and part of no digest. The figures themselves are
`likeness.py`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from medmax_pipeline.files import write_bytes
from medmax_pipeline.tokens.image import Pixels, normalise, to_levels
from medmax_pipeline.tokens.likeness import psnr_db, ssim
from medmax_pipeline.tokens.store import CodeStore

if TYPE_CHECKING:
    from medmax_pipeline.models.agreement import Agreement
    from medmax_pipeline.models.vqgan import VQGAN

SHEET_IMAGES = 8
MEASURED = 16
"""Pictures of a source whose mean likeness is told; ids are digests, so the first ones are drawn by no hand."""


class Kept(NamedTuple):
    """What the tokenizer keeps of a source's pictures."""

    psnr_db: float
    """Mean, in decibel."""
    ssim: float
    """Mean, at most 1."""
    pictures: int
    """How many were decoded."""


def reconstruct(
    vqgan: VQGAN, store: CodeStore, by_source: Mapping[str, Sequence[str]], prepare: Callable[[str], Pixels], path: Path
) -> dict[str, Kept]:
    """Write a sheet of originals beside what their codes decode to, and tell how well they agree.

    Args:
        vqgan: the tokenizer, on the device to decode on.
        store: holds the codes.
        by_source: image ids in order; each source's first ones are decoded.
        prepare: gives a picture's pixels as they were encoded: (resolution, resolution, 3).
        path: the PNG to write; nothing is written without pictures.

    Returns:
        what is kept of each source that has pictures; nothing where the tokenizer has no decoder, as one out of a
        published Chameleon in transformers' form.
    """
    if vqgan.decoder is None:
        return {}
    shown: dict[str, list[tuple[Pixels, Pixels]]] = {}
    kept: dict[str, Kept] = {}
    for source in sorted(by_source):
        ids = by_source[source][:MEASURED]
        if not ids:
            continue
        pairs = list(zip([prepare(image_id) for image_id in ids], _decoded(vqgan, store, ids), strict=True))
        shown[source] = pairs[:SHEET_IMAGES]
        kept[source] = Kept(
            round(sum(psnr_db(*pair) for pair in pairs) / len(pairs), 2),
            round(sum(ssim(*pair) for pair in pairs) / len(pairs), 4),
            len(pairs),
        )
    # the first picture of each source, then the second of each
    sheet = [pair for rank in range(SHEET_IMAGES) for pairs in shown.values() for pair in pairs[rank : rank + 1]]
    if sheet:
        write_bytes(path, _sheet(sheet[:SHEET_IMAGES]))
    return kept


def with_exact(
    vqgan: VQGAN, tokenizer: Path, by_source: Mapping[str, Sequence[str]], prepare: Callable[[str], Pixels]
) -> Agreement:
    """How many codes of a fast tokenizer are those of the same in exact mode, on some pictures of each source.

    Args:
        vqgan: in fast mode, on the device to encode on.
        tokenizer: its files.
        by_source: image ids in order, of one source at least; each source's first ones are compared.
        prepare: gives a picture's pixels, as in `reconstruct`.
    """
    import torch

    from medmax_pipeline.models.agreement import agreement

    device = next(vqgan.parameters()).device
    ids = sorted({image_id for found in by_source.values() for image_id in found[:MEASURED]})
    values = torch.from_numpy(np.stack([normalise(prepare(image_id)) for image_id in ids])).permute(0, 3, 1, 2)
    exact = type(vqgan).load(tokenizer, "exact").to(device)
    return agreement(vqgan, exact, values.contiguous().to(device))


def _decoded(vqgan: VQGAN, store: CodeStore, ids: Sequence[str]) -> list[Pixels]:
    """One at a time: a decoder holds more than an encoder, and this is a sample."""
    import torch

    device = next(vqgan.parameters()).device
    codes_BN = torch.from_numpy(store.get_many(list(ids)).astype(np.int64))
    made = [vqgan.decode(codes_N[None].to(device))[0] for codes_N in codes_BN]
    return [to_levels(pixels_CHW.permute(1, 2, 0).cpu().numpy()) for pixels_CHW in made]


def _sheet(pairs: list[tuple[Pixels, Pixels]]) -> bytes:
    """One PNG: originals in the upper row, decoded pictures below."""
    rows = [np.concatenate([pair[row] for pair in pairs], axis=1) for row in (0, 1)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows, axis=0)).save(buffer, format="PNG")
    return buffer.getvalue()
