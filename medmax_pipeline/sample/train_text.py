"""Training the sample's small text tokenizer: byte-level pairs under the published special names.

The published tokenizer is taken as it is; this exists because the embedded build must run with files that may be
shipped. Which texts there are is the corpus's business; reading ids by name is `tokens/vocabulary.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from medmax_pipeline.tokens.vocabulary import BOI, BOS, EOI, EOS, IMAGE_PLACEHOLDERS, PAD, SEP, UNK, code_name

TEXT_PIECES = 1200
"""Pieces of text at most, the 256 bytes among them. Ours: the corpus's words are few."""


def train_text_tokenizer(texts: Iterable[str], codebook_size: int, pieces: int = TEXT_PIECES) -> str:
    """A `tokenizer.json`: specials, K codes, end and begin of image, separator, placeholder, then pieces of text.

    Any text can be encoded, since all 256 bytes are pieces. The same texts in the same order give the same file.

    Args:
        texts: what to learn pairs from.
        codebook_size: K, the number of image codes to name.
        pieces: how many text pieces there may be.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        min_frequency=3,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    model = json.loads(trained.to_str())["model"]
    learnt = sorted(model["vocab"], key=model["vocab"].__getitem__)
    codes = [code_name(code) for code in range(codebook_size)]
    named = [BOS, PAD, EOS, UNK, *codes, EOI, BOI, SEP, IMAGE_PLACEHOLDERS[0]]
    model["vocab"] = {name: number for number, name in enumerate([*named, *learnt])}
    whole = Tokenizer(models.BPE())
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    document = json.loads(whole.to_str())
    document["model"] = model
    document["added_tokens"] = [_special(number, name) for number, name in enumerate(named)]
    return json.dumps(document, ensure_ascii=False, indent=0) + "\n"


def _special(number: int, name: str) -> dict[str, int | str | bool]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": name, **flags}
