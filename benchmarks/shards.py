"""Packed shards against JSON lines of decimal ids, one list a sample, as training code commonly keeps them.

Reading: the same ids, all of them touched. Writing: the same sequences. Collating: the same targets.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import webdataset

from benchmarks.measure import Claim
from medmax_pipeline.shards.layout import INDEX, TOKENS_MEMBER
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.shards.writer import Entry, write_shards, written_blocks
from medmax_pipeline.tokens.sequence import Sequence, Span
from medmax_pipeline.training.data import Batch, collate

SEQUENCES = 6_000
LENGTH = 1_117
"""Mean length of the paper's mix with one picture a sample."""
PROMPT = 1_060
"""A picture and its question: not trained."""
A_PACK = 8
"""The paper's batch."""
PAD, IGNORED = 1, -100


def entries() -> list[Entry]:
    """Samples of ids over codes and text, as one picture and its answer."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(SEQUENCES):
        length = LENGTH + int(draw.integers(-40, 41))
        ids = draw.integers(4, 8196, length).astype(np.uint16)
        sample_id = draw.bytes(16).hex()
        made.append(Entry(sample_id, "bench", "vqa_open", "none", False, Sequence(ids, (Span(PROMPT, length),))))
    return made


def packs_of(given: list[Entry]) -> list[list[Entry]]:
    """Eight at a time."""
    return [given[at : at + A_PACK] for at in range(0, len(given), A_PACK)]


def write_lines(path: Path, given: list[Entry]) -> None:
    """Ids and labels' mask as decimal text, a sample a line."""
    with path.open("w") as handle:
        for one in given:
            handle.write(json.dumps({"id": one.sample_id, "tokens": one.sequence.ids.tolist()}) + "\n")


def claim() -> list[Claim]:
    """CPU seconds to write, to read and to collate 6.7 M ids."""
    folder = Path(tempfile.mkdtemp(prefix="medmax-bench-"))
    given = entries()
    write_shards(folder, packs_of(given))
    write_lines(folder / "lines.jsonl", given)
    return [_writing(folder, given), _reading(folder, given), _collating(folder, given)]


def _writing(folder: Path, given: list[Entry]) -> Claim:
    tokens = sum(len(one.sequence.ids) for one in given)
    tars = sum(path.stat().st_size for path in folder.glob("*.tar"))
    index, lines = ((folder / name).stat().st_size for name in (INDEX, "lines.jsonl"))
    packs = packs_of(given)
    elsewhere = folder / "again"

    def emptied() -> None:
        shutil.rmtree(elsewhere, ignore_errors=True)  # every publication has a folder of its own
        elsewhere.mkdir()

    def remark(medians: Mapping[str, float]) -> str:
        sizes = {"tars": tars, "tars and index": tars + index, "JSON lines": lines}
        return "Bytes a token: " + ", ".join(f"{name} {size / tokens:.3f}" for name, size in sizes.items()) + "."

    return Claim(
        f"Writing {tokens:,} ids",
        "CPU s",
        {
            "JSON lines": lambda: write_lines(elsewhere / "lines.jsonl", given),
            "tars": lambda: sum(1 for _ in written_blocks(elsewhere, packs)),
            "tars and index": lambda: write_shards(elsewhere, packs),
        },
        rounds=7,
        before=emptied,
        remark=remark,
    )


def _reading(folder: Path, given: list[Entry]) -> Claim:
    tars = sorted(folder.glob("*.tar"))
    expected = _touched(one.sequence.ids for one in given)
    tokens = sum(len(one.sequence.ids) for one in given)
    reader = PackReader(folder)

    def lines() -> Iterator[npt.NDArray[Any]]:
        for line in (folder / "lines.jsonl").open():
            yield torch.tensor(json.loads(line)["tokens"], dtype=torch.long).numpy()

    def packs() -> Iterator[npt.NDArray[Any]]:
        return (reader.pack(number).ids for number in range(len(reader)))

    def blocks() -> Iterator[npt.NDArray[Any]]:
        return (block.ids for block in reader.blocks())

    def by_webdataset() -> Iterator[npt.NDArray[Any]]:
        for block in webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False):
            yield np.frombuffer(block[TOKENS_MEMBER], dtype="<u2")

    def by_datasets() -> Iterator[npt.NDArray[Any]]:
        load = importlib.import_module("datasets").load_dataset
        names = [str(tar) for tar in tars]
        for block in load("webdataset", data_files=names, split="train", streaming=True):
            yield np.frombuffer(block[TOKENS_MEMBER], dtype="<u2")

    ways: dict[str, Callable[[], Iterator[npt.NDArray[Any]]]] = {
        "JSON lines to torch": lines,
        "packs by number": packs,
        "whole blocks": blocks,
        "webdataset": by_webdataset,
    }
    if importlib.util.find_spec("datasets") is not None:
        ways["datasets, streaming"] = by_datasets
    warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files to the collector
    for name, way in ways.items():
        assert _touched(way()) == expected, name
    gc.collect()

    def remark(medians: Mapping[str, float]) -> str:
        return "Million ids/s: " + ", ".join(f"{n} {tokens / s / 1e6:,.0f}" for n, s in medians.items()) + "."

    return Claim(
        f"Reading {tokens:,} ids",
        "CPU s",
        {name: _toucher(way) for name, way in ways.items()},
        rounds=5,
        remark=remark,
    )


def _toucher(way: Callable[[], Iterator[npt.NDArray[Any]]]) -> Callable[[], int]:
    return lambda: _touched(way())


def _touched(arrays: Iterable[npt.NDArray[Any]]) -> int:
    """One number that every id has a share in, whatever the bounds between arrays."""
    found = 0
    for array in arrays:
        found ^= int(np.bitwise_xor.reduce(array))
    return found


def padded(given: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask and labels of a batch of lists, each padded to the longest; prompts are no targets."""
    longest = max(map(len, given))
    ids = torch.tensor([[*one, *[PAD] * (longest - len(one))] for one in given], dtype=torch.long)
    mask = torch.tensor([[*[1] * len(one), *[0] * (longest - len(one))] for one in given], dtype=torch.long)
    labels = torch.tensor(
        [[*[IGNORED] * PROMPT, *one[PROMPT:], *[IGNORED] * (longest - len(one))] for one in given], dtype=torch.long
    )
    return ids, mask, labels


def _collating(folder: Path, given: list[Entry]) -> Claim:
    reader = PackReader(folder)
    packs = [reader.pack(number) for number in range(len(reader))]
    lists = [[one.sequence.ids.tolist() for one in some] for some in packs_of(given)]
    images = frozenset(range(4, 4 + 8192))

    def ours() -> list[Batch]:
        return [collate(pack, images, "token") for pack in packs]

    for (_, _, labels), batch in zip(map(padded, lists), ours(), strict=True):
        assert torch.equal(labels[labels != IGNORED], batch.ids_T[batch.trained_T])

    return Claim(
        f"Collating {sum(map(len, lists)):,} sequences, {A_PACK} at a time",
        "CPU s",
        {"lists, padded to the longest": lambda: [padded(some) for some in lists], "packs": ours},
        rounds=5,
    )
