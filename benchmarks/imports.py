"""Importing the definitions costs at most 0.5 s more than `import dagster` itself."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.measure import Claim


def _python(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)


def claim() -> Claim:
    """Wall time of a process that imports and ends."""
    return Claim(
        "Importing the definitions",
        "wall s",
        {
            "import dagster": lambda: _python("import dagster"),
            "import medmax_pipeline.definitions": lambda: _python("import medmax_pipeline.definitions"),
        },
        clock=time.perf_counter,
        rounds=5,
    )
