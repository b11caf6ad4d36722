"""Lines that tell how far a long pass has come: every ten seconds, for logs that know no cursor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 10.0
BAR: Final = 20
"""Characters of the bar."""


class Progress:
    """Counts and, now and then, tells."""

    def __init__(self, what: str, unit: str, log: Callable[[str], None], total: int | None = None) -> None:
        """Args:
        what: begins each line.
        unit: what is counted, in the plural.
        log: takes a line.
        total: how many there are; None where nobody knows.
        """
        self._begin, self._unit, self._log, self._total = what, unit, log, total
        self._started = self._told = time.monotonic()
        self.done = 0

    def add(self, more: int = 1) -> None:
        """Note that `more` are done; tell if the last line is old."""
        self.done += more
        now = time.monotonic()
        if now - self._told >= EVERY_S:
            self._told = now
            self._log(self._line(now - self._started))

    def end(self) -> None:
        """Tell the sum."""
        seconds = time.monotonic() - self._started
        rate = self.done / max(seconds, 1e-9)
        self._log(f"{self._begin}: {self.done:,} {self._unit} in {seconds:,.1f} s, {rate:,.1f}/s")

    def _line(self, seconds: float) -> str:
        rate = self.done / max(seconds, 1e-9)
        if self._total is None:
            return f"{self._begin}: {self.done:,} {self._unit}, {rate:,.1f}/s"
        bar = "#" * (BAR * self.done // max(self._total, 1))
        left = (self._total - self.done) / max(rate, 1e-9)
        return (
            f"{self._begin}: [{bar:.<{BAR}}] {self.done:,} of {self._total:,} {self._unit}, {rate:,.1f}/s, "
            f"{left:,.0f} s left"
        )
