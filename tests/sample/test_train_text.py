"""Training the small text tokenizer: published names, any text, the same file again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from medmax_pipeline.sample.train_text import train_text_tokenizer
from medmax_pipeline.tokens.vocabulary import code_name, read_vocabulary

TEXTS = ["Is this a chest radiograph?", "yes", "no", "An ultrasound of a lymph node."] * 4


@pytest.fixture(scope="module")
def document() -> str:
    return train_text_tokenizer(TEXTS, codebook_size=30, pieces=300)


def test_names_have_the_published_order(document: str) -> None:
    ids = Tokenizer.from_str(document).get_vocab(with_added_tokens=True)
    assert [ids[name] for name in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert [ids[code_name(code)] for code in range(30)] == list(range(4, 34))
    assert [ids[name] for name in ("<eoss>", "<racm3:break>", "<reserved08706>", "<image>")] == [34, 35, 36, 37]


def test_vocabulary_reads_it(document: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(document, encoding="utf-8")
    vocabulary = read_vocabulary(tmp_path, codes_per_image=64, codebook_size=30)
    assert vocabulary.first_code == 4
    assert vocabulary.size <= 38 + 300
    assert len(vocabulary.text_ids) >= 256


@pytest.mark.parametrize("text", ["Is this a chest radiograph?", "naïve 胸部 \U0001fac1\n\ttabs", "", " <x> & y "])
def test_any_text_comes_back(document: str, text: str) -> None:
    tokenizer = Tokenizer.from_str(document)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_frequent_words_are_few_pieces(document: str) -> None:
    assert len(Tokenizer.from_str(document).encode("yes").ids) == 1


def test_same_texts_give_the_same_file(document: str) -> None:
    assert train_text_tokenizer(TEXTS, codebook_size=30, pieces=300) == document
