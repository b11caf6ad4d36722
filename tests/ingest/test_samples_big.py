"""A table of the size of the largest there is, adapted in bounded memory. Takes minutes and two gigabytes of disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingest.landings import picture

ROWS = 647_031
"""As many as each part of PubMedVision has by its publisher's README."""
PICTURES = 200
ROW_BYTES = 1_500
MOST_BYTES = 1_500_000_000
"""The wall: peak memory of the whole samples step."""
STEP = """
import json, resource, sys, time
from pathlib import Path
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources import source

landing, store, which = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
record = source("pubmedvision_alignment")
step = raw_step(record, corpus=True) if which == "raw" else samples_step(record)
if which == "raw":
    from dataclasses import replace
    step = replace(step, needs=())
began = time.process_time()
made, _ = Ledger(store, "big", landing).execute(step)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
counts = made.manifest.counts
print(json.dumps({"kept": counts.kept, "taken": counts.taken, "peak": peak, "seconds": time.process_time() - began}))
"""


def rows() -> Iterator[bytes]:
    """Rows in the publisher's shape, as long as its own are on the average."""
    words = "An axial slice shows a rounded lesion of mixed density beside the vessel, without a halo. "
    for number in range(ROWS):
        reply = f"{number}: {words * 15}"
        yield json.dumps(
            {
                "image": [f"images/pmc_{number % PICTURES}_0.jpg"],
                "conversations": [
                    {"from": "human", "value": "Could you describe what the picture shows?"},
                    {"from": "gpt", "value": reply[: ROW_BYTES - 230]},
                ],
                "id": f"Alignment_VQA_{number}",
                "modality": "Computed Tomography",
                "body_part": "Chest",
            }
        ).encode()


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "landing" / "pubmedvision"
    (folder / "images").mkdir(parents=True)
    for number in range(PICTURES):
        (folder / "images" / f"pmc_{number}_0.jpg").write_bytes(picture(number, "JPEG"))
    with (folder / "PubMedVision_Alignment_VQA.json").open("wb") as handle:
        for number, row in enumerate(rows()):
            handle.write((b",\n" if number else b"[") + row)
        handle.write(b"]")
    yield tmp_path / "landing"
    shutil.rmtree(tmp_path)


def run(landing: Path, which: str) -> dict[str, float]:
    store = landing.parent / "store"
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(landing), str(store), which], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.torture
def test_a_table_of_a_gigabyte_is_adapted_in_bounded_memory(landing: Path) -> None:
    table = landing / "pubmedvision" / "PubMedVision_Alignment_VQA.json"
    assert table.stat().st_size > 900_000_000
    run(landing, "raw")
    found = run(landing, "samples")
    rate = ROWS / found["seconds"]
    print(f"\n{table.stat().st_size:,} bytes, {found['peak']:,} of memory, {rate:,.0f} rows a CPU second")
    assert found["taken"] == found["kept"] == ROWS
    assert found["peak"] < MOST_BYTES
