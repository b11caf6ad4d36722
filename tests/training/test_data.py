"""Packs as tensors: positions, what is trained, what each target weighs."""

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from medmax_pipeline.errors import TokenError
from medmax_pipeline.training.data import Batch, StepData, chance, collate, drawn_picture, part_of, shared
from medmax_pipeline.training.group import Group
from tests.training.conftest import recipe_of


class Given(NamedTuple):
    """A pack by hand."""

    ids: npt.NDArray[np.uint16]
    cu_seqlens: npt.NDArray[np.int32]
    spans: tuple[tuple[tuple[int, int], ...], ...]


PACK = Given(
    np.array([0, 50, 9, 51, 2, 0, 50, 50, 9, 5, 6, 2], dtype=np.uint16),
    np.array([0, 5, 12], dtype=np.int32),
    (((3, 5),), ((9, 12),)),
)


def test_positions_begin_anew_with_each_document() -> None:
    batch = collate(PACK, frozenset({5, 6}), "sample")
    assert batch.positions_T.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]


def test_responses_only_are_trained() -> None:
    batch = collate(PACK, frozenset({5, 6}), "sample")
    assert batch.trained_T.nonzero().squeeze(1).tolist() == [3, 4, 9, 10, 11]
    assert batch.image_T.nonzero().squeeze(1).tolist() == [9, 10]


def test_by_sample_a_short_answer_weighs_as_much_as_a_long_one() -> None:
    batch = collate(PACK, frozenset(), "sample")
    assert batch.weight_T[:5].sum() == pytest.approx(0.5)
    assert batch.weight_T[5:].sum() == pytest.approx(0.5)


def test_by_token_every_target_weighs_the_same() -> None:
    batch = collate(PACK, frozenset(), "token")
    assert torch.equal(batch.weight_T[batch.trained_T], torch.full((5,), 0.2))


def test_several_replies_share_their_samples_weight() -> None:
    pack = PACK._replace(spans=(((1, 2), (3, 5)), ((9, 12),)))
    batch = collate(pack, frozenset(), "sample")
    assert batch.weight_T[1] == pytest.approx(1 / 6)
    assert batch.weight_T.sum() == pytest.approx(1)


def test_rounding_up_adds_a_document_of_which_nothing_is_trained() -> None:
    plain, padded = (collate(PACK, frozenset({5}), "sample", multiple=multiple, pad=1) for multiple in (1, 8))
    assert padded.cu_seqlens.tolist() == [0, 5, 12, 16]
    assert padded.ids_T[12:].tolist() == [1, 1, 1, 1]
    assert padded.positions_T[12:].tolist() == [0, 1, 2, 3]
    assert torch.equal(padded.weight_T[:12], plain.weight_T)
    assert not padded.trained_T[12:].any()
    assert padded.tokens == plain.tokens == 12


@pytest.mark.parametrize("span", [(0, 2), (5, 7), (10, 13), (4, 6), (9, 9)])
def test_a_span_outside_its_sequence_or_at_its_first_id_is_refused(span: tuple[int, int]) -> None:
    row = 0 if span[0] < 5 else 1
    spans = tuple((span,) if number == row else PACK.spans[number] for number in range(2))
    with pytest.raises(TokenError, match="must lie inside and after the first id"):
        collate(PACK._replace(spans=spans), frozenset(), "sample")


def test_a_pack_without_targets_is_refused() -> None:
    with pytest.raises(TokenError, match="no trained token"):
        collate(PACK._replace(spans=((), ())), frozenset(), "sample")


IMAGES = frozenset({5, 6})


class Several:
    """Packs of one to three documents, in the order written."""

    def __init__(self, packs: list[Given]) -> None:
        self._packs = packs

    def __len__(self) -> int:
        return len(self._packs)

    def pack(self, number: int) -> Given:
        """One of them."""
        return self._packs[number]

    def position(self, taken: int, seed: int) -> int:
        """Without any shuffling."""
        return taken % len(self._packs)


SHORT = Given(np.array([0, 9, 52, 2], dtype=np.uint16), np.array([0, 4], dtype=np.int32), (((2, 4),),))
THREE = Given(
    np.array([0, 50, 9, 51, 2, 0, 50, 50, 9, 54, 8, 5, 6, 7, 2, 0, 9, 53, 2], dtype=np.uint16),
    np.array([0, 5, 15, 19], dtype=np.int32),
    (((3, 5),), ((9, 15),), ((17, 19),)),
)
"""Its second document draws a picture, 8 5 6 7, after a word."""


def step_of(ranks: int, changes: dict[str, object] | None = None, step: int = 0) -> list[list[Batch]]:
    """What each of some processes computes in a step over `THREE` and `SHORT`."""
    recipe = recipe_of(**(changes or {}))
    packs = Several([THREE, SHORT])
    return [
        StepData(packs, recipe, IMAGES, Group(rank, ranks, "cpu"), multiple=1, pad=1).batches(step)
        for rank in range(ranks)
    ]


def weighed(batches: list[Batch]) -> list[tuple[int, float]]:
    """Every target with its weight."""
    pairs = [(batch.ids_T.tolist(), batch.weight_T.tolist()) for batch in batches]
    return sorted((i, round(w, 6)) for ids, weights in pairs for i, w in zip(ids, weights, strict=True) if w)


@pytest.mark.parametrize("weighting", ["sample", "token"])
@pytest.mark.parametrize(("ranks", "packs"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (4, 2)])
def test_however_many_share_a_step_each_target_weighs_the_same(ranks: int, packs: int, weighting: str) -> None:
    changes = {"packs_per_step": packs, "loss_weighting": weighting}
    ((*alone,),) = [[batch for batches in step_of(1, changes) for batch in batches]]
    among = [batch for batches in step_of(ranks, changes) for batch in batches]
    assert weighed(alone) == weighed(among)
    assert sum(float(batch.weight_T.sum()) for batch in among) == pytest.approx(1)
    assert sum(batch.tokens for batch in among) == sum(batch.tokens for batch in alone)


def test_a_process_without_a_document_computes_something_that_teaches_nothing() -> None:
    *working, idle = step_of(4)
    assert all(batch.tokens for (batch,) in working)
    assert idle[0].tokens == 0
    assert not idle[0].weight_T.any()
    assert idle[0].trained_T.any(), "the head must take part in the backward pass"


def test_documents_are_shared_by_tokens() -> None:
    assert shared([10, 1, 1, 8, 2], 2) == [[0, 1], [2, 3, 4]]
    assert shared([3], 2) == [[0], []]


def test_random_numbers_are_seeded_by_the_step_and_the_pack_and_not_by_the_process() -> None:
    changes: dict[str, object] = {"packs_per_step": 2}
    alone = [batch.seed for batch in step_of(1, changes)[0]]
    assert alone == [batch.seed for batches in step_of(2, changes) for batch in batches]
    assert len({*alone, *(batch.seed for batch in step_of(1, changes, step=1)[0])}) == 4


def test_a_sample_that_loses_its_prompt_is_begin_and_picture_alone() -> None:
    picture = drawn_picture(THREE, 1, IMAGES)
    assert picture == 10
    part = part_of(THREE, None, {1: picture})
    assert part.ids.tolist() == [0, 50, 9, 51, 2, 0, 8, 5, 6, 7, 2, 0, 9, 53, 2]
    assert part.cu_seqlens.tolist() == [0, 5, 11, 15]
    assert part.spans == (((3, 5),), ((6, 11),), ((13, 15),))


def test_pictures_of_the_prompt_are_not_drawn() -> None:
    looked_at = Given(np.array([0, 8, 5, 6, 7, 9, 50, 2], dtype=np.uint16), np.array([0, 8], np.int32), (((6, 8),),))
    assert drawn_picture(looked_at, 0, IMAGES) is None
    assert drawn_picture(THREE, 0, IMAGES) is None


@pytest.mark.parametrize("chosen", [[0], [2], [0, 2], [1, 2]])
def test_some_documents_of_a_pack_are_a_pack(chosen: list[int]) -> None:
    part = part_of(THREE, chosen, {})
    cut = [THREE.ids[THREE.cu_seqlens[n] : THREE.cu_seqlens[n + 1]].tolist() for n in chosen]
    assert [part.ids[a:b].tolist() for a, b in itertools.pairwise(part.cu_seqlens)] == cut
    trained = [THREE.ids[a:b].tolist() for n in chosen for a, b in THREE.spans[n]]
    assert [part.ids[a:b].tolist() for some in part.spans for a, b in some] == trained


def test_prompts_are_dropped_at_the_rate_of_the_recipe_where_the_reply_shows_a_picture() -> None:
    rate = 0.25
    lengths = []
    for step in range(0, 800, 2):  # every other step is over the pack with the picture
        ((batch,),) = step_of(1, {"prompt_dropout": rate}, step)
        lengths.append(batch.lengths)
    assert {tuple(some[::2]) for some in lengths} == {(5, 4)}, "samples without a picture in their reply keep theirs"
    dropped = sum(some[1] == 6 for some in lengths) / len(lengths)
    assert {some[1] for some in lengths} == {6, 10}
    assert dropped == pytest.approx(rate, abs=0.07)


def test_chance_is_even_and_decided_by_its_numbers() -> None:
    drawn = [chance(0, step, 3) for step in range(2000)]
    assert drawn == [chance(0, step, 3) for step in range(2000)]
    assert min(drawn) >= 0
    assert max(drawn) < 1
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.03)
