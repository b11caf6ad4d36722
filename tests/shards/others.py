"""Tars read by the library `datasets`, in a process of its own: it sets up caches and threads when it is imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import absent

WITH_DATASETS = """
import hashlib, sys
from datasets import load_dataset
rows = load_dataset("webdataset", data_files=sys.argv[1:], split="train", streaming=True)
whole = hashlib.sha256()
for row in rows:
    print(row["__key__"], *sorted(name for name in row if not name.startswith("__")))
    whole.update(row["cu.i32"] + row["tok.u16"])
print(whole.hexdigest())
"""


def read_by_datasets(tars: Sequence[Path], home: Path) -> tuple[list[str], str]:
    """Each block's key with the names of its members, and sha256 over bounds and ids of all blocks."""
    if importlib.util.find_spec("datasets") is None:
        absent("datasets", "the library datasets is not installed")
    done = subprocess.run(
        [sys.executable, "-c", WITH_DATASETS, *map(str, tars)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    *keys, whole = done.stdout.splitlines()
    return keys, whole
