"""Text from the transformer, greedily.

Given answers to choose from are `choosing.py`, pictures `guidance.py`, text and pictures in one answer
`interleaved.py`; what a prompt looks like is `tokens/sequence.py`; how an answer is scored is `eval/`.

B prompts, R rows that have not ended, T ids of an answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Ids, Rows, Specials, Stepping, batches

LOOK_EVERY = 8
"""Steps between two looks at whether rows have ended, where looking means waiting for a device."""
ROWS = 64
"""Prompts side by side; it changes no answer."""


@torch.inference_mode()
def generate_text(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    vocabulary: Specials,
    max_new_tokens: int,
    *,
    repetition_penalty: float = 1.0,
    batch_size: int = ROWS,
    stepping: Stepping = "eager",
) -> list[list[int]]:
    """The likeliest text, id by id, after each prompt. One id costs one run of the prompt and nothing more.

    Only text ids and the end may come; no image code, no other special.

    Args:
        model: the transformer.
        prompts: ids up to where the answer begins.
        vocabulary: says which ids are text.
        max_new_tokens: where an answer without an end is cut.
        repetition_penalty: divides the logits of ids seen in prompt or answer (multiplies negative ones); 1 for none.
            The published inference code uses 1.2, over the prompt too.
        batch_size: prompts side by side; it changes no answer.
        stepping: how single ids are computed.

    Returns:
        For each prompt the answer's ids, without the end.

    Raises:
        TokenError: a prompt is empty or leaves no room in the model's positions.
    """
    allowed_V = text_bias(model, vocabulary)
    answers: list[list[int]] = [[] for _ in prompts]
    for batch in batches(prompts, vocabulary.eoi, batch_size, max_new_tokens):
        given = [prompts[index] for index in batch]
        penalty = Penalty(model, given, repetition_penalty)
        rows = Rows(model, given, max_new_tokens, vocabulary.eoi, stepping=stepping)
        said = greedy(rows, len(given), max_new_tokens, penalty, allowed_V, vocabulary.eos)
        for index, ids in zip(batch, said, strict=True):
            answers[index] = ids
    return answers


def greedy(rows: Rows, count: int, steps: int, penalty: Penalty, allowed_V: Tensor, eos: int) -> list[list[int]]:
    """Let rows go on with text to its end, or for so many ids. Half of them that have ended leave the batch.

    Args:
        rows: behind their prompts; used up by it.
        count: how many rows.
        steps: ids of an answer at most.
        penalty: of these rows.
        allowed_V: see `text_bias`.
        eos: the end.

    Returns:
        Each row's ids, without the end.
    """
    device = allowed_V.device
    said_BT = torch.full((count, steps), eos, device=device)
    owners_R = torch.arange(count, device=device)
    ended_R = torch.zeros(count, dtype=torch.bool, device=device)
    every = 1 if device.type == "cpu" else LOOK_EVERY
    for step in range(steps):
        next_R = (penalty.on(rows.logits()) + allowed_V).argmax(dim=1).masked_fill_(ended_R, eos)
        said_BT[owners_R, step] = next_R
        ended_R = next_R == eos
        if step + 1 == steps:
            break
        if step % every == 0:
            going = (~ended_R).nonzero().squeeze(1)
            if not len(going):
                break
            if 2 * len(going) <= len(ended_R):
                rows.keep(going)
                penalty.keep(going)
                owners_R, next_R, ended_R = owners_R[going], next_R[going], ended_R[going]
        penalty.add(next_R)
        rows.append(next_R)
    return [said[: said.index(eos)] if eos in said else said for said in said_BT.tolist()]


def text_bias(model: MixedModalChameleon, vocabulary: Specials) -> Tensor:
    """(V,) what is added to logits where text is due: 0 for text and the end, minus infinity for all else."""
    allowed_V = torch.full((model.config.vocab_size,), float("-inf"), device=model.lm_head.weight.device)
    allowed_V[torch.from_numpy(vocabulary.text_ids.copy())] = 0.0
    allowed_V[vocabulary.eos] = 0.0
    return allowed_V


class Penalty:
    """The repetition penalty of the published inference code: over all ids of prompt and answer, also for greedy text.

    Args:
        model: the transformer.
        prompts: the rows' ids so far.
        factor: divides positive logits of ids that were seen, multiplies negative ones; 1 for none.
    """

    def __init__(self, model: MixedModalChameleon, prompts: Sequence[Ids], factor: float) -> None:
        self._factor = factor
        self._seen_RV: Tensor | None = None
        if factor != 1.0:
            seen = torch.zeros(len(prompts), model.config.vocab_size, dtype=torch.bool)
            for row, prompt in enumerate(prompts):
                seen[row, torch.tensor(prompt, dtype=torch.int64)] = True
            self._seen_RV = seen.to(model.lm_head.weight.device)

    def on(self, logits_RV: Tensor) -> Tensor:
        """The weakened logits; the same ones without a penalty."""
        if self._seen_RV is None:
            return logits_RV
        weakened = torch.where(logits_RV > 0, logits_RV / self._factor, logits_RV * self._factor)
        return torch.where(self._seen_RV, weakened, logits_RV)

    def add(self, ids_R: Tensor) -> None:
        """Each row's newest id."""
        if self._seen_RV is not None:
            self._seen_RV.scatter_(1, ids_R[:, None], True)

    def keep(self, rows_R: Tensor) -> None:
        """Go on with these rows alone."""
        if self._seen_RV is not None:
            self._seen_RV = self._seen_RV[rows_R]
