"""What tuning gained and cost on pictures that it never saw: likeness of reconstructions, and codes that changed.

The figures of one picture are `tokens/likeness`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from medmax_pipeline.files import Json
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens.image import to_levels
from medmax_pipeline.tokens.likeness import psnr_db, ssim
from medmax_pipeline.training.tokenizer.pictures import Pixels, to_tensor

AT_ONCE = 4
"""Pictures that are decoded together; a decoder of the published size holds some GiB."""
SHEET_IMAGES = 8


class Likeness(NamedTuple):
    """Means over the pictures."""

    psnr_db: float
    ssim: float
    absolute: float
    """Mean absolute difference in levels, 0 to 255."""


class Gain(NamedTuple):
    """A tokenizer before and after tuning, on the same pictures."""

    before: Likeness
    after: Likeness
    codes_changed: float
    """Share of codes that are others now, 0 to 1."""
    pictures: int

    def figures(self) -> dict[str, Json]:
        """As the card and the asset's page tell them."""
        told: dict[str, Json] = {"pictures_held_out": self.pictures}
        for when, likeness in (("before", self.before), ("after", self.after)):
            told |= {
                f"psnr_{when}_db": round(likeness.psnr_db, 3),
                f"ssim_{when}": round(likeness.ssim, 4),
                f"absolute_difference_{when}": round(likeness.absolute, 3),
            }
        return told | {
            "psnr_gain_db": round(self.after.psnr_db - self.before.psnr_db, 3),
            "ssim_gain": round(self.after.ssim - self.before.ssim, 4),
            "codes_changed": round(self.codes_changed, 4),
        }


class _Seen(NamedTuple):
    """What one tokenizer makes of the pictures."""

    codes: list[list[int]]
    decoded: list[Pixels]


def measure(before: VQGAN, after: VQGAN, pictures: Sequence[Pixels]) -> tuple[Gain, bytes]:
    """The gain, and a sheet as PNG: originals, what they were decoded to before, and what after.

    Args:
        before: the untuned tokenizer.
        after: the tuned one, on the same device.
        pictures: at least one (H, W, 3) uint8, H = W = resolution of both.
    """
    old, new = _see(before, pictures), _see(after, pictures)
    changed = np.mean([np.not_equal(one, other).mean() for one, other in zip(old.codes, new.codes, strict=True)])
    gain = Gain(_likeness(pictures, old.decoded), _likeness(pictures, new.decoded), float(changed), len(pictures))
    rows = [np.concatenate(list(row)[:SHEET_IMAGES], axis=1) for row in (pictures, old.decoded, new.decoded)]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(file, "PNG")
    return gain, file.getvalue()


def _see(vqgan: VQGAN, pictures: Sequence[Pixels]) -> _Seen:
    device = next(vqgan.parameters()).device
    seen = _Seen([], [])
    for start in range(0, len(pictures), AT_ONCE):
        codes_BN = vqgan.encode(to_tensor(pictures[start : start + AT_ONCE]).to(device))
        seen.codes.extend(codes_BN.tolist())
        seen.decoded.extend(to_levels(vqgan.decode(codes_BN).permute(0, 2, 3, 1).cpu().numpy()))
    return seen


def _likeness(pictures: Sequence[Pixels], decoded: Sequence[Pixels]) -> Likeness:
    pairs = list(zip(pictures, decoded, strict=True))
    absolute = np.mean([np.abs(one.astype(np.int16) - other).mean() for one, other in pairs])
    return Likeness(
        float(np.mean([psnr_db(*pair) for pair in pairs])),
        float(np.mean([ssim(*pair) for pair in pairs])),
        float(absolute),
    )
