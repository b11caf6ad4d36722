"""Questions with answers to choose from: how likely each is, and what the model says itself, from one run of a prompt.

The greedy text is `generate.py`'s; what the answers are, and which is right, is `eval/`.

B prompts of a batch, Q ids of a branch, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Ids, Rows, Specials, Stepping, batches
from medmax_pipeline.models.generate import ROWS, Penalty, greedy, text_bias


class Chosen(NamedTuple):
    """What a model makes of one question.

    Attributes:
        logprobs: of each option the sum of its ids' log-probabilities over the whole vocabulary, in nats.
        first: the likeliest first id under the penalty: text, or the end.
        said: ids of the greedy answer without any penalty, without the end.
    """

    logprobs: list[float]
    first: int
    said: list[int]


@torch.inference_mode()
def choose(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    options: Sequence[Sequence[Ids]],
    vocabulary: Specials,
    max_new_tokens: int,
    *,
    first_penalty: float = 1.0,
    batch_size: int = ROWS,
    stepping: Stepping = "eager",
) -> list[Chosen]:
    """Likelihoods of options, the first id under a penalty, and the greedy answer; each prompt runs once.

    Args:
        model: the transformer.
        prompts: ids up to where the answer begins.
        options: for each prompt its options' ids, each at least one.
        vocabulary: says which ids are text.
        max_new_tokens: where an answer without an end is cut.
        first_penalty: the repetition penalty on the first id, over the prompt's ids; 1 for none.
        batch_size: prompts side by side; it changes no answer.
        stepping: how single ids are computed.

    Raises:
        TokenError: an option or a prompt is empty, or prompt and answer exceed the model's positions.
    """
    room = max(max_new_tokens, _room(prompts, options))
    allowed_V = text_bias(model, vocabulary)
    found: dict[int, Chosen] = {}
    for batch in batches(prompts, vocabulary.eoi, batch_size, room):
        given = [prompts[index] for index in batch]
        rows = Rows(model, given, room, vocabulary.eoi, stepping=stepping)
        logits_BV = rows.logits()
        firsts = (Penalty(model, given, first_penalty).on(logits_BV) + allowed_V).argmax(dim=1).tolist()
        logprobs = _weighed(model, rows, logits_BV, [options[index] for index in batch])
        said = greedy(rows, len(given), max_new_tokens, Penalty(model, given, 1.0), allowed_V, vocabulary.eos)
        found |= zip(batch, map(Chosen, logprobs, firsts, said), strict=True)
    return [found[index] for index in range(len(prompts))]


@torch.inference_mode()
def option_logprobs(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    options: Sequence[Sequence[Ids]],
    eoi: int,
    *,
    batch_size: int = ROWS,
) -> list[list[float]]:
    """How likely each option is as the continuation of its prompt: `choose` without an answer.

    Args:
        model: the transformer.
        prompts: ids up to where the option begins.
        options: for each prompt its options' ids, each at least one; any ids.
        eoi: the end-of-image id; what several prompts begin with up to it runs once.
        batch_size: prompts side by side.

    Returns:
        As `Chosen.logprobs`.

    Raises:
        TokenError: an option or a prompt is empty, or together they exceed the model's positions.
    """
    room = _room(prompts, options)
    found: dict[int, list[float]] = {}
    for batch in batches(prompts, eoi, batch_size, room):
        rows = Rows(model, [prompts[index] for index in batch], room, eoi)
        found |= zip(batch, _weighed(model, rows, rows.logits(), [options[index] for index in batch]), strict=True)
    return [found[index] for index in range(len(prompts))]


def _room(prompts: Sequence[Ids], options: Sequence[Sequence[Ids]]) -> int:
    """Ids that have to run behind a prompt for the longest option: all but its last."""
    if len(prompts) != len(options):
        raise TokenError(f"{len(prompts)} prompts, {len(options)} lists of options; expected one list a prompt.")
    lengths = [len(option) for choices in options for option in choices]
    if min(lengths, default=1) == 0:
        raise TokenError("an option is empty; expected at least one id.")
    return max(lengths, default=1) - 1


def _weighed(
    model: MixedModalChameleon, rows: Rows, logits_BV: Tensor, options: Sequence[Sequence[Ids]]
) -> list[list[float]]:
    """Log-probabilities of each row's options; the rows stay where they are.

    Options that differ in their last id only share one branch; one of a single id needs none.
    """
    found = [
        logprobs_V[torch.tensor([option[0] for option in choices], dtype=torch.int64).to(logprobs_V.device)].tolist()
        for logprobs_V, choices in zip(logits_BV.log_softmax(dim=1), options, strict=True)
    ]
    branches = [
        list(dict.fromkeys(tuple(map(int, option[:-1])) for option in choices if len(option) > 1))
        for choices in options
    ]
    for turn in range(max(map(len, branches))):
        taken = {row: own[turn] for row, own in enumerate(branches) if turn < len(own)}
        hidden_BQC = rows.peek([taken.get(row, ()) for row in range(len(options))])
        logprobs_BQV = model.lm_head(hidden_BQC).float().log_softmax(dim=2)
        for row, branch in taken.items():
            for place, option in enumerate(options[row]):
                if len(option) > 1 and tuple(map(int, option[:-1])) == branch:
                    rest_Q1 = torch.tensor(option[1:], dtype=torch.int64).to(logprobs_BQV.device)[:, None]
                    found[row][place] += float(logprobs_BQV[row, : len(rest_Q1)].gather(1, rest_Q1).sum())
    return found
