"""Many prompts side by side: batches of them, their shared beginnings, and rows that go on one id at a time.

A row's result does not depend on its neighbours but for the rounding of sums: nobody looks beyond a row's own ids, and
positions count from the row's own first id. Which id comes next is decided by the callers, in `generate.py`,
`choosing.py`, `guidance.py` and `interleaved.py`; how the network computes is `cache.py`.

B prompts, R rows, S slots of the cache, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.cache import KeyValues, Places, forward, rotation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medmax_pipeline.models.chameleon import MixedModalChameleon

Ids = Sequence[int]
"""Token ids of one prompt or answer."""
Stepping = Literal["eager", "graph"]
"""How one id a row is computed: operation by operation, or (CUDA only) as a captured graph of them."""
REACH_STEP = 64
"""Attention looks at the first so many slots, rounded up: few shapes, and nothing far beyond the longest row."""
GRAPH_REACH_STEP = 256
"""The same for captured graphs: each reach is captured anew, which takes as long as dozens of steps."""
SLOT_BUDGET = 3 << 16
"""Slots of one batch's cache at most: 96 GiB of keys and values at the published 7B's 512 KiB a slot in bfloat16."""


class Specials(Protocol):
    """What generating needs to know of a vocabulary; `tokens.vocabulary.Vocabulary` is one."""

    @property
    def bos(self) -> int: ...
    @property
    def pad(self) -> int: ...
    @property
    def eos(self) -> int: ...
    @property
    def sep(self) -> int: ...
    @property
    def boi(self) -> int: ...
    @property
    def eoi(self) -> int: ...
    @property
    def first_code(self) -> int: ...
    @property
    def codebook_size(self) -> int: ...
    @property
    def codes_per_image(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def text_ids(self) -> npt.NDArray[np.int64]: ...


class Prefilled(NamedTuple):
    """Prompts that ran through the network.

    Attributes:
        cache: their keys and values.
        lengths: ids of each prompt.
        states: for each prompt (n, C) hidden states of its last n ids.
    """

    cache: KeyValues
    lengths: list[int]
    states: list[Tensor]


@torch.inference_mode()
def prefill(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    eoi: int,
    *,
    room: int = 0,
    spare_rows: int = 0,
    tails: Sequence[int] | None = None,
) -> Prefilled:
    """Run prompts through the network, pictures that several of them begin with only once.

    Args:
        model: the transformer.
        prompts: each at least one id.
        eoi: the end-of-image id: a prompt's beginning goes to its last picture's end.
        room: how many more ids each row may get.
        spare_rows: rows of the cache beside the prompts'.
        tails: of how many last ids each prompt's states are wanted; None for one each.

    Raises:
        TokenError: a prompt is empty, or prompt and room exceed the model's positions.
    """
    lengths = [len(prompt) for prompt in prompts]
    limit = int(model.config.max_position_embeddings)
    if not lengths or min(lengths) == 0:
        raise TokenError("a prompt is empty; expected at least the begin id.")
    if max(lengths) + room > limit:
        raise TokenError(
            f"a prompt of {max(lengths)} ids and {room} more exceed the model's {limit} positions. "
            "Shorten the prompt or the answer."
        )
    wanted = list(tails) if tails is not None else [1] * len(lengths)
    begins = [beginning(prompt, eoi, tail) for prompt, tail in zip(prompts, wanted, strict=True)]
    distinct = {begin: place for place, begin in enumerate(dict.fromkeys(begins))}
    if len(distinct) == len(prompts):
        begins, distinct = [()] * len(prompts), {(): 0}
    ends = [list(prompt[len(begin) :]) for prompt, begin in zip(prompts, begins, strict=True)]
    longest = max(map(len, distinct))
    cache = KeyValues(model, len(prompts) + spare_rows, longest + max(map(len, ends)) + room)
    device = model.lm_head.weight.device
    if longest:
        shared = KeyValues(model, len(distinct), longest)
        _extend(model, shared, [list(begin) for begin in distinct], [0] * len(distinct))
        owners_B = torch.tensor([distinct[begin] for begin in begins], device=device)
        cache.take(torch.arange(len(prompts), device=device), shared, owners_B, longest)
        del shared
    hidden_BQC = _extend(model, cache, ends, [len(begin) for begin in begins])
    states = [row_QC[len(end) - tail : len(end)] for row_QC, end, tail in zip(hidden_BQC, ends, wanted, strict=True)]
    return Prefilled(cache, lengths, states)


def beginning(prompt: Ids, eoi: int, tail: int = 1) -> tuple[int, ...]:
    """The ids up to the end of a prompt's last picture, without its last `tail` ids; none without a picture."""
    ids = tuple(map(int, prompt))
    pictured = len(ids) - ids[::-1].index(eoi) if eoi in ids else 0
    return ids[: max(0, min(pictured, len(ids) - tail))]


def _extend(model: MixedModalChameleon, cache: KeyValues, ends: Sequence[Ids], starts: Sequence[int]) -> Tensor:
    """Give the first rows ids of their own, from their own slots on: (B, Q, C), padded on the right."""
    device = model.lm_head.weight.device
    width = max(map(len, ends))
    padded = torch.zeros((len(ends), width), dtype=torch.int64)
    for row, end in enumerate(ends):
        padded[row, : len(end)] = torch.tensor(end)
    cos_S1D, sin_S1D = rotation(model, max(starts) + width)
    if not any(starts):
        places = Places(len(ends), 0, None, 0, None)
        return forward(model, cache, padded.to(device), (cos_S1D[None, :width], sin_S1D[None, :width]), places)
    slots_BQ = (torch.tensor(starts)[:, None] + torch.arange(width)).to(device)
    reach = max(starts) + width
    mask = torch.arange(reach, device=device) <= slots_BQ[:, None, :, None]
    places = Places(len(ends), None, slots_BQ, reach, mask)
    return forward(model, cache, padded.to(device), (cos_S1D[slots_BQ], sin_S1D[slots_BQ]), places)


class Rows:
    """Prompts in a cache, ready for their next ids.

    Args:
        model: the transformer.
        prompts: the rows' ids, each at least one.
        room: how many more ids each row may get.
        eoi: the end-of-image id, for shared beginnings.
        spare: further rows, empty until `replace` fills them.
        stepping: how `append` computes.

    Attributes:
        hidden_RC: last hidden state of each row that took part in the last call.

    Raises:
        TokenError: a prompt is empty, or prompt and room exceed the model's positions.
    """

    def __init__(
        self,
        model: MixedModalChameleon,
        prompts: Sequence[Ids],
        room: int,
        eoi: int,
        *,
        spare: int = 0,
        stepping: Stepping = "eager",
    ) -> None:
        filled = prefill(model, prompts, eoi, room=room, spare_rows=spare)
        self._model, self._eoi, self._stepping = model, eoi, stepping
        self._cache = filled.cache
        device = model.lm_head.weight.device
        self._lengths_R = torch.tensor([*filled.lengths, *[0] * spare], device=device)
        self._longest = max(filled.lengths)
        self._turned = rotation(model, self._cache.slots)
        self._slots_S = torch.arange(self._cache.slots, device=device)
        self._graphs: dict[tuple[int, int], _Graph] = {}
        self.hidden_RC = torch.cat(filled.states)

    def logits(self, first: int = 0, count: int | None = None, *, rows: int | None = None) -> Tensor:
        """(R, V) float32 of each row's next id; of `count` ids from `first` on, or of the first rows, where asked."""
        head, hidden_RC = self._model.lm_head, self.hidden_RC[:rows]
        whole: Tensor = head(hidden_RC) if count is None else functional.linear(hidden_RC, head.weight[first:][:count])
        return whole.float()

    @torch.inference_mode()
    def append(self, ids_R: Tensor, grow_R: Tensor | None = None) -> None:
        """Give each of the first rows one more id and compute what may follow.

        Args:
            ids_R: int64, for as many of the first rows as it is long.
            grow_R: int64, 0 for rows that only stand by: their id leaves no trace. None: all grow.
        """
        rows = len(ids_R)
        self._longest += 1
        step = GRAPH_REACH_STEP if self._stepping == "graph" else REACH_STEP
        reach = min(-(-self._longest // step) * step, self._cache.slots)
        if self._stepping == "graph":
            key = (rows, reach)
            if key not in self._graphs:
                self._graphs = {key: _Graph(self, rows, reach)}  # an older one's reach is never needed again
            self.hidden_RC = self._graphs[key].run(ids_R)
        else:
            self.hidden_RC = self.step(ids_R, reach)
        self._lengths_R[:rows] += 1 if grow_R is None else grow_R

    def step(self, ids_R: Tensor, reach: int) -> Tensor:
        """(R, C) of one id for each of the first rows, written behind their last; nothing grows. For `append`."""
        rows = len(ids_R)
        slots_R = self._lengths_R[:rows].clamp_max(self._cache.slots - 1)
        cos_S1D, sin_S1D = self._turned
        mask = (self._slots_S[:reach] <= slots_R[:, None])[:, None, None]
        places = Places(rows, None, slots_R[:, None], reach, mask)
        turned = cos_S1D[slots_R][:, None], sin_S1D[slots_R][:, None]
        return forward(self._model, self._cache, ids_R[:, None], turned, places)[:, 0]

    @torch.inference_mode()
    def peek(self, ids: Sequence[Ids]) -> Tensor:
        """What would follow several more ids: (R, Q, C), padded on the right. Nothing grows.

        They are written beyond the rows' ends, where nobody looks, and the next ids overwrite them.

        Args:
            ids: for each row as many as its room holds; none for rows that stand by.
        """
        return _extend(self._model, self._cache, ids, self._lengths_R[: len(ids)].tolist())

    @torch.inference_mode()
    def keep(self, rows_R: Tensor) -> None:
        """Go on with these rows alone, in this order."""
        self._cache.keep(rows_R)
        self._graphs.clear()
        self._lengths_R, self.hidden_RC = self._lengths_R[rows_R], self.hidden_RC[rows_R]

    @torch.inference_mode()
    def replace(self, rows: Sequence[int], prompts: Sequence[Ids]) -> None:
        """Let rows begin anew with these ids; what follows them is computed with their next id."""
        filled = prefill(self._model, prompts, self._eoi)
        rows_R = torch.tensor(rows, device=self._lengths_R.device)
        own_R = torch.arange(len(rows), device=rows_R.device)
        length = min(filled.cache.slots, self._cache.slots)
        self._cache.take(rows_R, filled.cache, own_R, length)
        self._lengths_R[rows_R] = torch.tensor(filled.lengths, device=rows_R.device)
        self._longest = max(self._longest, *filled.lengths)


class _Graph:
    """One step of so many rows as a CUDA graph: launched whole, since its kernels are shorter than their launches.

    Untested on a device: it was written where there is none.
    """

    def __init__(self, rows: Rows, count: int, reach: int) -> None:
        self._ids_R = torch.zeros(count, dtype=torch.int64, device=rows.hidden_RC.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # what libraries set up on first use may not be captured
                rows.step(self._ids_R, reach)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._hidden_RC = rows.step(self._ids_R, reach)

    def run(self, ids_R: Tensor) -> Tensor:
        """(R, C), overwritten by the next run."""
        self._ids_R.copy_(ids_R)
        self._graph.replay()
        return self._hidden_RC


def batches(prompts: Sequence[Ids], eoi: int, rows: int, room: int = 0) -> list[list[int]]:
    """Indices of prompts in batches: those that begin with the same picture together, and of like length.

    Args:
        prompts: the prompts.
        eoi: the end-of-image id.
        rows: prompts in a batch at most; fewer where their slots would exceed `SLOT_BUDGET`.
        room: slots that each prompt needs beside its own.
    """
    begins = [beginning(prompt, eoi) for prompt in prompts]
    seen = {begin: place for place, begin in enumerate(dict.fromkeys(begins))}
    order = sorted(range(len(prompts)), key=lambda at: (-len(begins[at]), seen[begins[at]], -len(prompts[at]), at))
    made: list[list[int]] = []
    widest = 0
    for index in order:
        widest = max(widest, len(prompts[index]) + room)
        if not made or len(made[-1]) == rows or (len(made[-1]) + 1) * widest > SLOT_BUDGET:
            made.append([])
            widest = len(prompts[index]) + room
        made[-1].append(index)
    return made
