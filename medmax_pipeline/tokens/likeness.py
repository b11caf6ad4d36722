"""How alike two pictures are by their pixels: PSNR and SSIM. What is compared with what belongs to the caller.

Both say how much a tokenizer loses, not whether a picture shows what it should. numpy is imported when a figure is
computed, since lists of metrics are read without it.

H, W pixels, 3 channels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Values = npt.NDArray[np.float64]

PEAK: Final = 255.0
"""Of 8 bits."""
PSNR_CAP_DB: Final = 100.0
"""Equal pictures have no finite ratio; they get this, and so do those few that differ by less."""
WINDOW_PX: Final = 11
SIGMA_PX: Final = 1.5
K1: Final = 0.01
K2: Final = 0.03
"""Window and constants of Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
structural similarity", IEEE Transactions on Image Processing 13(4), 2004, section III C."""


def psnr_db(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures of one shape, in decibel, at most 100."""
    import numpy as np

    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return PSNR_CAP_DB if error == 0 else min(PSNR_CAP_DB, 10 * math.log10(PEAK**2 / error))


def ssim(one: Pixels, other: Pixels) -> float:
    """Mean structural similarity of two uint8 RGB pictures of one shape, -1 to 1; 1 where they are equal.

    Of each channel by itself, over all windows that lie inside the picture whole, then the mean; the paper has one
    channel, luminance.

    Args:
        one: (H, W, 3), both sides at least 11.
        other: as `one`.
    """
    assert one.shape == other.shape, f"{one.shape} and {other.shape}"
    assert min(one.shape[:2]) >= WINDOW_PX, f"{one.shape}: no window of {WINDOW_PX} px fits"
    x, y = one.astype("float64"), other.astype("float64")
    mean_x, mean_y = _smoothed(x), _smoothed(y)
    variances = _smoothed(x * x) - mean_x**2 + _smoothed(y * y) - mean_y**2
    covariance = _smoothed(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((alike / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))).mean())


def _smoothed(values: Values) -> Values:
    """Weighted means over the Gaussian window, where it fits: (H - 10, W - 10, 3)."""
    import numpy as np

    places = np.arange(WINDOW_PX) - WINDOW_PX // 2
    taps = np.exp(-(places**2) / (2 * SIGMA_PX**2))
    taps /= taps.sum()
    height, width = (side - WINDOW_PX + 1 for side in values.shape[:2])
    rows = sum(tap * values[place : place + height] for place, tap in enumerate(taps))
    smoothed: Values = sum(tap * rows[:, place : place + width] for place, tap in enumerate(taps))
    return smoothed
