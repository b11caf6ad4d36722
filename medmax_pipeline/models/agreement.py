"""How many codes of one tokenizer in fast mode are those of the same in exact mode, on real pictures.

What the choice of `fast` costs in codes depends on weights and pictures, so it is measured on those of the run. Which
pictures are taken, and where the figures are written, decides the caller.

B pictures, N codes a picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from medmax_pipeline.models.vqgan import VQGAN

BATCH = 8
"""Pictures encoded at once."""


class Agreement(NamedTuple):
    """What two tokenizers say of the same pictures."""

    codes: float
    """Share of codes that are equal, 0 to 1."""
    pictures: float
    """Share of pictures all of whose codes are equal, 0 to 1."""
    compared: int
    """Pictures."""


def agreement(fast: VQGAN, exact: VQGAN, pixels_BCHW: Tensor) -> Agreement:
    """Encode the same pictures with both and compare.

    Args:
        fast: the tokenizer in fast mode, on the pixels' device.
        exact: the same in exact mode, there too.
        pixels_BCHW: (B, 3, resolution, resolution) float32 in [-1, 1], B at least 1.
    """
    assert len(pixels_BCHW) > 0, "agreement on no pictures is not a number"
    equal_codes = equal_pictures = 0
    for part_BCHW in pixels_BCHW.split(BATCH):
        equal_BN = fast.encode(part_BCHW) == exact.encode(part_BCHW)
        equal_codes += int(equal_BN.sum())
        equal_pictures += int(equal_BN.all(dim=1).sum())
    count = len(pixels_BCHW)
    return Agreement(equal_codes / (count * exact.codes_per_image), equal_pictures / count, count)
