"""Each fault is found, by the check that is meant for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from medmax_pipeline.errors import TokenError
from medmax_pipeline.files import write_json
from medmax_pipeline.records import Turn
from medmax_pipeline.shards.checks import check_shards, sequence_faults
from medmax_pipeline.shards.layout import VOCABULARY, check_vocabulary, vocabulary_record
from medmax_pipeline.shards.writer import Entry, write_shards
from medmax_pipeline.tokens.sequence import Sequence, Sequencer, Span
from tests.tokens.small import make_sequencer, random_codes

Ids = npt.NDArray[np.uint16]


@pytest.fixture(scope="module")
def sequencer(tmp_path_factory: pytest.TempPathFactory) -> Sequencer:
    return make_sequencer(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def sequence(sequencer: Sequencer) -> Sequence:
    chat = [Turn("user", "<image>a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "<image>")]
    return sequencer.sequence(chat, [random_codes(1), random_codes(2)])


def faults(sequence: Sequence, sequencer: Sequencer) -> list[str]:
    return list(sequence_faults(sequence.ids, [(*span,) for span in sequence.spans], sequencer.vocabulary))


def test_whole_sequence_has_no_fault(sequence: Sequence, sequencer: Sequencer) -> None:
    assert faults(sequence, sequencer) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[1:], "begin to end"),
        (lambda ids: ids[:-1], "begin to end"),
        (lambda ids: np.delete(ids, 3), "has not 4 codes"),
        (lambda ids: np.insert(ids, 3, 5), "has not 4 codes"),
        (lambda ids: np.where(np.arange(len(ids)) == 3, 100, ids), "something else inside"),
        (lambda ids: np.insert(ids, 8, 5), "codes lie outside"),
        (lambda ids: np.insert(ids, 8, 31), "placeholder"),
        (lambda ids: np.insert(ids, 8, 60_000), "beyond the vocabulary"),
        (lambda ids: np.insert(ids, 8, 30), "do not alternate"),
        (lambda ids: np.insert(ids, 8, 2), "do not alternate"),
    ],
)
def test_damaged_ids_are_found(
    sequence: Sequence, sequencer: Sequencer, change: Callable[[Ids], Ids], message: str
) -> None:
    found = faults(Sequence(change(sequence.ids), sequence.spans), sequencer)
    assert any(message in fault for fault in found), found


@pytest.mark.parametrize("shift", [(-1, 0), (1, 0), (0, -1)])
def test_training_anything_but_the_reply_is_found(
    sequence: Sequence, sequencer: Sequencer, shift: tuple[int, int]
) -> None:
    first, *rest = sequence.spans
    moved = (Span(first.start + shift[0], first.end + shift[1]), *rest)
    assert any("the replies are" in fault for fault in faults(Sequence(sequence.ids, moved), sequencer))


def test_missing_reply_is_found(sequence: Sequence, sequencer: Sequencer) -> None:
    assert faults(Sequence(sequence.ids, sequence.spans[:1]), sequencer)


def write(folder: Path, sequence: Sequence) -> None:
    write_shards(folder, [[Entry("0" * 32, "vqa", "vqa_open", "CC0-1.0", False, sequence)]])


def test_folder_of_whole_sequences_passes(tmp_path: Path, sequence: Sequence, sequencer: Sequencer) -> None:
    write(tmp_path, sequence)
    assert check_shards(tmp_path, sequencer.vocabulary, {"vqa": 1, "cxr": 0}) == []


def test_fault_names_pack_and_sample(tmp_path: Path, sequence: Sequence, sequencer: Sequencer) -> None:
    write(tmp_path, Sequence(sequence.ids, ()))
    (fault,) = check_shards(tmp_path, sequencer.vocabulary)
    assert fault.startswith(f"pack 0, sample {'0' * 32}: ")


def test_counts_other_than_the_mixtures_are_found(tmp_path: Path, sequence: Sequence, sequencer: Sequencer) -> None:
    write(tmp_path, sequence)
    (fault,) = check_shards(tmp_path, sequencer.vocabulary, {"vqa": 2})
    assert "the mixture has {'vqa': 2}" in fault


def test_shards_of_another_vocabulary_are_refused(tmp_path: Path, sequencer: Sequencer) -> None:
    record = vocabulary_record(sequencer.vocabulary, "d" * 64, "c" * 64)
    write_json(tmp_path / VOCABULARY, record)
    check_vocabulary(tmp_path, record)
    with pytest.raises(TokenError, match="image_tokenizer"):
        check_vocabulary(tmp_path, record | {"image_tokenizer": "e" * 64})
