"""Ids by name, and refusals of tokenizers that are not the published kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from medmax_pipeline.errors import TokenError
from medmax_pipeline.tokens.vocabulary import code_name, read_vocabulary, vocabulary_of
from tests.tokens.small import CODES, edit_tokenizer, make_vocabulary, special_names, write_tokenizer, write_vqgan


def test_ids_follow_the_names(tmp_path: Path) -> None:
    voc = make_vocabulary(tmp_path)
    assert (voc.bos, voc.pad, voc.eos, voc.unk, voc.first_code) == (0, 1, 2, 3, 4)
    assert (voc.eoi, voc.boi, voc.sep, voc.image_placeholder) == (28, 29, 30, 31)
    assert voc.size == 32 + 256 + 3
    assert voc.image_ids.tolist() == list(range(4, 28))


def test_code_names_spell_digits_as_letters() -> None:
    assert [code_name(code) for code in (0, 25, 8191)] == ["IMGIMGAZ", "IMGIMGCFZ", "IMGIMGIBJBZ"]


def test_text_ids_leave_out_codes_and_names_in_angle_brackets_but_keep_the_bracket(tmp_path: Path) -> None:
    voc = make_vocabulary(tmp_path)
    text = set(voc.text_ids.tolist())
    lone = 32 + sorted(ByteLevel.alphabet()).index("<")
    assert lone in text
    assert voc.size - 1 not in text  # the piece "<="
    assert not text & set(range(32))
    assert len(text) == 256 + 2


def test_arrays_cannot_be_changed(tmp_path: Path) -> None:
    voc = make_vocabulary(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        voc.text_ids[0] = 0


def test_is_code_is_true_from_first_to_last_code(tmp_path: Path) -> None:
    voc = make_vocabulary(tmp_path)
    assert voc.is_code(np.array([3, 4, 27, 28])).tolist() == [False, True, True, False]


@pytest.mark.parametrize("name", ["<s>", "</s>", "<eoss>", "<racm3:break>", "<reserved08706>", "<image>"])
def test_missing_name_is_named(tmp_path: Path, name: str) -> None:
    names = [entry if entry != name else "<other>" for entry in special_names()]
    with pytest.raises(TokenError, match="has no token"):
        read_vocabulary(write_tokenizer(tmp_path, names), 4)


def test_codes_out_of_order_are_refused(tmp_path: Path) -> None:
    names = special_names()
    names[5], names[6] = names[6], names[5]
    with pytest.raises(TokenError, match=r"code 1\) has id 6, expected 5"):
        read_vocabulary(write_tokenizer(tmp_path, names), 4)


def test_gap_in_the_codes_is_refused(tmp_path: Path) -> None:
    names = special_names()
    names[7] = "IMGIMGBAAZ"
    with pytest.raises(TokenError, match="code 3"):
        read_vocabulary(write_tokenizer(tmp_path, names), 4)


def test_no_codes_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="IMGIMGAZ"):
        read_vocabulary(write_tokenizer(tmp_path, special_names(0)), 4)


def test_codebook_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="names 24 codes, the image tokenizer has 25"):
        read_vocabulary(write_tokenizer(tmp_path), 4, 25)


def test_ids_beyond_sixteen_bits_are_refused(tmp_path: Path) -> None:
    vocab = {name: index for index, name in enumerate(special_names())} | {"far": 65_536}
    path = edit_tokenizer(write_tokenizer(tmp_path), vocab=vocab, added_tokens=[])
    with pytest.raises(TokenError, match="16 bits"):
        read_vocabulary(path, 4)


def test_two_names_with_one_id_are_refused(tmp_path: Path) -> None:
    vocab = {name: index for index, name in enumerate(special_names())} | {"twin": 7}
    path = edit_tokenizer(write_tokenizer(tmp_path), vocab=vocab, added_tokens=[])
    with pytest.raises(TokenError, match="share an id"):
        read_vocabulary(path, 4)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"model": {"vocab": []}}', '{"model": {"vocab": {"a": "b"}}}', "[" * 100_000]
)
def test_files_that_are_no_tokenizer_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenError, match="not a tokenizer"):
        read_vocabulary(tmp_path, 4)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="no such file"):
        read_vocabulary(tmp_path / "tokenizer.json", 4)


def test_geometry_comes_from_the_image_tokenizer(tmp_path: Path) -> None:
    voc = vocabulary_of(write_tokenizer(tmp_path / "text"), write_vqgan(tmp_path / "vqgan"))
    assert (voc.codes_per_image, voc.codebook_size) == (16, CODES)


def test_image_tokenizer_without_geometry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vqgan").mkdir()
    (tmp_path / "vqgan" / "config.json").write_text("{}")
    with pytest.raises(TokenError, match="geometry"):
        vocabulary_of(write_tokenizer(tmp_path / "text"), tmp_path / "vqgan")
