"""What an endpoint may cost and has cost: a budget over all runs that keep answers in the same folder.

A request's highest possible price is set aside before it is sent and corrected when its answer is there, both on disk,
so that a kill forgets nothing: what was under way then stays counted as spent. Prices are the build's (`Endpoint`);
who is asked belongs to `endpoint.py`.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import disk_errors, read_json, write_json

ROUNDING: Final = 1e-9
"""USD by which sums of floats may pass a budget."""


class Purse:
    """Money in one file that several threads and processes may use."""

    def __init__(self, path: Path, budget_usd: float) -> None:
        self._path = path
        self._budget = budget_usd
        self._lock = Lock()

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside; False, and nothing set aside, where the budget could then be passed."""
        with self._held():
            spent = self._read()
            if spent + usd > self._budget + ROUNDING:
                return False
            write_json(self._path, {"usd": spent + usd})
            return True

    def settle(self, reserved: float, paid: float) -> None:
        """Put what was paid in the place of what was set aside for it, both in USD."""
        with self._held():
            write_json(self._path, {"usd": max(0.0, self._read() - reserved + paid)})

    def spent(self) -> float:
        """USD spent or set aside so far."""
        with self._held():
            return self._read()

    def _read(self) -> float:
        if not self._path.exists():
            return 0.0
        value = read_json(self._path)
        spent = value.get("usd") if isinstance(value, dict) else None
        if not isinstance(spent, int | float) or not 0 <= spent < math.inf:  # a NaN would let everything pass
            raise StoreError(f"{self._path}: expected the USD spent so far. Write them there, or remove the file.")
        return float(spent)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock, disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)
