"""All near pairs of perceptual hashes: exact, against a plain comparison, and how time grows up to three million.

And what the columns of 1.5 million pictures take. Hashes are random with planted pairs, so that recall is known.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Mapping

import numpy as np

from benchmarks.measure import Claim
from medmax_pipeline.curation.neighbours import Hashes, gathered, pairs_within

BITS = 6
SMALL = 20_000
SIZES = (100_000, 725_000, 1_500_000, 3_000_000)
PLANTED = 1_000


def hashes(count: int) -> tuple[Hashes, set[tuple[int, int]]]:
    """Random hashes, and the values of the pairs that were planted in them."""
    chance = np.random.default_rng(0)
    made = chance.integers(0, 2**64, count, dtype=np.uint64)
    planted = set()
    for at in range(PLANTED):
        flipped = chance.choice(64, int(chance.integers(1, BITS + 1)), replace=False).astype(np.uint64)
        made[count - 1 - at] = made[at] ^ np.bitwise_or.reduce(np.uint64(1) << flipped)
        planted.add((int(min(made[at], made[count - 1 - at])), int(max(made[at], made[count - 1 - at]))))
    return np.unique(made), planted


def plain(values: Hashes) -> int:
    """Pairs by comparing each hash with all later ones."""
    return sum(int((np.bitwise_count(values[at] ^ values[at + 1 :]) <= BITS).sum()) for at in range(len(values)))


def ours(values: Hashes) -> int:
    """Pairs by bands."""
    return len(gathered(pairs_within(values, BITS)).left)


def growth(count: int) -> str:
    """One line: seconds, recall and peak memory for so many hashes."""
    values, planted = hashes(count)
    started = time.perf_counter()
    pairs = gathered(pairs_within(values, BITS))
    taken = time.perf_counter() - started
    found = set(zip(values[pairs.left].tolist(), values[pairs.right].tolist(), strict=True))
    recall = len(planted & found) / len(planted)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return f"| {count:,} | {taken:.1f} | {recall:.4f} | {peak:.2f} |"


def _remark(medians: Mapping[str, float]) -> str:
    lines = ["\n| hashes | s | recall of planted pairs | peak GB of the process |", "| ---: | ---: | ---: | ---: |"]
    for size in SIZES:  # a process each, so that peaks are its own
        script = f"from benchmarks.duplicates import growth; print(growth({size}))"
        lines.append(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    return "\n".join(line.strip("\n") for line in ["", *lines])


def claim() -> Claim:
    """CPU seconds for all pairs within 6 bits."""
    values, _ = hashes(SMALL)
    assert ours(values) == plain(values)
    return Claim(
        f"All pairs of {SMALL:,} hashes within {BITS} bits",
        "CPU s",
        {"plain comparison": lambda: plain(values), "curation.neighbours": lambda: ours(values)},
        rounds=3,
        remark=_remark,
    )
