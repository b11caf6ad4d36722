"""Choosing: likelihoods, first ids and greedy answers of one run are those that each would be by itself."""

from __future__ import annotations

import random

import pytest
import torch

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.choosing import choose, option_logprobs
from medmax_pipeline.models.generate import generate_text
from medmax_pipeline.tokens.vocabulary import Vocabulary
from tests.models.conftest import SIZE, ids_run

SAME_LOGPROB = 2e-5
"""Nats: what sums in another order may change in float32 at this size; 4e-6 was the most seen over five batch sizes."""
OPTIONS = [[[60], [61]], [[60, 70, 80], [61]], [[62, 63]], [[60, 70], [60, 71], [60]]] * 3
"""Of the twelve questions: of one id, of several, alone, and with a beginning that two share."""


@torch.no_grad()
def logprob_by_hand(model: MixedModalChameleon, prompt: list[int], option: list[int]) -> float:
    logits = model(input_ids=torch.tensor([prompt + option])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + place, number]) for place, number in enumerate(option))


def test_likelihoods_of_options_equal_plain_forwards(
    model: MixedModalChameleon, questions: list[list[int]], vocabulary: Vocabulary
) -> None:
    found = option_logprobs(model, questions, OPTIONS, vocabulary.eoi)
    assert [len(row) for row in found] == [2, 2, 1, 3] * 3
    for prompt, choices, row in zip(questions, OPTIONS, found, strict=True):
        wanted = [logprob_by_hand(model, prompt, option) for option in choices]
        assert row == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_likelihoods_depend_on_neither_batch_nor_order(
    model: MixedModalChameleon, questions: list[list[int]], vocabulary: Vocabulary, batch_size: int
) -> None:
    likely = option_logprobs(model, questions, OPTIONS, vocabulary.eoi)
    mixed = random.Random(batch_size).sample(range(12), 12)
    shuffled, options = [questions[number] for number in mixed], [OPTIONS[number] for number in mixed]
    again = option_logprobs(model, shuffled, options, vocabulary.eoi, batch_size=batch_size)
    for row, number in zip(again, mixed, strict=True):
        assert row == pytest.approx(likely[number], abs=SAME_LOGPROB)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("ids", [1, 2, 10])
def test_a_joint_answer_is_what_each_question_alone_would_give(
    model: MixedModalChameleon, questions: list[list[int]], vocabulary: Vocabulary, ids: int, batch_size: int
) -> None:
    found = choose(model, questions, OPTIONS, vocabulary, ids, first_penalty=1.2, batch_size=batch_size)
    assert [each.said for each in found] == generate_text(model, questions, vocabulary, ids)
    firsts = [[] if each.first == vocabulary.eos else [each.first] for each in found]
    assert firsts == generate_text(model, questions, vocabulary, 1, repetition_penalty=1.2)
    for each, row in zip(found, option_logprobs(model, questions, OPTIONS, vocabulary.eoi), strict=True):
        assert each.logprobs == pytest.approx(row, abs=SAME_LOGPROB)


def test_a_prompt_runs_once(model: MixedModalChameleon, questions: list[list[int]], vocabulary: Vocabulary) -> None:
    text = ids_run(model, lambda: generate_text(model, questions, vocabulary, 4))
    single, several = [[[60], [61]]] * 12, [[[60, 70], [60, 71], [61]]] * 12
    assert ids_run(model, lambda: choose(model, questions, single, vocabulary, 4, first_penalty=1.2)) == text
    assert ids_run(model, lambda: choose(model, questions, several, vocabulary, 4, first_penalty=1.2)) == text + 12


def test_an_answer_that_ends_at_once_is_the_end_and_no_text(
    model: MixedModalChameleon, questions: list[list[int]], vocabulary: Vocabulary
) -> None:
    weight = model.lm_head.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[vocabulary.eos] = model.model(input_ids=torch.tensor([questions[0]])).last_hidden_state[0, -1] * 100
        (found,) = choose(model, questions[:1], [[[60]]], vocabulary, 5, first_penalty=1.2)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert (found.first, found.said) == (vocabulary.eos, [])


def test_an_empty_option_is_refused(
    model: MixedModalChameleon, questions: list[list[int]], vocabulary: Vocabulary
) -> None:
    with pytest.raises(TokenError, match="empty"):
        option_logprobs(model, questions[:1], [[[]]], vocabulary.eoi)
    with pytest.raises(TokenError, match="one list a prompt"):
        choose(model, questions, [[[60]]], vocabulary, 4)


def test_an_option_beyond_the_models_positions_is_refused(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    prompt = [vocabulary.bos] * (SIZE["max_position_embeddings"] - 1)
    with pytest.raises(TokenError, match="positions"):
        choose(model, [prompt], [[[60, 61, 62]]], vocabulary, 1)


@pytest.mark.gpu
def test_bfloat16_answers_beside_others_are_near_those_alone(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    options = [[[60], [61]]] * 12
    device = model.to("cuda", torch.bfloat16)
    try:
        together = option_logprobs(device, questions, options, vocabulary.eoi)
        alone = option_logprobs(device, questions, options, vocabulary.eoi, batch_size=1)
    finally:
        model.to("cpu", torch.float32)
    for row, wanted in zip(together, alone, strict=True):
        assert row == pytest.approx(wanted, abs=1.0)
