"""Generating: greedy text and pictures, in any batch alike."""

from __future__ import annotations

import pytest
import torch

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.generate import generate_text
from medmax_pipeline.models.guidance import contexts, generate_images, nucleus
from medmax_pipeline.tokens.vocabulary import Vocabulary
from tests.models.conftest import SIZE


@pytest.fixture
def prompts(vocabulary: Vocabulary) -> list[list[int]]:
    """Four prompts of different length; the second and last hold a picture."""
    generator = torch.Generator().manual_seed(9)
    texts = [torch.randint(40, vocabulary.size, (n,), generator=generator).tolist() for n in (3, 6, 11, 2)]
    codes = torch.randint(vocabulary.codebook_size, (2, vocabulary.codes_per_image), generator=generator)
    pictures = [[vocabulary.boi, *(row + vocabulary.first_code).tolist(), vocabulary.eoi] for row in codes]
    bos, sep = vocabulary.bos, vocabulary.sep
    return [
        [bos, *texts[0], sep],
        [bos, *pictures[0], *texts[1], sep],
        [bos, *texts[2], sep],
        [bos, *pictures[1], *texts[3], sep],
    ]


@torch.no_grad()
def text_by_hand(
    model: MixedModalChameleon, prompt: list[int], vocabulary: Vocabulary, count: int, penalty: float
) -> list[int]:
    allowed = torch.zeros(vocabulary.size, dtype=torch.bool)
    allowed[torch.from_numpy(vocabulary.text_ids.copy())] = True
    allowed[vocabulary.eos] = True
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        for number in set(ids):
            logits[number] = logits[number] / penalty if logits[number] > 0 else logits[number] * penalty
        number = int(logits.masked_fill(~allowed, float("-inf")).argmax())
        if number == vocabulary.eos:
            break
        ids.append(number)
    return ids[len(prompt) :]


@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_text_equals_plain_forwards_without_a_cache(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary, penalty: float
) -> None:
    found = generate_text(model, prompts, vocabulary, 12, repetition_penalty=penalty)
    expected = [text_by_hand(model, prompt, vocabulary, 12, penalty) for prompt in prompts]
    assert found == expected


def test_text_does_not_depend_on_the_batch(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    one, four = (generate_text(model, prompts, vocabulary, 12, batch_size=size) for size in (1, 4))
    assert one == four


def test_text_holds_no_code_and_no_special(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    answers = generate_text(model, prompts, vocabulary, 20)
    text = set(vocabulary.text_ids.tolist())
    assert all(set(answer) <= text for answer in answers)
    assert any(answers)


def test_an_answer_ends_at_the_end_id(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    weight = model.lm_head.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[vocabulary.eos] = model.model(input_ids=torch.tensor([prompts[0]])).last_hidden_state[0, -1] * 100
        answers = generate_text(model, prompts[:1], vocabulary, 5)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert answers == [[]]


def test_a_prompt_without_room_is_refused(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    with pytest.raises(TokenError, match="positions"):
        generate_text(model, [[0] * SIZE["max_position_embeddings"]], vocabulary, 1)
    with pytest.raises(TokenError, match="empty"):
        generate_text(model, [[]], vocabulary, 1)


def test_pictures_do_not_depend_on_the_batch(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    seeds = [11, 12, 13, 14]
    one, four = (generate_images(model, prompts, vocabulary, seeds, batch_size=size) for size in (1, 4))
    assert one.shape == (4, vocabulary.codes_per_image)
    assert torch.equal(one, four)
    turned = generate_images(model, prompts[::-1], vocabulary, seeds[::-1])
    assert torch.equal(turned.flip(0), one)


def test_pictures_are_codes_and_follow_their_seed(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    twice = generate_images(model, [prompts[0]] * 3, vocabulary, [1, 1, 2], temperature=2.0, top_p=1.0)
    assert 0 <= int(twice.min()) <= int(twice.max()) < vocabulary.codebook_size
    assert torch.equal(twice[0], twice[1])
    assert not torch.equal(twice[0], twice[2])


@torch.no_grad()
def test_likeliest_codes_equal_plain_forwards_of_three_contexts(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    prompt, first = prompts[1], vocabulary.first_code
    kept = {vocabulary.bos, vocabulary.boi, vocabulary.eoi, *vocabulary.image_ids.tolist()}
    rows = [[*prompt, vocabulary.boi], [n for n in prompt if n in kept] + [vocabulary.boi], [0, vocabulary.boi]]
    codes: list[int] = []
    for _ in range(vocabulary.codes_per_image):
        full, pictured, empty = (model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows)
        mixed = empty + 1.2 * (pictured - empty) + 3.0 * (full - pictured)
        codes.append(int(mixed[first : first + vocabulary.codebook_size].argmax()))
        rows = [[*row, first + codes[-1]] for row in rows]
    found = generate_images(model, [prompt], vocabulary, [1], top_p=1e-9)
    assert found[0].tolist() == codes


def test_prompts_without_a_picture_need_two_contexts(prompts: list[list[int]], vocabulary: Vocabulary) -> None:
    found = contexts(prompts[0], vocabulary, 3.0, 1.2)
    assert [(context.ids, context.weight) for context in found] == [
        ((*prompts[0], vocabulary.boi), 3.0),
        ((vocabulary.bos, vocabulary.boi), -2.0),
    ]


def test_contexts_of_an_item_weigh_one_and_none_weighs_nothing(
    prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    for prompt in [*prompts, [vocabulary.bos], [vocabulary.bos, vocabulary.boi]]:
        for text, image in ((3.0, 1.2), (1.0, 1.0), (1.5, 1.5)):
            found = contexts(prompt, vocabulary, text, image)
            assert sum(context.weight for context in found) == pytest.approx(1.0)
            assert all(context.weight != 0.0 for context in found)
    assert len(contexts(prompts[1], vocabulary, 1.0, 1.0)) == 1


def test_one_seed_an_item_is_required(
    model: MixedModalChameleon, prompts: list[list[int]], vocabulary: Vocabulary
) -> None:
    with pytest.raises(TokenError, match="one seed an item"):
        generate_images(model, prompts, vocabulary, [1])


def test_nucleus_draws_only_from_the_likeliest_codes_in_proportion() -> None:
    logits = torch.tensor([0.5, 0.2, 0.25, 0.05], dtype=torch.float64).log().expand(1000, 4)
    draws = torch.arange(1000, dtype=torch.float64) / 1000
    counts = torch.bincount(nucleus(logits, draws, temperature=1.0, top_p=0.7), minlength=4)
    assert counts.tolist() == [667, 0, 333, 0]


def test_nucleus_keeps_the_likeliest_code_however_small_top_p() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]], dtype=torch.float64)
    draws = torch.tensor([0.999999], dtype=torch.float64)
    assert nucleus(logits, draws, 0.7, 1e-9).tolist() == [1]
    assert nucleus(logits, draws, 1e-3, 1.0).tolist() == [1]
