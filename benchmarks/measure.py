"""How benchmarks measure: variants interleaved round by round, medians, ratios to the baseline of the same run.

The baseline runs twice (A and A'); a ratio inside their spread, or below 1.15, is no difference.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NO_DIFFERENCE = 1.15
"""Below this, noise of a shared machine explains a ratio."""


@dataclass(frozen=True)
class Claim:
    """What a benchmark compares: the first variant is the baseline; all do the same work, which `check` has proven."""

    title: str
    unit: str
    variants: Mapping[str, Callable[[], object]]
    clock: Callable[[], float] = time.process_time
    rounds: int = 7
    items: Mapping[str, int] | None = None
    """How many items each variant answers, where not all answer as many; its seconds are then those of one."""
    before: Callable[[], object] | None = None
    """Done before each run of a variant, and not timed."""
    remark: Callable[[Mapping[str, float]], str] | None = None
    """A sentence to put below the table, made of the median seconds by variant."""


@dataclass
class Memory:
    """Greatest memory of each variant, in bytes; above what it held before, where only the process is known."""

    most: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def seen(self, name: str, device: str) -> Iterator[None]:
        """Note what is used at most inside; on CUDA what is begun inside is finished there, for whoever times it."""
        status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
        import torch  # here, for most benchmarks need none

        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif reset.exists():
            reset.write_text("5")  # the kernel's word for: forget the greatest so far
        before = _kib(status, "VmRSS") if device != "cuda" and status.exists() else 0
        yield
        if device == "cuda":
            torch.cuda.synchronize()
            used = torch.cuda.max_memory_allocated()
        elif status.exists():
            used = 1024 * (_kib(status, "VmHWM") - before)
        else:
            return
        self.most[name] = max(used, self.most.get(name, 0))  # later runs find memory that the process still holds

    def words(self) -> str:
        """What people read."""
        return ", ".join(f"{name} {size / 2**30:.2f} GiB" for name, size in self.most.items()) or "not measured"


def _kib(status: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))


def report(claim: Claim) -> str:
    """Run a claim; its table as Markdown: median seconds, and how many times faster than the baseline."""
    names = list(claim.variants)
    order = [*names, names[0]]
    taken: list[list[float]] = [[] for _ in order]
    for variant in claim.variants.values():
        if claim.before is not None:
            claim.before()
        variant()
    for _ in range(claim.rounds):
        for place, name in enumerate(order):
            if claim.before is not None:
                claim.before()
            started = claim.clock()
            claim.variants[name]()
            taken[place].append(claim.clock() - started)
    items = claim.items or dict.fromkeys(names, 1)
    medians = [statistics.median(times) / items[name] for name, times in zip(order, taken, strict=True)]
    spread = max(medians[0], medians[-1]) / max(min(medians[0], medians[-1]), 1e-9)
    lines = [f"### {claim.title}", "", f"| variant | {claim.unit} | faster than the first |", "| --- | ---: | ---: |"]
    for name, median in zip(names, medians[:-1], strict=True):
        ratio = medians[0] / max(median, 1e-9)
        plain = abs(ratio - 1) < max(spread, NO_DIFFERENCE) - 1
        lines.append(
            f"| {name} | {median:.4f} | {'-' if name == names[0] else 'no difference' if plain else f'{ratio:.2f}x'} |"
        )
    lines.append(f"\nMedian of {claim.rounds} interleaved rounds; the baseline against itself: {spread:.2f}x.")
    if claim.remark is not None:
        lines.append(claim.remark(dict(zip(names, medians[:-1], strict=True))))
    return "\n".join(lines)
