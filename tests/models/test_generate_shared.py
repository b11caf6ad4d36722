"""Questions about one picture share its beginning, and no answer depends on what it is computed beside."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch

from medmax_pipeline.models import decoding
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Rows, batches, beginning, prefill
from medmax_pipeline.models.generate import generate_text
from medmax_pipeline.models.guidance import generate_images
from medmax_pipeline.tokens.vocabulary import Vocabulary
from tests.models.conftest import ids_run


def test_a_picture_runs_once_for_all_its_questions(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    asked = questions[:4]
    shown = vocabulary.image_length + 1
    longest = max(len(question) - shown for question in asked)
    assert ids_run(model, lambda: prefill(model, asked, vocabulary.eoi)) == shown + 4 * longest
    assert ids_run(model, lambda: prefill(model, asked[:1], vocabulary.eoi)) == len(asked[0])


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
def test_texts_depend_on_neither_batch_nor_order(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]], batch_size: int
) -> None:
    texts = generate_text(model, questions, vocabulary, 10, repetition_penalty=1.2)
    mixed = random.Random(batch_size).sample(range(12), 12)
    shuffled = [questions[number] for number in mixed]
    again = generate_text(model, shuffled, vocabulary, 10, repetition_penalty=1.2, batch_size=batch_size)
    assert again == [texts[number] for number in mixed]


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
def test_what_rows_peek_at_is_what_whole_prompts_would_hold_and_leaves_no_trace(
    model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    rows, plain = (Rows(model, questions[:3], 3, vocabulary.eoi) for _ in range(2))
    ids = [[60, 61, 62], [], [70]]
    found_BQC = rows.peek(ids)
    for question, more, states in zip(questions, ids, found_BQC, strict=False):
        whole = model.model(input_ids=torch.tensor([question + more])).last_hidden_state[0, len(question) :]
        assert torch.allclose(states[: len(more)], whole, atol=2e-4)
    for _ in range(3):
        assert torch.equal(rows.logits(), plain.logits())
        rows.append(torch.tensor([80, 81, 82]))
        plain.append(torch.tensor([80, 81, 82]))
    assert torch.equal(rows.logits(), plain.logits())


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
