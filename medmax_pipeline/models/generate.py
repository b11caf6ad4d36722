"""Answers from the transformer: how likely given options are, and text, greedily.

Pictures are `guidance.py`, text and pictures in one answer `interleaved.py`; what a prompt looks like is
`tokens/sequence.py`; how an answer is scored is `eval/`.

B prompts, R rows that have not ended, T ids of an answer, V vocabulary, L predicted places, C hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Ids, Rows, Specials, Stepping, batches, prefill

LOOK_EVERY = 8
"""Steps between two looks at whether rows have ended, where looking means waiting for a device."""
ROWS = 64
"""Prompts side by side; it changes no answer."""


@torch.inference_mode()
def option_logprobs(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    options: Sequence[Sequence[Ids]],
    eoi: int,
    *,
    batch_size: int = ROWS,
) -> list[list[float]]:
    """How likely each option is as the continuation of its prompt.

    Options that differ in their last id only share one run; so options of one id cost one run a prompt.

    Args:
        model: the transformer.
        prompts: ids up to where the option begins.
        options: for each prompt its options' ids, each at least one.
        eoi: the end-of-image id; what several prompts begin with up to it runs once.
        batch_size: runs side by side.

    Returns:
        For each prompt and option the sum of its ids' log-probabilities over the whole vocabulary, in nats.

    Raises:
        TokenError: an option or a prompt is empty, or together they exceed the model's positions.
    """
    if len(prompts) != len(options):
        raise TokenError(f"{len(prompts)} prompts, {len(options)} lists of options; expected one list a prompt.")
    asked: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for prompt, choices in zip(prompts, options, strict=True):
        for option in choices:
            if not len(prompt) or not len(option):
                raise TokenError("a prompt or an option is empty; expected at least one id each.")
            asked.setdefault(_document(prompt, option), set()).add(tuple(map(int, option)))
    documents = list(asked)
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for batch in batches(documents, eoi, batch_size):
        given = [documents[index] for index in batch]
        tails = [max(map(len, asked[document])) for document in given]
        states = prefill(model, given, eoi, tails=tails).states
        for document, state_LC in zip(given, states, strict=True):
            logprobs_LV = model.lm_head(state_LC).float().log_softmax(dim=1)
            for option in asked[document]:
                targets_L1 = torch.tensor(option, device=logprobs_LV.device)[:, None]
                found[document, option] = float(logprobs_LV[-len(option) :].gather(1, targets_L1).sum())
    return [
        [found[_document(prompt, option), tuple(map(int, option))] for option in choices]
        for prompt, choices in zip(prompts, options, strict=True)
    ]


def _document(prompt: Ids, option: Ids) -> tuple[int, ...]:
    """What has to run for an option: the prompt and all of it but its last id."""
    return (*map(int, prompt), *map(int, option[:-1]))


class LastStates:
    """The state behind each prompt, kept for the prompts asked last: what comes first is all in it.

    So options of one id and the likeliest first ids, under any penalty, cost one run of the prompts together.
    """

    def __init__(self, model: MixedModalChameleon, vocabulary: Specials) -> None:
        self._model, self._vocabulary = model, vocabulary
        self._kept: dict[tuple[int, ...], Tensor] = {}

    @torch.inference_mode()
    def first_logprobs(self, prompts: Sequence[Ids], wanted: Sequence[Ids]) -> list[list[float]]:
        """Log-probability (nats) of each prompt's own wanted ids as its next one."""
        found = []
        for start, logits_BV in self._logits(prompts):
            for logprobs_V, ids in zip(logits_BV.log_softmax(dim=1), wanted[start : start + ROWS], strict=True):
                found.append(logprobs_V[torch.tensor(list(map(int, ids)), device=logprobs_V.device)].tolist())
        return found

    @torch.inference_mode()
    def first_ids(self, prompts: Sequence[Ids], repetition_penalty: float = 1.0) -> list[int]:
        """The id that `generate_text` would give first: text, or the end."""
        allowed_V = text_bias(self._model, self._vocabulary)
        found: list[int] = []
        for start, logits_BV in self._logits(prompts):
            weakened_BV = Penalty(self._model, prompts[start : start + ROWS], repetition_penalty).on(logits_BV)
            found += (weakened_BV + allowed_V).argmax(dim=1).tolist()
        return found

    def _logits(self, prompts: Sequence[Ids]) -> Iterator[tuple[int, Tensor]]:
        """Where each batch of prompts begins, and its (B, V) float32 logits."""
        states = self._of(prompts)
        for start in range(0, len(prompts), ROWS):
            yield start, self._model.lm_head(torch.stack(states[start : start + ROWS])).float()

    def _of(self, prompts: Sequence[Ids]) -> list[Tensor]:
        keys = [tuple(map(int, prompt)) for prompt in prompts]
        kept = {key: self._kept[key] for key in keys if key in self._kept}
        new = list(dict.fromkeys(key for key in keys if key not in kept))
        for batch in batches(new, self._vocabulary.eoi, ROWS):
            given = [new[index] for index in batch]
            states = prefill(self._model, given, self._vocabulary.eoi).states
            kept |= zip(given, torch.cat(states), strict=True)  # a copy: the states of all other ids go
        self._kept = kept
        return [kept[key] for key in keys]


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
        said_BT = _greedy(rows, len(given), max_new_tokens, penalty, allowed_V, vocabulary.eos)
        for index, said in zip(batch, said_BT.tolist(), strict=True):
            answers[index] = said[: said.index(vocabulary.eos)] if vocabulary.eos in said else said
    return answers


def _greedy(rows: Rows, count: int, steps: int, penalty: Penalty, allowed_V: Tensor, eos: int) -> Tensor:
    """(B, T) ids; what follows an end is the end. Rows that have ended leave the batch when half of it has."""
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
    return said_BT


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
