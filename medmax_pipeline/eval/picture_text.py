"""Pictures and texts of items in the space of the build's similarity model, and the cosines between them.

What the model computes is `models/similarity.py`; which picture is set beside which text belongs to the families. The
paper's metric (BioMedCLIPScore, section 5) is this cosine with BiomedCLIP, and a caption that a model wrote can score
above the reference caption by it: show the reference's own beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medmax_pipeline.errors import ImageError
from medmax_pipeline.manifest import Lock

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medmax_pipeline.eval.scorers import Scorers
    from medmax_pipeline.models.similarity import Similarity

    Row = npt.NDArray[np.float32]

PICTURE_UNREAD = "source_picture_unread"
"""Reason of figures whose source picture is not to be had or does not decode."""


@dataclass(frozen=True, eq=False)
class Space:
    """Rows of length 1, each computed once and alone: sums of floats, and with them a score, then depend on no other
    item and no batch."""

    similarity: Similarity
    scorers: Scorers
    _rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    def source(self, image_id: str) -> Row:
        """A source's picture.

        Raises:
            ImageError: it is not to be had, or does not decode.
        """
        return self._row("source", image_id, lambda: self.similarity.images([self.scorers.picture(image_id)])[0])

    def drawn(self, sha256: str) -> Row:
        """A generated picture."""
        return self._row("drawn", sha256, lambda: self.similarity.images([self.scorers.drawn(sha256)])[0])

    def text(self, text: str) -> Row:
        """A text; the model cuts it to what it takes."""
        return self._row("text", text, lambda: self.similarity.texts([text])[0])

    def source_beside(self, image_id: str, *others: Row) -> tuple[float, ...] | None:
        """Cosines of a source's picture with other rows; None where it cannot be read."""
        try:
            mine = self.source(image_id)
        except ImageError:
            return None
        return tuple(cosine(mine, other) for other in others)

    def _row(self, what: str, name: str, made: Callable[[], Row]) -> Row:
        key = (what, name)
        if key not in self._rows:
            self._rows[key] = made()
        return self._rows[key]


def space_of(scorers: Scorers) -> Space | None:
    """The similarity model's space; None where it is locked."""
    return None if isinstance(scorers.similarity, Lock) else Space(scorers.similarity, scorers)


def cosine(one: Row, other: Row) -> float:
    """Cosine of two rows of length 1, -1 to 1."""
    return float(one @ other)
