"""Reading packed shards against the reference's JSONL of decimal ids: the same ids, all of them touched."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Claim
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.shards.writer import Entry, write_shards
from medmax_pipeline.tokens.sequence import Sequence, Span

SEQUENCES = 1_500
LENGTH = 1_117
"""Mean length of the paper's mix with one picture a sample."""
A_PACK = 14


def claim() -> Claim:
    """CPU seconds to sum every id of 1.7 M, from JSON lines and from packs."""
    folder = Path(tempfile.mkdtemp(prefix="medmax-bench-"))
    ids = np.random.default_rng(0).integers(4, 8196, (SEQUENCES, LENGTH)).astype(np.uint16)
    entries = [
        Entry(f"{n:032x}", "bench", "captioning", "none", False, Sequence(row, (Span(1, 2),)))
        for n, row in enumerate(ids)
    ]
    write_shards(folder, [entries[start : start + A_PACK] for start in range(0, SEQUENCES, A_PACK)])
    lines = folder / "reference.jsonl"
    lines.write_text("".join(json.dumps({"tokens": row.tolist()}) + "\n" for row in ids))
    reader = PackReader(folder)
    expected = int(ids.sum(dtype=np.int64))

    def from_json() -> None:
        total = 0
        for line in lines.open():
            total += int(np.asarray(json.loads(line)["tokens"], np.int64).sum())
        assert total == expected

    def from_packs() -> None:
        assert sum(int(reader.pack(number).ids.sum(dtype=np.int64)) for number in range(len(reader))) == expected

    return Claim("Reading 1.7 M ids", "CPU s", {"JSON lines": from_json, "packs": from_packs})
