"""A text tokenizer in the form and size of the published file: 65,536 names, the specials at their published ids.

Invented pieces, since the file itself may not be shipped. What is as published: the ids and names of specials and
codes, all of them added tokens; the reserved names in between; the chain of splits before byte-level pairs (codes,
runs of blanks, single digits, single signs of punctuation), as converters of that file describe it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from tokenizers import pre_tokenizers

from medmax_pipeline.tokens.vocabulary import code_name

Release = Literal["text_tokenizer.json", "text_tokenizer_modified.json"]
"""The release as Chameleon has it, and as MedMax changed it: id 8711 is named `<image>`."""
SIZE = 65_536
K, N = 8192, 1024
"""Codes in the codebook, and of an image."""
BOS, PAD, EOS, UNK = 0, 1, 2, 3
EOI, BOI, SEP, PLACEHOLDER = 8196, 8197, 8710, 8711
FIRST_PIECE = 16_384
"""Ours: where the invented pieces begin. Below it are names, the ones between reserved."""
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def special_names(release: Release) -> list[str]:
    """Names of the ids below the pieces of text, in order."""
    names = ["<s>", "<pad>", "</s>", "<unk>", *(code_name(code) for code in range(K)), "<eoss>", "<racm3:break>"]
    names += [f"<reserved{number - 4:05d}>" for number in range(len(names), FIRST_PIECE)]
    if release == "text_tokenizer_modified.json":
        names[PLACEHOLDER] = "<image>"
    return names


def write_published(folder: Path, release: Release = "text_tokenizer_modified.json") -> Path:
    """Write that file into `folder`; its path."""
    names = special_names(release)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(one, other) for one in letters for other in letters][: SIZE - len(names) - len(letters)]
    pieces = [*letters, *(one + other for one, other in pairs)]
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": name, **FLAGS} for number, name in enumerate(names)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _splits()},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {name: number for number, name in enumerate([*names, *pieces])},
            "merges": [f"{one} {other}" for one, other in pairs],
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / release
    path.write_text(json.dumps(document, ensure_ascii=False))
    return path


def _splits() -> list[dict[str, Any]]:
    def isolated(pattern: str) -> dict[str, Any]:
        return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}

    return [
        isolated("<sentinel:[0-9]+>"),
        isolated("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
        isolated("([\\t\\n]|    |  )"),
        {"type": "Digits", "individual_digits": True},
        {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ]
