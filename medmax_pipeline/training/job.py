"""What one training process is told: a recipe, and where this machine keeps things. No torch.

The recipe decides the result; every other field of a `Job` is about the machine and takes no part in it, but for the
number of threads, on which the last bits of float32 sums depend, and which is therefore written down with the result.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from medmax_pipeline.config import Recipe, read_recipe
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import digest_of, read_json, sha256_file
from medmax_pipeline.shards.remote import local_file
from medmax_pipeline.strict import read_record

INDEX = "index.parquet"
"""The shards' index; its digest stands for the shards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training process. Folders are paths of this machine."""

    recipe: Recipe
    shards: str
    """Folder of the shards and their index, or an address of one in an object store (`s3://…`)."""
    base: str
    """Folder of the model before tuning, with its tokenizer.json."""
    out: str
    """Result: model/, recipe.json, adapter/ for LoRA, log/. Must not hold a model yet."""
    work: str
    """Resumable state; a later process with the same recipe and inputs goes on from it."""
    threads: int = 1
    """CPU threads; the same everywhere, so that the same inputs give the same bytes on machines with more cores too.
    One, since small operations that wait for each other are slower on two (docs/log.md: 149 s against 95 s)."""
    cache: str = ""
    """Folder that keeps shards fetched from an address; empty: in the work folder."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    processes: int = 0
    """How many train together on this machine, one a device; 0: as many CUDA devices as share a step evenly, one on
    the CPU. Under `torchrun` it is what that started."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: every process holds the whole model; `fsdp`: parameters, gradients and optimizer are spread over all."""
    trackers: tuple[Literal["trackio", "wandb"], ...] = ()
    """Who is told the metrics beside `metrics.jsonl` and TensorBoard's files; each is a package of its own."""
    log_steps: int = 10
    """Steps between two lines of the log."""


def result_parameters(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON values, without what never changes a result."""
    values: dict[str, Any] = asdict(recipe)
    del values["schedule"]["checkpoint_steps"]
    return values


def read_job(path: Path) -> Job:
    """The job in a JSON file; `recipe` is the recipe's table.

    Raises:
        ConfigError: unknown or missing keys, or values of another type.
        StoreError: not JSON.
    """
    job = read_record(Job, read_json(path), path.name)
    if job.threads < 1 or job.log_steps < 1 or job.processes < 0:
        raise ConfigError(
            f"{path.name}: threads is {job.threads}, log_steps {job.log_steps}; at least 1 expected "
            f"(processes {job.processes}, at least 0)."
        )
    return job


def job_of(recipe: Path, *, shards: str | Path, base: Path, out: Path, work: Path) -> Job:
    """The job of a recipe's TOML and four folders, as people start it by hand."""
    return Job(recipe=read_recipe(recipe), shards=str(shards), base=str(base), out=str(out), work=str(work))


def shard_cache(job: Job) -> Path:
    """Where shards of an address are kept."""
    return Path(job.cache) if job.cache else Path(job.work) / "shards"


def identity(job: Job) -> str:
    """What resumable state belongs to: recipe, shards, base model, threads. sha256, 64 hex digits.

    The base model counts by its configuration and the sizes of its weight files: reading a 7B twice to say more
    would cost minutes, and under the ledger the work folder is named by every input's digest anyway.
    """
    base, index = Path(job.base), local_file(job.shards, INDEX, shard_cache(job))
    if not index.is_file():
        raise ConfigError(f"{index}: no such file. `shards` must be a folder that the shards step published.")
    return digest_of(
        {
            "recipe": result_parameters(job.recipe),
            "shards": sha256_file(index),
            "base": [[file.name, file.stat().st_size] for file in sorted(base.glob("*.safetensors"))],
            "config": sha256_file(base / "config.json") if (base / "config.json").is_file() else "",
            "threads": job.threads,
        }
    )
