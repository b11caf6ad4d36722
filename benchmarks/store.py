"""Codes by image id out of ten million: the code store against SQLite, which finds a key in a file as well.

Eight codes a picture in place of 1,024, so that it fits a small disk; what is searched, the ids, is as large as ever.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.measure import Claim
from medmax_pipeline.tokens.parts import write_part
from medmax_pipeline.tokens.store import CodeStore

PICTURES = 10_000_000
CODES = 8
PART = 65_536
"""Pictures of a part as it is added: 153 of them, which are merged."""
ASKED = 65_536
"""Pictures looked up at once, drawn at random."""


def fill(folder: Path) -> tuple[CodeStore, sqlite3.Connection, list[str]]:
    """The same pictures in both; the ids that are asked for."""
    draw = np.random.default_rng(0)
    store = CodeStore(folder / "codes", CODES)
    database = sqlite3.connect(folder / "codes.sqlite")
    database.execute("PRAGMA journal_mode=OFF")
    database.execute("PRAGMA mmap_size=8000000000")
    database.execute("CREATE TABLE codes (id BLOB PRIMARY KEY, codes BLOB) WITHOUT ROWID")
    ids = np.sort(np.frombuffer(draw.bytes(32 * PICTURES), dtype="V32").view("S32"))
    codes = draw.integers(0, 8192, (PICTURES, CODES)).astype("<u2")
    rows = zip(ids.view("V32").tolist(), codes.view(f"V{2 * CODES}").ravel().tolist(), strict=True)
    database.executemany("INSERT INTO codes VALUES (?, ?)", rows)
    database.commit()
    mixed = draw.permutation(PICTURES)
    for start in range(0, PICTURES, PART):
        chosen = mixed[start : start + PART]
        write_part(store.folder, "open", ids[chosen], codes[chosen])
    store.tidy()
    raw = ids.view("V32")
    return store, database, [bytes(raw[number]).hex() for number in random.Random(0).sample(range(PICTURES), ASKED)]


def claim() -> Claim:
    """CPU seconds for a batch of random pictures; how long it takes to open the store is told beside it."""
    folder = Path(tempfile.mkdtemp(prefix="medmax-bench-"))
    try:
        return _claim(folder)
    finally:
        shutil.rmtree(folder)  # both keep what they have mapped or opened


def _claim(folder: Path) -> Claim:
    store, database, asked = fill(folder)

    def ours() -> list[bytes]:
        return [row.tobytes() for row in store.get_many(asked)]

    def one_by_one() -> list[bytes]:
        find = "SELECT codes FROM codes WHERE id = ?"
        return [database.execute(find, (bytes.fromhex(image_id),)).fetchone()[0] for image_id in asked]

    assert ours() == one_by_one()
    started = time.perf_counter()
    CodeStore(store.folder, CODES)
    opened = time.perf_counter() - started

    def remark(medians: Mapping[str, float]) -> str:
        rates = ", ".join(f"{name} {ASKED / seconds:,.0f}" for name, seconds in medians.items())
        return f"Pictures/s: {rates}. Opening the store of {PICTURES:,} pictures takes {opened:.4f} s."

    return Claim(
        f"{ASKED:,} pictures' codes out of {PICTURES:,}, at random",
        "CPU s",
        {"SQLite, mapped": one_by_one, "CodeStore.get_many": lambda: store.get_many(asked)},
        rounds=5,
        remark=remark,
    )
