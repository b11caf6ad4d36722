"""Packs in, tensors out: what one process sees of one step. Order and reading are `shards/reader.py`, the objective is
`loss.py`.

The whole state of the data is the number of the step: it names its packs, whatever was read before. A step's packs are
shared among the processes: whole ones where there are enough, else their documents. Every target has the same share of
the step's loss whoever computes it, so the number of processes changes nothing but the order of sums.

T tokens of a pack, D documents (sequences) in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medmax_pipeline.errors import ConfigError, TokenError
from medmax_pipeline.recipe import Recipe
from medmax_pipeline.training.group import Group

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


class Part(NamedTuple):
    """Some documents of a pack, as a pack of their own."""

    ids: npt.NDArray[np.uint16]
    cu_seqlens: npt.NDArray[np.int32]
    spans: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Batch:
    """What is computed at once: one pack, or a process's share of it.

    Attributes:
        ids_T: int64 ids.
        positions_T: int64 place of each token in its document.
        cu_seqlens: (D+1,) int32.
        trained_T: bool, True where the token is a target.
        weight_T: float32 share of each target in the step's loss, summing to 1 over the step; 0 elsewhere.
        image_T: bool, True where the token is an image code.
        tokens: T without the padding.
        seed: of the random numbers that are drawn while it is computed.
    """

    ids_T: Tensor
    positions_T: Tensor
    cu_seqlens: Tensor
    trained_T: Tensor
    weight_T: Tensor
    image_T: Tensor
    tokens: int
    seed: int = 0

    def to(self, device: str) -> Batch:
        """The same on another device; bounds stay with the host, which reads them."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("ids_T", "positions_T", "trained_T", "weight_T", "image_T")
        }
        return replace(self, **moved)

    @property
    def lengths(self) -> list[int]:
        """Of the documents, in tokens; without what only fills."""
        lengths: list[int] = self.cu_seqlens.diff().tolist()
        return lengths if sum(lengths) == self.tokens else lengths[:-1]


class StepData:
    """What this process computes in each step."""

    def __init__(
        self, packs: Packs, recipe: Recipe, image_ids: frozenset[int], group: Group, *, multiple: int, pad: int
    ) -> None:
        """Say how packs are shared.

        Args:
            packs: and their order.
            recipe: its seed, weighting, prompt dropout and packs a step.
            image_ids: ids that stand for image codes.
            group: this process among all.
            multiple: lengths are rounded up to it.
            pad: the id that fills.

        Raises:
            ConfigError: the packs of a step cannot be shared evenly.
        """
        check_shared(recipe.packs_per_step, group.size)
        self._packs, self._recipe, self._images, self._group = packs, recipe, image_ids, group
        self._multiple, self._pad = multiple, pad

    def batches(self, step: int) -> list[Batch]:
        """This process's share of a step (from 0), one batch a pack or part of one; at least one."""
        each, group = self._recipe.packs_per_step, self._group
        numbers = [self._packs.position(step * each + place, self._recipe.seed) for place in range(each)]
        packs = [self._packs.pack(number) for number in numbers]
        total = sum(trained_weight(pack, self._recipe.loss_weighting) for pack in packs)
        if not total:
            raise TokenError("a pack has no trained token; shards must hold responses. Build the shards again.")
        if each >= group.size:
            mine = range(each)[group.rank * each // group.size : (group.rank + 1) * each // group.size]
            return [self._batch(packs[place], step, place, 0, 1, total) for place in mine]
        sharers = group.size // each
        place, piece = divmod(group.rank, sharers)
        return [self._batch(packs[place], step, place, piece, sharers, total)]

    def _batch(self, pack: Pack, step: int, place: int, piece: int, sharers: int, total: float) -> Batch:
        recipe = self._recipe
        chosen = shared(np.diff(pack.cu_seqlens).tolist(), sharers)[piece] if sharers > 1 else None
        bare: dict[int, int] = {}
        if recipe.prompt_dropout:
            for number in range(len(pack.spans)):
                picture = drawn_picture(pack, number, self._images)
                if picture is not None and chance(recipe.seed, step, place, number) < recipe.prompt_dropout:
                    bare[number] = picture
        seed = int(2**53 * chance(recipe.seed, step, place, -1 - piece))
        if chosen is not None and not any(pack.spans[number] for number in chosen):
            return replace(silent(self._pad), seed=seed)
        part = pack if chosen is None and not bare else part_of(pack, chosen, bare)
        made = collate(part, self._images, recipe.loss_weighting, total=total, multiple=self._multiple, pad=self._pad)
        return replace(made, seed=seed)


def check_shared(packs_per_step: int, processes: int) -> None:
    """Refuse numbers of processes among which a step cannot be shared.

    Raises:
        ConfigError: neither number is a multiple of the other.
    """
    if packs_per_step % processes and processes % packs_per_step:
        raise ConfigError(
            f"{packs_per_step} packs a step cannot be shared by {processes} processes; one number must be a multiple "
            "of the other. Change packs_per_step in the recipe (another objective), or the number of processes."
        )


def shared(lengths: Sequence[int], sharers: int) -> list[list[int]]:
    """Documents, by number, for each of some processes: the longest first to whoever has the fewest tokens."""
    loads, parts = [0] * sharers, [list[int]() for _ in range(sharers)]
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        lightest = loads.index(min(loads))
        loads[lightest] += lengths[number]
        parts[lightest].append(number)
    return [sorted(part) for part in parts]


def chance(*of: int) -> float:
    """A number in [0, 1) that these integers decide, on every machine and in every process."""
    digest = hashlib.blake2b("/".join(map(str, of)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64


def trained_weight(pack: Pack, weighting: Weighting) -> float:
    """What a pack counts in its step: its documents that are trained, or its targets."""
    if weighting == "sample":
        return float(sum(1 for spans in pack.spans if spans))
    return float(sum(end - start for spans in pack.spans for start, end in spans))


def drawn_picture(pack: Pack, number: int, image_ids: frozenset[int]) -> int | None:
    """Where in a pack the first picture of a document's only reply begins; None where there is none."""
    spans = pack.spans[number]
    if len(spans) != 1:
        return None
    start, end = spans[0]
    codes = np.flatnonzero(_stands_for_code(image_ids)[pack.ids[start:end]])
    return start + int(codes[0]) - 1 if len(codes) and codes[0] else None


def part_of(pack: Pack, chosen: Sequence[int] | None, bare: Mapping[int, int]) -> Part:
    """Some documents of a pack.

    Args:
        pack: where they lie.
        chosen: their numbers; None: all.
        bare: where the pictures of those begin that lose everything between begin and picture. So bare is the context
            that generation under guidance compares with (Ho and Salimans 2022, classifier-free guidance).
    """
    ids, bounds, spans = [], [0], []
    for number in range(len(pack.spans)) if chosen is None else chosen:
        start, end = int(pack.cu_seqlens[number]), int(pack.cu_seqlens[number + 1])
        kept = bare.get(number, start + 1)
        moved = bounds[-1] + 1 - kept
        spans.append(tuple((max(first, kept) + moved, last + moved) for first, last in pack.spans[number]))
        ids += [pack.ids[start : start + 1], pack.ids[kept:end]]
        bounds.append(end + moved)
    return Part(np.concatenate(ids), np.array(bounds, dtype=np.int32), tuple(spans))


def silent(pad: int) -> Batch:
    """A batch that teaches nothing, for a process without a document: its collective sums still need a backward."""
    return Batch(
        ids_T=torch.full((2,), pad),
        positions_T=torch.arange(2),
        cu_seqlens=torch.tensor([0, 2], dtype=torch.int32),
        trained_T=torch.tensor([False, True]),
        weight_T=torch.zeros(2),
        image_T=torch.zeros(2, dtype=torch.bool),
        tokens=0,
    )


def collate(
    pack: Pack,
    image_ids: frozenset[int],
    weighting: Weighting,
    *,
    total: float | None = None,
    multiple: int = 1,
    pad: int = 1,
) -> Batch:
    """A pack as tensors.

    Args:
        pack: what the reader gave.
        image_ids: ids that stand for image codes.
        weighting: `sample`: each sequence has the same share, whatever its length; `token`: each target has.
        total: `trained_weight` of the whole step; None: the pack is the step.
        multiple: the length is rounded up to it by one more document of `pad`, of which nothing is trained.
        pad: the id that fills.

    Raises:
        TokenError: a span leaves its sequence or begins at its first token, or nothing in the pack is trained.
    """
    bounds = np.asarray(pack.cu_seqlens, dtype=np.int64)
    length = int(bounds[-1])
    rounded = -(-length // multiple) * multiple
    ids = np.full(rounded, pad, dtype=np.int64)
    ids[:length] = pack.ids
    starts = bounds[:-1]
    positions = np.arange(rounded) - np.repeat(np.append(starts, length), np.append(np.diff(bounds), rounded - length))
    weight = np.zeros(rounded, dtype=np.float64)
    for number, spans in enumerate(pack.spans):
        _weigh(weight, int(starts[number]), int(bounds[number + 1]), spans, weighting)
    trained = weight > 0
    if not trained.any():
        raise TokenError("a pack has no trained token; shards must hold responses. Build the shards again.")
    weight /= trained_weight(pack, weighting) if total is None else total
    ends = bounds if rounded == length else np.append(bounds, rounded)
    return Batch(
        ids_T=torch.from_numpy(ids),
        positions_T=torch.from_numpy(positions.astype(np.int64)),
        cu_seqlens=torch.from_numpy(ends.astype(np.int32)),
        trained_T=torch.from_numpy(trained),
        weight_T=torch.from_numpy(weight.astype(np.float32)),
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
