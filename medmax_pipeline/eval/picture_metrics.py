"""How alike two pictures are, by their codes and pixels. No weights but the image tokenizer's own.

They compare a generated picture with the reference picture as the same tokenizer reconstructs it, so that what the
tokenizer loses is charged to nobody. None of them says whether a picture shows what its caption says; similarity by a
trained network (BiomedCLIP) is another metric and keeps its own name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PSNR_CAP_DB = 100.0
"""Equal pictures have no finite ratio; they get this, above what any two unequal 8-bit pictures up to 512 px reach."""


def code_histogram(codes: npt.NDArray[np.int64], codebook_size: int) -> npt.NDArray[np.float64]:
    """How often each code occurs in a picture: (codebook_size,)."""
    import numpy as np

    return np.bincount(codes, minlength=codebook_size).astype(np.float64)


def cosine(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Cosine of two histograms that are not empty, 0 to 1."""
    import numpy as np

    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def psnr_db(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures of one shape, in decibel, at most 100."""
    import numpy as np

    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return PSNR_CAP_DB if error == 0 else min(PSNR_CAP_DB, 10 * math.log10(255.0**2 / error))
