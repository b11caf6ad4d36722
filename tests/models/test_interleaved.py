"""Answers of text and pictures: the same as a plain loop's, whatever stands beside them in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.generate import generate_text
from medmax_pipeline.models.guidance import Nucleus, nucleus, uniform
from medmax_pipeline.models.interleaved import Answer, Budget, Guidance, generate_interleaved
from medmax_pipeline.tokens.vocabulary import Vocabulary
from tests.models.conftest import SIZE

HOW = Nucleus(0.7, 0.9)
GUIDANCE = Guidance(3.0, 1.2)


class Given(NamedTuple):
    """A drawing model and what it is asked."""

    model: MixedModalChameleon
    vocabulary: Vocabulary
    prompts: list[list[int]]
    seeds: list[int]

    def answers(self, budget: Budget, batch_size: int = 16, penalty: float = 1.0) -> list[Answer]:
        """All prompts answered."""
        return generate_interleaved(
            self.model,
            self.prompts,
            self.vocabulary,
            self.seeds,
            budget,
            how=HOW,
            guidance=GUIDANCE,
            repetition_penalty=penalty,
            batch_size=batch_size,
        )


@pytest.fixture
def given(model: MixedModalChameleon, vocabulary: Vocabulary) -> Iterator[Given]:
    """The random model with a liking for beginning pictures, and six prompts, two of them with a picture."""
    generator = torch.Generator().manual_seed(4)
    prompts = []
    for number, length in enumerate((3, 9, 5, 14, 2, 7)):
        text = vocabulary.text_ids[
            torch.randint(len(vocabulary.text_ids), (length,), generator=generator).numpy()
        ].tolist()
        codes = torch.randint(vocabulary.codebook_size, (vocabulary.codes_per_image,), generator=generator)
        picture = [vocabulary.boi, *(codes + vocabulary.first_code).tolist(), vocabulary.eoi]
        prompts.append([vocabulary.bos, *(picture if number in (1, 4) else []), *text, vocabulary.sep])
    weight = model.lm_head.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[vocabulary.boi] *= 10.0
            weight[vocabulary.eos] *= 1.5
        yield Given(model, vocabulary, prompts, [31, 32, 33, 34, 35, 36])
    finally:
        with torch.no_grad():
            weight.copy_(kept)


@torch.no_grad()
def by_hand(given: Given, place: int, budget: Budget) -> tuple[list[list[int]], bool]:
    """One answer by forwards over whole sequences, without a cache and without a batch."""
    model, voc = given.model, given.vocabulary
    first, count = voc.first_code, voc.codes_per_image
    codes_of = range(first, first + voc.codebook_size)
    chance = uniform(given.seeds[place], budget.images * count)

    def logits(ids: list[int]) -> Tensor:
        found: Tensor = model(input_ids=torch.tensor([ids])).logits[0, -1]
        return found

    parts: list[list[int]] = [[]]
    ids, begun, left = list(given.prompts[place]), 0, budget.text_ids
    while left:
        allowed = torch.full((voc.size,), float("-inf"))
        allowed[torch.from_numpy(voc.text_ids.copy())] = 0.0
        allowed[voc.eos] = 0.0
        if begun < budget.images and len(ids) + count + 2 <= SIZE["max_position_embeddings"]:
            allowed[voc.boi] = 0.0
        number = int((logits(ids) + allowed).argmax())
        if number == voc.eos:
            return [part for part in parts if part], True
        ids.append(number)
        if number != voc.boi:
            parts[-1].append(number)
            left -= 1
            continue
        drawn: list[int] = []
        shown = [each for each in ids if each in codes_of or each in (voc.bos, voc.boi, voc.eoi)]
        for step in range(count):
            mine = [first + code for code in drawn]
            full, pictured, empty = (logits(seen + mine) for seen in (ids, shown, [voc.bos, voc.boi]))
            mixed = empty + GUIDANCE.image * (pictured - empty) + GUIDANCE.text * (full - pictured)
            wanted = mixed[first : first + voc.codebook_size].double()[None]
            drawn.append(int(nucleus(wanted, chance[begun * count + step][None], *HOW)))
        ids += [*(first + code for code in drawn), voc.eoi]
        parts += [drawn, []]
        begun += 1
    return [part for part in parts if part], False


def plain(answer: Answer) -> tuple[list[list[int]], bool]:
    """An answer's parts as lists."""
    return [part if isinstance(part, list) else part.tolist() for part in answer.parts], answer.ended


def pictures(answer: Answer) -> list[Tensor]:
    """An answer's pictures."""
    return [part for part in answer.parts if isinstance(part, Tensor)]


def test_answers_equal_plain_forwards_of_whole_sequences(given: Given) -> None:
    budget = Budget(text_ids=10, images=2)
    found = given.answers(budget)
    assert [plain(answer) for answer in found] == [by_hand(given, place, budget) for place in range(6)]
    assert {len(pictures(answer)) for answer in found} >= {0, 2}
    assert {answer.ended for answer in found} == {True, False}


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_answers_do_not_depend_on_the_batch(given: Given, batch_size: int) -> None:
    budget = Budget(text_ids=12, images=2)
    assert list(map(plain, given.answers(budget, batch_size))) == list(map(plain, given.answers(budget)))


def test_answers_do_not_depend_on_the_order(given: Given) -> None:
    budget = Budget(text_ids=12, images=2)
    turned = given._replace(prompts=given.prompts[::-1], seeds=given.seeds[::-1]).answers(budget, 4)
    assert list(map(plain, turned[::-1])) == list(map(plain, given.answers(budget)))


def test_a_picture_has_all_its_codes_even_where_the_text_is_one_id(given: Given) -> None:
    for answer in given.answers(Budget(text_ids=1, images=3)):
        for picture in pictures(answer):
            assert picture.shape == (given.vocabulary.codes_per_image,)
            assert 0 <= int(picture.min()) <= int(picture.max()) < given.vocabulary.codebook_size
        assert sum(len(part) for part in answer.parts if isinstance(part, list)) <= 1


def test_another_seed_gives_another_picture_and_the_same_text_before_it(given: Given) -> None:
    budget = Budget(text_ids=6, images=1)
    one, two = given.answers(budget), given._replace(seeds=[seed + 100 for seed in given.seeds]).answers(budget)
    changed = 0
    for first, second in zip(one, two, strict=True):
        assert len(pictures(first)) == len(pictures(second))
        for place, part in enumerate(first.parts):
            if isinstance(part, Tensor):
                changed += not torch.equal(part, second.parts[place])  # type: ignore[arg-type]
                break
            assert part == second.parts[place]
    assert changed


def test_without_pictures_it_is_plain_text(given: Given) -> None:
    for penalty in (1.0, 1.2):
        found = given.answers(Budget(text_ids=9, images=0), penalty=penalty)
        expected = generate_text(given.model, given.prompts, given.vocabulary, 9, repetition_penalty=penalty)
        assert [answer.parts for answer in found] == [(text,) if text else () for text in expected]


def test_no_picture_begins_where_the_positions_cannot_hold_it(given: Given) -> None:
    limit, whole = SIZE["max_position_embeddings"], given.vocabulary.codes_per_image + 2
    filler = int(given.vocabulary.text_ids[5])
    tight = [given.vocabulary.bos, *[filler] * (limit - whole), given.vocabulary.sep]
    answer = given._replace(prompts=[tight], seeds=[1]).answers(Budget(text_ids=40, images=2))[0]
    assert not pictures(answer)
    assert sum(map(len, answer.parts)) <= whole - 2


def test_an_answer_without_text_budget_is_empty_and_not_ended(given: Given) -> None:
    assert [plain(answer) for answer in given.answers(Budget(text_ids=0, images=1))] == [([], False)] * 6


def test_prompts_without_room_and_missing_seeds_are_refused(given: Given) -> None:
    full = [given.vocabulary.bos] * (SIZE["max_position_embeddings"] + 1)
    with pytest.raises(TokenError, match="positions"):
        given._replace(prompts=[full], seeds=[1]).answers(Budget(4, 1))
    with pytest.raises(TokenError, match="one seed an item"):
        given._replace(seeds=[1]).answers(Budget(4, 1))
