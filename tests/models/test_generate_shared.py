"""Questions about one picture share its beginning, and no answer depends on what it is computed beside."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from medmax_pipeline.models import decoding
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Rows, batches, beginning, prefill
from medmax_pipeline.models.generate import LastStates, generate_text, option_logprobs
from medmax_pipeline.models.guidance import generate_images
from medmax_pipeline.tokens.vocabulary import Vocabulary

SAME_LOGPROB = 2e-5
"""Nats: what sums in another order may change in float32 at this size; 4e-6 was the most seen over five batch sizes."""


@pytest.fixture
def questions(vocabulary: Vocabulary) -> list[list[int]]:
    """Twelve: four on each of two pictures, three without one, and one with two pictures."""
    generator = torch.Generator().manual_seed(6)

    def text(length: int) -> list[int]:
        drawn = torch.randint(len(vocabulary.text_ids), (length,), generator=generator)
        return list(vocabulary.text_ids[drawn.numpy()].tolist())

    codes = torch.randint(vocabulary.codebook_size, (3, vocabulary.codes_per_image), generator=generator)
    shown = [[vocabulary.boi, *(row + vocabulary.first_code).tolist(), vocabulary.eoi] for row in codes]
    pictures = [shown[0]] * 4 + [[]] * 3 + [shown[1]] * 4 + [shown[0] + shown[2]]
    return [
        [vocabulary.bos, *picture, *text(2 + 5 * number % 13), vocabulary.sep]
        for number, picture in enumerate(pictures)
    ]


def ids_run(model: MixedModalChameleon, work: Callable[[], object]) -> int:
    """How many ids go through the network, padding included."""
    seen: list[int] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, given, __: seen.append(given[0].numel()))
    try:
        work()
    finally:
        hook.remove()
    return sum(seen)


def test_a_picture_runs_once_for_all_its_questions(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    asked = questions[:4]
    shown = vocabulary.image_length + 1
    longest = max(len(question) - shown for question in asked)
    assert ids_run(model, lambda: prefill(model, asked, vocabulary.eoi)) == shown + 4 * longest
    assert ids_run(model, lambda: prefill(model, asked[:1], vocabulary.eoi)) == len(asked[0])


@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_first_ids_and_options_of_one_id_cost_one_run(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]], penalty: float
) -> None:
    states = LastStates(model, vocabulary)
    found = states.first_logprobs(questions, [[60, 61 + number] for number in range(12)])
    firsts: list[int] = []
    assert ids_run(model, lambda: firsts.extend(states.first_ids(questions, penalty))) == 0
    texts = generate_text(model, questions, vocabulary, 1, repetition_penalty=penalty)
    assert [[] if first == vocabulary.eos else [first] for first in firsts] == texts
    options = [[[60], [61 + number]] for number in range(12)]
    for row, wanted in zip(found, option_logprobs(model, questions, options, vocabulary.eoi), strict=True):
        assert row == pytest.approx(wanted, abs=SAME_LOGPROB)


def test_states_of_other_prompts_are_forgotten(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    states = LastStates(model, vocabulary)
    first = states.first_ids(questions[:3])
    states.first_ids(questions[3:])
    assert ids_run(model, lambda: states.first_ids(questions[:1])) == len(questions[0])
    assert states.first_ids(questions[:3]) == first


def test_states_after_a_shared_picture_are_those_of_the_whole_prompt(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    tails = [1 + number % 3 for number in range(len(questions))]
    together = prefill(model, questions, vocabulary.eoi, tails=tails).states
    for question, tail, states in zip(questions, tails, together, strict=True):
        whole = model.model(input_ids=torch.tensor([question])).last_hidden_state[0, -tail:]
        assert states.shape == (tail, model.config.hidden_size)
        assert torch.allclose(states, whole, atol=2e-4)


def test_a_beginning_ends_with_the_last_picture_and_leaves_the_tail() -> None:
    assert beginning([0, 9, 4, 8, 5, 6], eoi=8) == (0, 9, 4, 8)
    assert beginning([0, 9, 4, 8, 5, 9, 4, 8, 6], eoi=8) == (0, 9, 4, 8, 5, 9, 4, 8)
    assert beginning([0, 9, 4, 8], eoi=8) == (0, 9, 4)
    assert beginning([0, 9, 4, 8, 5], eoi=8, tail=3) == (0, 9)
    assert beginning([0, 5, 6], eoi=8) == ()


def test_batches_keep_the_questions_of_a_picture_together(vocabulary: Vocabulary, questions: list[list[int]]) -> None:
    mixed = random.Random(1).sample(range(12), 12)
    made = batches([questions[number] for number in mixed], vocabulary.eoi, rows=4)
    groups = [sorted(mixed[place] for place in batch) for batch in made]
    assert sorted(number for group in groups for number in group) == list(range(12))
    together = [[beginning(questions[number], vocabulary.eoi) for number in group] for group in groups]
    changes = sum(a != b for row in together for a, b in pairwise(row))
    assert changes <= 6
    assert max(map(len, groups)) == 4


def test_a_batch_stays_within_the_cache_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SLOT_BUDGET", 40)
    made = batches([[0] * 5] * 7, eoi=8, rows=64, room=5)
    assert [len(batch) for batch in made] == [4, 3]
    assert [len(batch) for batch in batches([[0] * 90] * 2, eoi=8, rows=64)] == [1, 1]


@pytest.mark.parametrize("batch_size", [1, 3, 5, 64])
def test_answers_depend_on_neither_batch_nor_order(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]], batch_size: int
) -> None:
    options = [[[60, 70 + number], [61], [60, 80]] for number in range(12)]
    texts = generate_text(model, questions, vocabulary, 10, repetition_penalty=1.2)
    likely = option_logprobs(model, questions, options, vocabulary.eoi)
    mixed = random.Random(batch_size).sample(range(12), 12)
    shuffled = [questions[number] for number in mixed]
    again = generate_text(model, shuffled, vocabulary, 10, repetition_penalty=1.2, batch_size=batch_size)
    likely_again = option_logprobs(
        model, shuffled, [options[number] for number in mixed], vocabulary.eoi, batch_size=batch_size
    )
    assert again == [texts[number] for number in mixed]
    for row, number in zip(likely_again, mixed, strict=True):
        assert row == pytest.approx(likely[number], abs=SAME_LOGPROB)


@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_pictures_depend_on_neither_batch_nor_order(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]], batch_size: int
) -> None:
    seeds = list(range(50, 62))
    drawn = generate_images(model, questions, vocabulary, seeds)
    mixed = random.Random(batch_size).sample(range(12), 12)
    again = generate_images(
        model, [questions[n] for n in mixed], vocabulary, [seeds[n] for n in mixed], batch_size=batch_size
    )
    assert torch.equal(again, drawn[torch.tensor(mixed)])


@torch.inference_mode()
def test_a_row_that_stands_by_goes_on_as_if_nothing_had_been(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    one, both = Rows(model, questions[:1], 3, vocabulary.eoi), Rows(model, questions[:2], 4, vocabulary.eoi)
    both.append(torch.tensor([99, 60]), torch.tensor([0, 1]))
    both.append(torch.tensor([60, 61]))
    one.append(torch.tensor([60]))
    assert torch.allclose(both.hidden_RC[0], one.hidden_RC[0], atol=2e-4)


@torch.inference_mode()
def test_rows_can_be_replaced_and_dropped(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    rows = Rows(model, questions[:3], 20, vocabulary.eoi, spare=1)
    rows.replace([0, 3], [questions[5][:4], questions[6]])
    rows.append(torch.tensor([70, 71, 72, 73]))
    rows.keep(torch.tensor([3, 0]))
    rows.append(torch.tensor([60, 61]))
    for row, ids in enumerate(([*questions[6], 73, 60], [*questions[5][:4], 70, 61])):
        whole = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        assert torch.allclose(rows.hidden_RC[row], whole, atol=2e-4)


@pytest.mark.gpu
def test_a_captured_graph_gives_the_same_text_and_pictures(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    device = model.cuda()
    try:
        for _ in range(2):
            eager = generate_text(device, questions, vocabulary, 10)
            assert generate_text(device, questions, vocabulary, 10, stepping="graph") == eager
        seeds = list(range(12))
        drawn = generate_images(device, questions, vocabulary, seeds)
        assert torch.equal(generate_images(device, questions, vocabulary, seeds, stepping="graph"), drawn)
    finally:
        model.cpu()


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
