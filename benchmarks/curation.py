"""Curating a source of more and more samples: time a sample, and peak memory of a process of its own.

A tenth of the samples has a verdict of a decision across sources, which is held in memory; the samples stream. Measured
at two sizes, so that the growth of memory can be told and the peak at the paper's 1.5 million.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import Claim
from benchmarks.rows import peak_mb
from medmax_pipeline.arrow import IMAGE_SCHEMA, samples_to_table
from medmax_pipeline.config import Curation
from medmax_pipeline.curation import licence, single_image, split
from medmax_pipeline.curation.curated import by_id, curate
from medmax_pipeline.curation.steps import formatter
from medmax_pipeline.ingest.tables import of_schema, open_table
from medmax_pipeline.records import Drop, Origin, Sample, Turn

SIZES = (20_000, 80_000)
WHOLE = 1_500_000
SAID = "Axial T2-weighted magnetic resonance image of the knee with a tear of the medial meniscus. " * 4
"""As long as captions and short chats are on average."""


def sample(number: int) -> Sample:
    """A caption pair; every tenth is an evaluation row."""
    return Sample(
        sample_id=f"{number:032x}",
        source="one",
        split="train" if number % 10 else "eval",
        kind="captioning",
        turns=(Turn("user", "<image>Please describe this picture."), Turn("assistant", SAID)),
        images=(f"{number:064x}",),
        options=(),
        answer=SAID,
        answer_type="",
        modality="",
        context=SAID,
        licence="MIT",
        credentialed=False,
        origin=Origin("rows.json", "0" * 64, number),
        extra="{}",
    )


def write(folder: Path, count: int) -> Path:
    """A folder with so many published samples; their pictures are described and lie nowhere."""
    place = {"source": "one", "folder": "one", "member": "", "kind": "loose", "offset": 0, "packed": 0, "crc": 0}
    with (
        open_table(folder / "samples.parquet", samples_to_table) as samples,
        open_table(folder / "images.parquet", of_schema(IMAGE_SCHEMA)) as images,
    ):
        for number in range(count):
            made = sample(number)
            samples.add(made)
            row = {"image_id": made.images[0], "file": f"{number}.png", "bytes": 1}
            images.add(dict.fromkeys(IMAGE_SCHEMA.names) | place | row)
    return folder


def work(folder: Path) -> int:
    """Curate them all; how many stay."""
    leaks = {f"{number:032x}": Drop("leak_same_file", "somewhere") for number in range(1, int(folder.name), 10)}
    decisions = [
        lambda one: licence.decide(one, licence.COMMERCIAL),
        lambda one: split.decide(one, 0.0),
        single_image.decide,
        by_id(leaks),
    ]
    formed = formatter(Curation(), "Please describe this picture.")
    with tempfile.TemporaryDirectory() as out:
        return curate(folder, decisions, formed, Path(out), folder).counts.kept


def claim() -> Claim:
    """CPU seconds a sample at both sizes, and the memory of each."""
    root = Path(tempfile.mkdtemp(prefix="medmax-bench-"))
    folders = {count: write(root / str(count), count) for count in SIZES}
    assert all(work(folder) == count - 2 * (count // 10) for count, folder in folders.items())
    memory = {count: peak_mb(work, folder) for count, folder in folders.items()}
    grown = (memory[SIZES[1]] - memory[SIZES[0]]) / (SIZES[1] - SIZES[0])
    whole = memory[SIZES[1]] + grown * (WHOLE - SIZES[1])

    def remark(seconds: Mapping[str, float]) -> str:
        told = ", ".join(f"{peak:.0f} MB at {count:,}" for count, peak in memory.items())
        minutes = seconds[f"{SIZES[1]:,} samples"] * WHOLE / 60
        return (
            f"Peak memory beyond the start: {told}; at that growth {whole:.0f} MB and {minutes:.0f} CPU minutes for "
            f"{WHOLE:,} samples of one source."
        )

    names = {count: f"{count:,} samples" for count in SIZES}
    return Claim(
        "Curating one source",
        "CPU s a sample",
        {names[count]: functools.partial(work, folders[count]) for count in SIZES},
        rounds=1,
        items={names[count]: count for count in SIZES},
        remark=remark,
    )
