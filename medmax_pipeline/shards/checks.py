"""What must hold of a published folder of shards, looked at id by id. Each check gives faults in words; none is good.

Used by the asset checks and by tests; deciding what to do about a fault is theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from medmax_pipeline.files import sha256_file
from medmax_pipeline.manifest import MANIFEST, read_manifest
from medmax_pipeline.shards.layout import INDEX
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.tokens.vocabulary import Vocabulary

FAULTS_SHOWN = 20


def check_shards(folder: Path, vocabulary: Vocabulary, expected: Mapping[str, int] | None = None) -> list[str]:
    """Faults of a folder of shards, at most 20.

    Args:
        folder: with tars and index; its manifest's digests are compared where there is one.
        vocabulary: of the tokenizers the shards were made with.
        expected: sequences of each source; None: what the folder's manifest says, where there is one.
    """
    if expected is None and (folder / MANIFEST).exists():
        by_source = read_manifest(folder).summary["by_source"]
        found = by_source.items() if isinstance(by_source, dict) else ()
        expected = {source: count for source, count in found if isinstance(count, int)}
    faults: list[str] = []
    for fault in _all_faults(folder, vocabulary, expected):
        faults.append(fault)
        if len(faults) == FAULTS_SHOWN:
            break
    return faults


def _all_faults(folder: Path, vocabulary: Vocabulary, expected: Mapping[str, int] | None) -> Iterator[str]:
    yield from digest_faults(folder)
    yield from index_faults(folder, expected)
    reader = PackReader(folder)
    for number in range(len(reader)):
        pack = reader.pack(number)
        for index, sample_id in enumerate(pack.sample_ids):
            start, end = int(pack.cu_seqlens[index]), int(pack.cu_seqlens[index + 1])
            spans = [(first - start, stop - start) for first, stop in pack.spans[index]]
            for fault in sequence_faults(pack.ids[start:end], spans, vocabulary):
                yield f"pack {number}, sample {sample_id}: {fault}"


def digest_faults(folder: Path) -> Iterator[str]:
    """Files that are not those of the folder's manifest."""
    if not (folder / MANIFEST).exists():
        return
    for entry in read_manifest(folder).files:
        path = folder / entry.path
        if not path.is_file() or sha256_file(path) != entry.sha256:
            yield f"{entry.path}: is not the file that was published"


def index_faults(folder: Path, expected: Mapping[str, int] | None) -> Iterator[str]:
    """Credentialed sequences outside credentialed tars or the reverse, and counts that are not the mixture's."""
    table = pq.read_table(folder / INDEX, columns=["source", "shard", "credentialed"])
    for shard, credentialed in sorted(
        {*zip(*(table[name].to_pylist() for name in ("shard", "credentialed")), strict=True)}
    ):
        if shard.startswith("credentialed-") != credentialed:
            yield f"{shard}: holds {'credentialed' if credentialed else 'open'} sequences"
    found = Counter(table["source"].to_pylist())
    if expected is not None and dict(found) != {source: count for source, count in expected.items() if count}:
        yield f"sequences by source are {dict(sorted(found.items()))}, the mixture has {dict(sorted(expected.items()))}"


def sequence_faults(ids: npt.NDArray[np.uint16], spans: list[tuple[int, int]], vocabulary: Vocabulary) -> Iterator[str]:
    """What is wrong with one sequence: ids in range, whole images, trained positions exactly the replies."""
    array = ids.astype(np.int64)
    if not len(array) or array[0] != vocabulary.bos or array[-1] != vocabulary.eos:
        yield "does not run from begin to end"
        return
    if int(array.max()) >= vocabulary.size:
        yield f"id {array.max()} is beyond the vocabulary of {vocabulary.size}"
    inner = array[1:]
    if np.isin(inner, [vocabulary.bos, vocabulary.pad, vocabulary.unk, vocabulary.image_placeholder]).any():
        yield "holds a begin, padding, unknown or placeholder id inside"
    yield from image_faults(array, vocabulary)
    separators = np.flatnonzero(array == vocabulary.sep)
    ends = np.flatnonzero(array == vocabulary.eos)
    if len(separators) != len(ends) or (separators >= ends).any() or (separators[1:] <= ends[:-1]).any():
        yield "separators and ends do not alternate"
        return
    replies = [(int(first) + 1, int(stop) + 1) for first, stop in zip(separators, ends, strict=True)]
    if spans != replies:
        yield f"trains {spans[:3]}, the replies are {replies[:3]}"


def image_faults(array: npt.NDArray[np.int64], vocabulary: Vocabulary) -> Iterator[str]:
    """Images that are not begin, N codes and end, and codes outside an image."""
    begins = np.flatnonzero(array == vocabulary.boi)
    ends = np.flatnonzero(array == vocabulary.eoi)
    codes = vocabulary.is_code(array)
    if len(begins) != len(ends) or (ends - begins != vocabulary.codes_per_image + 1).any():
        yield f"an image has not {vocabulary.codes_per_image} codes between begin and end"
        return
    within = np.zeros(len(array), dtype=np.bool_)
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        within[begin + 1 : end] = True
    if not np.array_equal(within, codes):
        yield "codes lie outside an image, or something else inside one"
