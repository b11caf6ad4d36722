"""Latents to codes: which row of the codebook is nearest.

In chunks, since the distances of one picture to 8,192 codes are 32 MiB. Training a codebook is not done here.

M latents, D dimensions of a code, K codes.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

MAX_CELLS: Final = 1 << 26
"""Distances held at once: 256 MiB in float32, and as many products beside them."""


@torch.no_grad()
def nearest_codes(z_MD: Tensor, codebook_KD: Tensor, *, rounded: bool = True) -> Tensor:
    """The codebook row nearest to each latent, by squared distance; the lowest of rows that are equally near.

    Args:
        z_MD: float32 latents.
        codebook_KD: float32 codebook.
        rounded: add the latent's own square, as transformers' quantiser does. It is the same for all codes and decides
            nothing but how distances are rounded, and so which near ties fall to the lower code: codes equal the
            reference's with it. Without it the distances take 0.7 of the time (CPU, 4,096 latents, 8,192 codes).

    Returns:
        (M,) int64 in 0 to K-1.
    """
    squares_K = torch.sum(codebook_KD**2, dim=1)
    columns_DK = codebook_KD.transpose(0, 1)
    codes = []
    for part_MD in z_MD.split(max(1, MAX_CELLS // len(codebook_KD))):
        if rounded:
            distances_MK = torch.sum(part_MD**2, dim=1, keepdim=True) + squares_K
            distances_MK = distances_MK.sub_((part_MD @ columns_DK).mul_(2))
        else:
            distances_MK = torch.addmm(squares_K, part_MD, columns_DK, alpha=-2)
        codes.append(torch.argmin(distances_MK, dim=1))
        del distances_MK
    return torch.cat(codes) if codes else z_MD.new_empty(0, dtype=torch.int64)
