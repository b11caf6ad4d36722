"""Rows of a JSON array adapted as they stream, against `json.load` and the same adapter: time and peak memory."""

from __future__ import annotations

import json
import multiprocessing
import random
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.measure import Claim
from medmax_pipeline.ingest.json_stream import read_json_array
from medmax_pipeline.ingest.samples import adapt_row
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Row

KEY = "pubmedvision_it"
ROWS = 60_000
"""Of some 1.4 kB, as PubMedVision's: about 80 MB."""


def write(path: Path) -> None:
    """A file in PubMedVision's shape, the same each time."""
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=chance.randint(2, 10))) for _ in range(5000)]
    rows = [
        {
            "id": f"Instruction-Tuning_{number}",
            "image": [f"images/pmc_{number}_{place}.jpg" for place in range(chance.choice((1, 1, 1, 2)))],
            "conversations": [
                {"from": "human", "value": " ".join(chance.choices(words, k=15))},
                {"from": "gpt", "value": " ".join(chance.choices(words, k=150))},
            ],
            "modality": "Computed Tomography",
            "body_part": "Chest",
        }
        for number in range(ROWS)
    ]
    path.write_text(json.dumps(rows, indent=2))


def streamed(path: Path) -> int:
    """Units that the adapter made, a row at a time."""
    record = source(KEY)
    with path.open("rb") as handle:
        return sum(len(adapt_row(record, row)) for row in read_json_array(handle, path.name))


def loaded(path: Path) -> int:
    """The same with the whole file in memory."""
    record = source(KEY)
    with path.open(encoding="utf-8") as handle:
        rows = json.load(handle)
    return sum(len(adapt_row(record, Row(path.name, number, values))) for number, values in enumerate(rows))


def peak_mb(work: Callable[[Path], int], path: Path) -> float:
    """Peak memory of a fresh process that does the work, in MB above one that does nothing."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_grown, (work, path))


def _grown(work: Callable[[Path], int], path: Path) -> float:
    before = _highest_kb()
    work(path)
    return (_highest_kb() - before) / 1000


def _highest_kb() -> int:
    """The most that this process ever held; `getrusage` would tell its parent's, which a child begins with."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def claim() -> Claim:
    """CPU seconds for one file, and what each way needs in memory."""
    path = Path(tempfile.mkdtemp(prefix="medmax-bench-")) / "rows.json"
    write(path)
    assert streamed(path) == loaded(path) == ROWS
    size_mb = path.stat().st_size / 1e6
    memory = {name: peak_mb(work, path) for name, work in (("json.load", loaded), ("streaming", streamed))}

    def remark(seconds: Mapping[str, float]) -> str:
        rate = ROWS / seconds["streaming and the adapter"]
        told = ", ".join(f"{name} {grown:.0f} MB" for name, grown in memory.items())
        return f"{rate:,.0f} rows a CPU second; peak memory beyond the start: {told}."

    return Claim(
        f"Adapting {ROWS:,} rows of a JSON array of {size_mb:.0f} MB",
        "CPU s",
        {"json.load and the adapter": lambda: loaded(path), "streaming and the adapter": lambda: streamed(path)},
        rounds=5,
        remark=remark,
    )
