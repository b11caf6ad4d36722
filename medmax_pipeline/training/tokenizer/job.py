"""What one tuning process is told: how to tune, and where this machine keeps things. No torch.

The tuning, the pictures and the weights decide the result; every other field of a `Job` is about the machine. On
several devices only the last bits of sums differ, and what the discriminator's batch norms see: each its own share.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from medmax_pipeline.config import TokenizerTuning
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import digest_of, read_json, sha256_file
from medmax_pipeline.models.weights import CONFIG, STATE
from medmax_pipeline.strict import read_record
from medmax_pipeline.training.tokenizer.steps import check, result_parameters

PICTURE_SCHEMA = pa.schema([("image_id", pa.string()), ("held_out", pa.bool_())])
"""What is tuned on and what is measured on, sorted by image id."""
FAILURES = "failures.json"
"""In the work folder: reason and detail of each picture that could not be used, by image id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One tuning. Paths are absolute."""

    tuning: TokenizerTuning
    base: str
    """Folder of the image tokenizer before tuning, with its decoder."""
    landing: str
    images: tuple[str, ...]
    """images.parquet files that say where the pictures' bytes are."""
    pictures: str
    """Parquet of `PICTURE_SCHEMA`."""
    perceptual: str = ""
    """File of LPIPS weights; empty: without that term."""
    out: str
    """Result: the tuned tokenizer's folder. Must be absent or empty."""
    work: str
    """Resumable state, and failures.json; a later process with the same job goes on from it."""
    threads: int = 1
    """CPU threads of a process; part of the result's last bits."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    processes: int = 0
    """Devices to use, one process each; 0: all CUDA devices that share the batch evenly, one on a CPU."""
    readers: int = 4
    """Threads that decode pictures, a process."""
    log_steps: int = 10
    """Steps between two lines of the log."""


def read_job(path: Path) -> Job:
    """The job in a JSON file.

    Raises:
        ConfigError: unknown or missing keys, or values of another type or out of bounds.
        StoreError: not JSON.
    """
    job = read_record(Job, read_json(path), path.name)
    check(job.tuning, path.name)
    least = {"threads": 1, "readers": 1, "log_steps": 1, "processes": 0}
    wrong = [f"{name} is {getattr(job, name)}" for name, value in least.items() if getattr(job, name) < value]
    if job.processes > 0 and job.tuning.batch % job.processes:
        wrong.append(f"tuning.batch {job.tuning.batch} is no multiple of processes {job.processes}")
    if wrong:
        raise ConfigError(f"{path.name}: {'; '.join(wrong)}.")
    return job


def identity(job: Job) -> str:
    """What resumable state belongs to: tuning, pictures, weights, threads. sha256, 64 hex digits."""
    return digest_of(
        {
            "tuning": result_parameters(job.tuning),
            "pictures": sha256_file(Path(job.pictures)),
            "base": [sha256_file(Path(job.base) / name) for name in (CONFIG, STATE)],
            "perceptual": sha256_file(Path(job.perceptual)) if job.perceptual else "",
            "threads": job.threads,
        }
    )
