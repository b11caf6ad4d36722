"""Running many prompts side by side: rows padded on the left, one static cache, one step at a time.

A row's result does not depend on its neighbours: padding is masked for every query, and positions count from the
row's own first token. Which id comes next is decided by the callers, in `generate.py` and `guidance.py`.

B rows, S slots of the cache, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from transformers import StaticCache

from medmax_pipeline.errors import TokenError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medmax_pipeline.models.chameleon import MixedModalChameleon

Ids = Sequence[int]
"""Token ids of one prompt or answer."""


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


class Rows:
    """Prompts in a cache, ready for their next ids.

    Args:
        model: the transformer.
        prompts: the rows' ids, each at least one.
        room: how many more ids each row may get.
        pad: the id that fills rows on the left; it is never looked at.

    Attributes:
        logits_BV: float32 logits of each row's next id.

    Raises:
        TokenError: a prompt is empty, or prompt and room exceed the model's positions.
    """

    def __init__(self, model: MixedModalChameleon, prompts: Sequence[Ids], room: int, pad: int) -> None:
        lengths = [len(prompt) for prompt in prompts]
        limit = int(model.config.max_position_embeddings)
        if not lengths or min(lengths) == 0:
            raise TokenError("a prompt is empty; expected at least the begin id.")
        if max(lengths) + room > limit:
            raise TokenError(
                f"a prompt of {max(lengths)} ids and {room} more exceed the model's {limit} positions. "
                "Shorten the prompt or the answer."
            )
        self._model = model
        self._device = model.lm_head.weight.device
        width = max(lengths)
        ids = torch.full((len(prompts), width), pad, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, width - lengths[row] :] = torch.tensor(prompt, dtype=torch.int64)
        self._begin_B = (width - torch.tensor(lengths)).to(self._device)
        self._slots_S = torch.arange(width + room, device=self._device)
        self._cache: Any = StaticCache(config=model.config, max_cache_len=width + room)
        self._filled = 0
        self.logits_BV = self._run(ids.to(self._device))

    def append(self, ids_B: Tensor) -> None:
        """Give each row one more id and compute what may follow."""
        self.logits_BV = self._run(ids_B[:, None].to(self._device))

    @torch.inference_mode()
    def _run(self, ids_BQ: Tensor) -> Tensor:
        queries_Q = self._slots_S[self._filled : self._filled + ids_BQ.shape[1]]
        self._filled += ids_BQ.shape[1]
        outputs = self._model(
            input_ids=ids_BQ,
            attention_mask=self._mask(queries_Q)[:, None],
            position_ids=(queries_Q[None] - self._begin_B[:, None]).clamp_min(0),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_BV: Tensor = outputs.logits[:, -1].float()
        return logits_BV

    def _mask(self, queries_Q: Tensor) -> Tensor:
        """(B, Q, S) bool: the row's own past. Padding queries see themselves, so that no softmax is over nothing."""
        past_QS = self._slots_S[None] <= queries_Q[:, None]
        own_BS = self._slots_S[None] >= self._begin_B[:, None]
        itself_QS = self._slots_S[None] == queries_Q[:, None]
        return (past_QS[None] & own_BS[:, None]) | itself_QS[None]


def by_length(prompts: Sequence[Ids], batch_size: int) -> list[list[int]]:
    """Indices of prompts in batches of like length, so that little is padded; longest first."""
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
