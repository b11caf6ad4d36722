"""Packs in, tensors out: what one step sees. Order and reading are `shards/reader.py`; the objective is `loss.py`.

The whole state of the data is the number of the step: it names its pack, whatever was read before.

T tokens of a pack, D documents (sequences) in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError

Weighting = Literal["sample", "token"]


class Pack(Protocol):
    """Whole sequences, one after another."""

    @property
    def ids(self) -> npt.NDArray[np.uint16]:
        """(T,) ids."""

    @property
    def cu_seqlens(self) -> npt.NDArray[np.int32]:
        """(D+1,) cumulative lengths from 0 to T."""

    @property
    def spans(self) -> Sequence[Sequence[tuple[int, int]]]:
        """Of each sequence, the [start, end) of what is trained, counted from the pack's first id."""


class Packs(Protocol):
    """A set of packs and its order in each epoch."""

    def __len__(self) -> int:
        """How many packs."""

    def pack(self, number: int) -> Pack:
        """One pack."""

    def position(self, taken: int, seed: int) -> int:
        """Number of the pack that comes after `taken` packs, epoch after epoch."""


@dataclass(frozen=True)
class Batch:
    """One step's tensors.

    Attributes:
        ids_T: int64 ids.
        positions_T: int64 place of each token in its document.
        cu_seqlens: (D+1,) int32.
        trained_T: bool, True where the token is a target.
        weight_T: float32 share of each target in the step's loss; sums to 1, and is 0 where nothing is trained.
        image_T: bool, True where the token is an image code.
        tokens: T without the padding.
    """

    ids_T: Tensor
    positions_T: Tensor
    cu_seqlens: Tensor
    trained_T: Tensor
    weight_T: Tensor
    image_T: Tensor
    tokens: int

    def to(self, device: str) -> Batch:
        """The same on another device; bounds stay with the host, which reads them."""
        return Batch(
            self.ids_T.to(device),
            self.positions_T.to(device),
            self.cu_seqlens,
            self.trained_T.to(device),
            self.weight_T.to(device),
            self.image_T.to(device),
            self.tokens,
        )


def collate(pack: Pack, image_ids: frozenset[int], weighting: Weighting, *, multiple: int = 1, pad: int = 1) -> Batch:
    """A pack as tensors.

    Args:
        pack: what the reader gave.
        image_ids: ids that stand for image codes.
        weighting: `sample`: each sequence has the same share, whatever its length; `token`: each target has.
        multiple: the length is rounded up to it by one more document of `pad`, of which nothing is trained.
        pad: the id that fills.

    Raises:
        TokenError: a span leaves its sequence or begins at its first token, or nothing in the pack is trained.
    """
    bounds = np.asarray(pack.cu_seqlens, dtype=np.int64)
    length = int(bounds[-1])
    total = -(-length // multiple) * multiple
    ids = np.full(total, pad, dtype=np.int64)
    ids[:length] = pack.ids
    starts = bounds[:-1]
    positions = np.arange(total) - np.repeat(np.append(starts, length), np.append(np.diff(bounds), total - length))
    weight = np.zeros(total, dtype=np.float64)
    for number, spans in enumerate(pack.spans):
        _weigh(weight, int(starts[number]), int(bounds[number + 1]), spans, weighting)
    if not weight.any():
        raise TokenError("a pack has no trained token; shards must hold responses. Build the shards again.")
    trained = weight > 0
    ends = bounds if total == length else np.append(bounds, total)
    return Batch(
        ids_T=torch.from_numpy(ids),
        positions_T=torch.from_numpy(positions.astype(np.int64)),
        cu_seqlens=torch.from_numpy(ends.astype(np.int32)),
        trained_T=torch.from_numpy(trained),
        weight_T=torch.from_numpy((weight / weight.sum()).astype(np.float32)),
        image_T=torch.from_numpy(_stands_for_code(image_ids)[ids]),
        tokens=length,
    )


@lru_cache(maxsize=8)
def _stands_for_code(image_ids: frozenset[int]) -> npt.NDArray[np.bool_]:
    """(65,536,) bool by id: a look-up costs a tenth of a search among the codes."""
    table = np.zeros(1 << 16, dtype=np.bool_)
    table[list(image_ids)] = True
    return table


def _weigh(
    weight: npt.NDArray[np.float64], start: int, end: int, spans: Sequence[tuple[int, int]], weighting: Weighting
) -> None:
    """Write the shares of one sequence, ids [start, end) of the pack, into `weight`."""
    trained = sum(last - first for first, last in spans)
    for first, last in spans:
        if not start < first < last <= end:
            raise TokenError(
                f"a trained span is [{first}, {last}) in a sequence of ids [{start}, {end}); it must lie inside and "
                "after the first id. Build the shards again."
            )
        weight[first:last] = 1.0 / trained if weighting == "sample" else 1.0
