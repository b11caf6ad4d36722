"""What lies in a folder of shards: names, members, the index's columns, the vocabulary they were written in.

{open,credentialed}-{000000}.tar   webdataset samples, each a block of whole packs:
    {block:08d}.tok.u16            ids of up to 65,536 tokens, little-endian uint16
    {block:08d}.cu.i32             where sequences begin in the block, and its end: little-endian int32, from 0
index.parquet                      one line a sequence, in the order written
vocabulary.json                    ids and tokenizer digests; a reader refuses shards of another vocabulary
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from medmax_pipeline.errors import TokenError
from medmax_pipeline.files import read_json
from medmax_pipeline.tokens.vocabulary import Vocabulary

BLOCKS_PER_SHARD = 256
"""34 MB a tar: 1.7e9 tokens make about 104, enough for 8 GPUs with 4 workers each."""
INDEX = "index.parquet"
VOCABULARY = "vocabulary.json"
TOKENS_MEMBER, BOUNDS_MEMBER = "tok.u16", "cu.i32"

SPAN_TYPE = pa.struct([("start", pa.int32()), ("end", pa.int32())])
INDEX_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("licence", pa.string()),
        ("credentialed", pa.bool_()),
        ("shard", pa.string()),
        ("block", pa.int32()),
        ("pack", pa.int32()),
        ("offset", pa.int32()),
        ("length", pa.int32()),
        ("spans", pa.list_(SPAN_TYPE)),
    ]
)
"""`block` counts within open or credentialed tars, `pack` over all; `offset` is the first id's place in the block;
`spans` are positions within the sequence."""


def shard_name(credentialed: bool, block: int) -> str:
    """The tar that holds a block."""
    return f"{'credentialed' if credentialed else 'open'}-{block // BLOCKS_PER_SHARD:06d}.tar"


def member_name(block: int, member: str) -> str:
    """The name of a block's member inside its tar."""
    return f"{block:08d}.{member}"


def vocabulary_record(vocabulary: Vocabulary, image_tokenizer: str, codebook: str) -> dict[str, Any]:
    """What `vocabulary.json` says: every id that shards use, both tokenizers' digests, and what codes stand for.

    Args:
        vocabulary: read from the text tokenizer.
        image_tokenizer: digest of the image tokenizer, as in the code store's folder name.
        codebook: `models/codebook.codebook_digest` of the same, which a model can be held against.
    """
    names = ("bos", "pad", "eos", "unk", "first_code", "eoi", "boi", "sep", "image_placeholder")
    return {
        "ids": {name: getattr(vocabulary, name) for name in names},
        "size": vocabulary.size,
        "codebook_size": vocabulary.codebook_size,
        "codes_per_image": vocabulary.codes_per_image,
        "text_tokenizer": vocabulary.digest,
        "image_tokenizer": image_tokenizer,
        "codebook": codebook,
    }


def check_vocabulary(folder: Path, expected: dict[str, Any]) -> None:
    """Refuse shards that were written in another vocabulary.

    Args:
        folder: of the shards.
        expected: from `vocabulary_record`.

    Raises:
        TokenError: naming what differs.
    """
    found = read_json(folder / VOCABULARY)
    differing = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    if differing:
        raise TokenError(
            f"{folder}: shards differ from the model's tokenizers in {', '.join(differing)} "
            f"(found {found.get(differing[0])}, expected {expected.get(differing[0])}). Make the shards again."
        )
