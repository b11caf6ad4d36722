"""Text to ids and back, and special names inside a user's text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmax_pipeline.errors import TokenError
from medmax_pipeline.tokens.text import TextTokenizer
from tests.tokens.small import edit_tokenizer, make_vocabulary, special_names

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("text")
    return TextTokenizer(folder, make_vocabulary(folder))


@given(TEXT)
def test_any_text_comes_back(text: TextTokenizer, said: str) -> None:
    assert text.decode(text.encode(said)) == said


@pytest.mark.parametrize("name", special_names())
def test_special_names_in_text_are_plain_characters(text: TextTokenizer, name: str) -> None:
    ids = text.encode(f"a{name}b")
    assert ids.min() >= len(special_names())
    assert text.decode(ids) == f"a{name}b"


def test_pieces_that_begin_with_a_bracket_are_text(text: TextTokenizer) -> None:
    ids = text.encode("p<=0.05")
    assert len(ids) == 6
    assert text.decode(ids) == "p<=0.05"


def test_batch_equals_one_by_one(text: TextTokenizer) -> None:
    said = ["", "the", "eine Frau, 54 J.", "右肺 µ"]
    assert [ids.tolist() for ids in text.encode_batch(said)] == [text.encode(one).tolist() for one in said]


def test_added_token_that_is_not_special_is_refused_in_text(tmp_path: Path) -> None:
    voc = make_vocabulary(tmp_path)
    added = json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"]
    edit_tokenizer(tmp_path, added_tokens=[token | {"special": False} for token in added])
    with pytest.raises(TokenError, match="would become the special token <s>"):
        TextTokenizer(tmp_path, voc).encode("so <s> what")


def test_half_a_surrogate_pair_is_refused(text: TextTokenizer) -> None:
    with pytest.raises(TokenError, match="no valid Unicode"):
        text.encode("a\ud83d")


@pytest.mark.parametrize("ids", [[2], [40, 5], [70_000], [-1]])
def test_ids_that_are_no_text_are_not_decoded(text: TextTokenizer, ids: list[int]) -> None:
    with pytest.raises(TokenError):
        text.decode(ids)


def test_truncation_and_padding_in_the_file_are_not_obeyed(tmp_path: Path) -> None:
    voc = make_vocabulary(tmp_path)
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    edit_tokenizer(tmp_path, truncation=cut)
    assert len(TextTokenizer(tmp_path, voc).encode("abcdef")) == 6


def test_file_the_library_cannot_read_is_refused(tmp_path: Path) -> None:
    voc = make_vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenError, match="cannot read"):
        TextTokenizer(tmp_path, voc)
