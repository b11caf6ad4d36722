"""Ids of the published vocabulary: read by name, equal to the reference's algorithm, and exactly undone."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from medmax_pipeline.models.conversion import place_text_tokenizer
from medmax_pipeline.records import Turn
from medmax_pipeline.tokens.sequence import Sequencer
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import read_vocabulary
from tests.tokens.published_form import (
    BOI,
    BOS,
    EOI,
    EOS,
    PAD,
    PLACEHOLDER,
    SEP,
    SIZE,
    UNK,
    K,
    N,
    Release,
    write_published,
)

CASES = {
    "image at the start": ("<image>Is there a fracture?", "yes"),
    "image in the middle": ("This radiograph\n<image>\nshows what?", "A pneumothorax."),
    "image at the end": ("What modality is this?<image>", "CT"),
    "image in the reply": ("A histology slide of colon, H&E, 40x.", "<image>"),
    "text around an image in the reply": ("Draw it and explain.", "Here: <image> Note the 3 mm nodule."),
    "several images": ("<image><image> Compare  them.", "First <image>second"),
    "no image": ("What is\t54 + 1?", "55"),
    "other scripts": ("<image>右肺に結節 (µ ≥ 2·10³)?", "Ja — 1,5 cm \U0001fac1"),
    "an empty reply": ("<image>", ""),
    "brackets that are no names": ("p<=0.05 <img> & < 3 </ b>", "<image>a<b"),
}
"""User and assistant of one-turn samples, as the reference's rows hold them."""
STORED = [33_089, 16_604, 16_400, 8710, 36_430, 2]
"""Of `ab 1`, separator, `no`, end: the pair a b, the blank, the digit; the pair n o. Reckoned by hand from the file."""
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def sequencer(file: Path) -> Sequencer:
    vocabulary = read_vocabulary(file, N, K)
    return Sequencer(vocabulary, TextTokenizer(file, vocabulary))


@pytest.fixture(scope="module")
def stock(file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(file))


def reference_ids(stock: Tokenizer, text: str, codes: Seq[npt.NDArray[np.int64]]) -> list[int]:
    """The reference's algorithm: the whole text encoded with its marks, then an image put in at each placeholder."""
    images = iter(codes)
    ids = [0]
    for number in stock.encode(text).ids:
        ids += [8197, *(int(code) + 4 for code in next(images)), 8196] if number == 8711 else [number]
    return [*ids, 2]


def images_of(*texts: str) -> list[npt.NDArray[np.int64]]:
    """Seeded codes for each mark in these texts, the first and the last code among them."""
    made = [np.random.default_rng(number).integers(0, K, N) for number in range("".join(texts).count("<image>"))]
    for codes in made:
        codes[[0, -1]] = 0, K - 1
    return made


def ask(user: str, assistant: str) -> list[Turn]:
    return [Turn("user", user), Turn("assistant", assistant)]


@pytest.mark.parametrize("release", ["text_tokenizer.json", "text_tokenizer_modified.json"])
def test_both_released_files_give_the_published_ids(tmp_path: Path, release: Release) -> None:
    path = write_published(tmp_path, release)
    voc = read_vocabulary(path, N, K)
    assert (voc.bos, voc.pad, voc.eos, voc.unk) == (BOS, PAD, EOS, UNK)
    assert (voc.first_code, voc.eoi, voc.boi, voc.sep, voc.image_placeholder) == (4, EOI, BOI, SEP, PLACEHOLDER)
    assert (voc.size, voc.codebook_size, voc.image_length) == (SIZE, K, N + 2)
    (tmp_path / "placed").mkdir()
    assert place_text_tokenizer(path, tmp_path / "placed") == SIZE


@pytest.mark.parametrize("case", CASES)
def test_ids_are_the_references(sequencer: Sequencer, stock: Tokenizer, case: str) -> None:
    user, assistant = CASES[case]
    codes = images_of(user, assistant)
    made = sequencer.sequence(ask(user, assistant), codes)
    assert made.ids.tolist() == reference_ids(stock, f"{user}<reserved08706>{assistant}", codes)
    assert sequencer.to_turns(made.ids).turns == tuple(ask(user, assistant))


def test_ids_of_a_stored_sample(sequencer: Sequencer) -> None:
    codes = images_of("<image>")
    ids = sequencer.sequence(ask("<image>ab 1", "no"), codes).ids.tolist()
    assert ids[:3] == [0, 8197, 4]
    assert ids[1025:1027] == [8195, 8196]
    assert ids[1027:] == STORED


@settings(max_examples=40)
@given(st.lists(TEXT, min_size=2, max_size=4), st.integers(0, 3))
def test_any_text_around_images_is_encoded_as_the_reference_does_and_comes_back(
    sequencer: Sequencer, stock: Tokenizer, parts: list[str], turn: int
) -> None:
    cut = min(turn, len(parts))
    user, assistant = "<image>".join(parts[:cut]), "<image>".join(parts[cut:])
    codes = images_of(user, assistant)
    made = sequencer.sequence(ask(user, assistant), codes)
    assert made.ids.tolist() == reference_ids(stock, f"{user}<reserved08706>{assistant}", codes)
    found = sequencer.to_turns(made.ids)
    assert found.turns == tuple(ask(user, assistant))
    assert [shown.tolist() for shown in found.codes] == [shown.tolist() for shown in codes]


@pytest.mark.parametrize("name", ["<s>", "</s>", "IMGIMGAZ", "IMGIMGIBJBZ", "<racm3:break>", "<reserved08706>"])
def test_published_names_in_a_users_text_stay_text(sequencer: Sequencer, name: str) -> None:
    made = sequencer.sequence(ask(f"say {name}!", "b"), [])
    assert sequencer.to_turns(made.ids).turns[0].text == f"say {name}!"
    inside = made.ids[1 : made.spans[0].start - 1]
    assert not np.isin(inside, sequencer.vocabulary.special_ids).any()
