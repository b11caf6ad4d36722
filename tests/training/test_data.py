"""Packs as tensors: positions, what is trained, what each target weighs."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from medmax_pipeline.errors import TokenError
from medmax_pipeline.training.data import collate


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
