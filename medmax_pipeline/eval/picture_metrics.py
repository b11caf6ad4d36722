"""How alike two pictures are by their codes (by their pixels: `tokens/likeness.py`). No weights but the image
tokenizer's own.

They compare a generated picture with the reference picture as the same tokenizer reconstructs it, so that what the
tokenizer loses is charged to nobody. None of them says whether a picture shows what its caption says; similarity by a
trained network is `picture_text.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def code_histogram(codes: npt.NDArray[np.int64], codebook_size: int) -> npt.NDArray[np.float64]:
    """How often each code occurs in a picture: (codebook_size,)."""
    import numpy as np

    return np.bincount(codes, minlength=codebook_size).astype(np.float64)


def histogram_cosine(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Cosine of two histograms that are not empty, 0 to 1."""
    import numpy as np

    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
