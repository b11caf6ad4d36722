"""Answers from the transformer: how likely given options are, and text, greedily.

Pictures are `guidance.py`; what a prompt looks like is `tokens/sequence.py`; how an answer is scored is `eval/`.

B rows, V vocabulary, L predicted places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Ids, Rows, Specials, by_length
from medmax_pipeline.models.guidance import generate_images as generate_images

TOKEN_BUDGET = 8192
"""Tokens scored in one pack."""


@torch.inference_mode()
def option_logprobs(
    model: MixedModalChameleon, prompts: Sequence[Ids], options: Sequence[Sequence[Ids]]
) -> list[list[float]]:
    """How likely each option is as the continuation of its prompt.

    Prompts and options run in packs, without padding. Options that differ in their last id only share one run; so
    options of one id cost one run a prompt.

    Args:
        model: the transformer.
        prompts: ids up to where the option begins.
        options: for each prompt its options' ids, each at least one.

    Returns:
        For each prompt and option the sum of its ids' log-probabilities over the whole vocabulary, in nats.

    Raises:
        TokenError: an option or a prompt is empty, or together they exceed the model's positions.
    """
    if len(prompts) != len(options):
        raise TokenError(f"{len(prompts)} prompts, {len(options)} lists of options; expected one list a prompt.")
    documents: dict[tuple[int, ...], Tensor] = {}
    for prompt, choices in zip(prompts, options, strict=True):
        for option in choices:
            if not len(prompt) or not len(option):
                raise TokenError("a prompt or an option is empty; expected at least one id each.")
            documents.setdefault((*map(int, prompt), *map(int, option[:-1])), torch.empty(0))
    for group in _packs(list(documents)):
        hidden_TC = _pack_states(model, group)
        begin = 0
        for document in group:
            documents[document] = hidden_TC[begin : begin + len(document)]
            begin += len(document)
    return [
        [_logprob(model, documents[(*map(int, prompt), *map(int, option[:-1]))], option) for option in choices]
        for prompt, choices in zip(prompts, options, strict=True)
    ]


def _packs(documents: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    group: list[tuple[int, ...]] = []
    used = 0
    for document in documents:
        if group and used + len(document) > TOKEN_BUDGET:
            yield group
            group, used = [], 0
        group.append(document)
        used += len(document)
    if group:
        yield group


def _pack_states(model: MixedModalChameleon, documents: Sequence[tuple[int, ...]]) -> Tensor:
    device = model.lm_head.weight.device
    ids_T = torch.tensor([number for document in documents for number in document], device=device)
    positions_T = torch.cat([torch.arange(len(document)) for document in documents]).to(device)
    bounds = torch.tensor([0, *(len(document) for document in documents)], dtype=torch.int32).cumsum(0)
    return model.hidden_states(ids_T, positions_T, bounds.to(device))


def _logprob(model: MixedModalChameleon, hidden_TC: Tensor, option: Ids) -> float:
    predicted_LV = model.lm_head(hidden_TC[-len(option) :]).float().log_softmax(dim=1)
    targets_L = torch.tensor(list(map(int, option)), device=predicted_LV.device)
    return float(predicted_LV.gather(1, targets_L[:, None]).sum())


@torch.inference_mode()
def generate_text(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    vocabulary: Specials,
    max_new_tokens: int,
    *,
    repetition_penalty: float = 1.0,
    batch_size: int = 16,
) -> list[list[int]]:
    """The likeliest text, id by id, after each prompt.

    Only text ids and the end may come; no image code, no other special.

    Args:
        model: the transformer.
        prompts: ids up to where the answer begins.
        vocabulary: says which ids are text.
        max_new_tokens: where an answer without an end is cut.
        repetition_penalty: divides the logits of ids seen in prompt or answer (multiplies negative ones); 1 for none.
            The published inference code uses 1.2, over the prompt too.
        batch_size: prompts side by side; it changes no answer.

    Returns:
        For each prompt the answer's ids, without the end.

    Raises:
        TokenError: a prompt is empty or leaves no room in the model's positions.
    """
    allowed_V = torch.full((model.config.vocab_size,), float("-inf"), device=model.lm_head.weight.device)
    allowed_V[torch.from_numpy(vocabulary.text_ids.copy())] = 0.0
    allowed_V[vocabulary.eos] = 0.0
    answers: list[list[int]] = [[] for _ in prompts]
    for batch in by_length(prompts, batch_size):
        texts = _greedy([prompts[i] for i in batch], model, vocabulary, max_new_tokens, repetition_penalty, allowed_V)
        for index, text in zip(batch, texts, strict=True):
            answers[index] = text
    return answers


def _greedy(
    prompts: Sequence[Ids],
    model: MixedModalChameleon,
    vocabulary: Specials,
    max_new_tokens: int,
    penalty: float,
    allowed_V: Tensor,
) -> list[list[int]]:
    rows = Rows(model, prompts, max_new_tokens, vocabulary.pad)
    seen_BV = torch.zeros_like(rows.logits_BV, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        seen_BV[row, torch.tensor(list(map(int, prompt)), device=seen_BV.device)] = True
    texts: list[list[int]] = [[] for _ in prompts]
    open_rows = set(range(len(prompts)))
    for step in range(max_new_tokens):
        logits_BV = rows.logits_BV
        if penalty != 1.0:
            weakened_BV = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
            logits_BV = torch.where(seen_BV, weakened_BV, logits_BV)
        next_B = (logits_BV + allowed_V).argmax(dim=1)
        seen_BV.scatter_(1, next_B[:, None], True)
        for row, number in enumerate(next_B.tolist()):
            if row in open_rows and number == vocabulary.eos:
                open_rows.discard(row)
            elif row in open_rows:
                texts[row].append(number)
        if not open_rows:
            break
        if step + 1 < max_new_tokens:
            rows.append(next_B)
    return texts
