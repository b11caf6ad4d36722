"""`python -m benchmarks [NAME …]`: every benchmark that this machine can run, as Markdown tables."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path

from benchmarks.measure import report

NOT_CLAIMS = ("__init__", "__main__", "measure")


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    here = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_CLAIMS)
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {load}, Python {platform.python_version()}\n")
    for name in names or here:
        made = importlib.import_module(f"benchmarks.{name}").claim()
        for claim in made if isinstance(made, list) else [made]:
            print(report(claim), flush=True)
            print()


if __name__ == "__main__":
    main(sys.argv[1:])
