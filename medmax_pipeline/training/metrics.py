"""What a run tells while it goes on: a record a step, lines for people, `metrics.jsonl`, TensorBoard, trackers.

    work/metrics.jsonl   a record a step, written with every line of the log
    work/tensorboard/    the same as TensorBoard's event files

What is computed belongs to `loop.py`; what is kept of it at the end to `export.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import Json, disk_errors, write_text
from medmax_pipeline.training.job import Job

LIVE, TENSORBOARD = "metrics.jsonl", "tensorboard"
HEARTBEAT = "MEDMAX_HEARTBEAT"
"""Environment variable that names the file whose time of change says when the last step ended."""
REPORT_STEPS = 20
"""Last steps over which the report's losses are means."""
SCALARS = ("loss", "text_loss", "image_loss", "z_loss", "lr", "grad_norm", "tokens_per_s", "mfu", "memory_gib")
"""What of a record is drawn as a curve."""
Record = Mapping[str, Any]


class Tracker(Protocol):
    """Somebody who is told each step's scalars."""

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """One step's."""

    def flush(self) -> None:
        """Make what was told visible."""

    def close(self) -> None:
        """Nothing more comes."""


class Board:
    """TensorBoard's event files."""

    def __init__(self, folder: Path, start: int) -> None:
        """Go on after step `start`: what a killed process told of later steps is passed over by readers."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """One scalar a name."""
        for name, value in scalars.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def flush(self) -> None:
        """Write what is buffered."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class Service:
    """trackio or wandb: both take the same three calls."""

    def __init__(self, package: str, name: str) -> None:
        """Begin a run there.

        Raises:
            ConfigError: the package is not installed.
        """
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"trackers names {package}, which is not installed; `pip install {package}`, or leave it."
            )
        self._module: Any = importlib.import_module(package)
        self._module.init(project="medmax_pipeline", name=name)

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """One step's."""
        self._module.log(dict(scalars), step=step)

    def flush(self) -> None:
        """Both send when they like."""

    def close(self) -> None:
        """End the run there."""
        self._module.finish()


class Metrics:
    """The records of a run, of earlier processes too, and everybody who is told."""

    def __init__(self, job: Job, earlier: Sequence[str], log: Callable[[str], None]) -> None:
        """Go on after the steps of `earlier`, the lines of the state that was found."""
        self.lines = list(earlier)
        self.start = len(earlier)
        self._log, self._every = log, job.log_steps
        self._live = Path(job.work) / LIVE
        write_text(self._live, "".join(line + "\n" for line in earlier))
        self._told = len(earlier)
        self.trackers: list[Tracker] = [Service(name, job.recipe.name) for name in job.trackers]
        if importlib.util.find_spec("tensorboard") is None:
            log("tensorboard is not installed: its files are not written, metrics.jsonl holds the same")
        else:
            self.trackers.append(Board(Path(job.work) / TENSORBOARD, self.start))
        self._beat = os.environ.get(HEARTBEAT)
        self._began = self._last = time.monotonic()
        self._tokens = 0

    @property
    def seconds(self) -> float:
        """Since this process's first step began."""
        return self._last - self._began

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second of this process and those beside it, prompt and reply, over all of its steps."""
        return self._tokens / self.seconds if self._tokens else 0.0

    def add(self, record: dict[str, Json], tokens: int, flops: float, peak: float | None, steps: int) -> None:
        """One step's record, and how fast it was.

        Args:
            record: what the step gave.
            tokens: of all processes, without padding.
            flops: floating point operations of all processes.
            peak: what all devices could do a second; None: not known.
            steps: of the whole run.
        """
        now = time.monotonic()
        took, self._last = max(now - self._last, 1e-9), now
        self._tokens += tokens
        record |= {
            "tokens": tokens,
            "tokens_per_s": round(tokens / took, 1),
            "mfu": round(flops / took / peak, 4) if peak else None,
            "memory_gib": round(memory_gib(), 3),
        }
        self.lines.append(json.dumps(record))
        for tracker in self.trackers:
            known = {name: float(record[name]) for name in SCALARS if record.get(name) is not None}  # type: ignore[arg-type]
            tracker.add(known, len(self.lines))
        if self._beat:
            Path(self._beat).touch()
        if len(self.lines) % self._every == 0 or len(self.lines) == steps:
            self._tell(steps)

    def _tell(self, steps: int) -> None:
        fresh, self._told = self.lines[self._told :], len(self.lines)
        with disk_errors(self._live), self._live.open("a", encoding="utf-8") as handle:
            handle.write("".join(line + "\n" for line in fresh))
        for tracker in self.trackers:
            tracker.flush()
        done = len(self.lines) - self.start
        left = (steps - len(self.lines)) * self.seconds / done
        self._log(shown(self.lines[-self._every :], left))

    def close(self) -> None:
        """Nothing more comes."""
        for tracker in self.trackers:
            tracker.close()

    def report(self) -> dict[str, Json]:
        """Steps, last losses (nats a token), speed of this process."""
        losses: dict[str, Json] = {name: round(value, 4) for name, value in means(self.lines[-REPORT_STEPS:]).items()}
        used = [record["mfu"] for line in self.lines[-REPORT_STEPS:] if (record := json.loads(line))["mfu"] is not None]
        return {
            "steps": len(self.lines),
            **losses,
            "tokens_per_s": round(self.tokens_per_s, 1),
            "mfu": round(sum(used) / len(used), 4) if used else None,
            "memory_gib": round(memory_gib(), 2),
            "train_s": round(self.seconds, 2),
        }


def memory_gib() -> float:
    """The most that was held at once: on the device where there is one, else by this process."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def means(lines: Sequence[str]) -> dict[str, float]:
    """Mean losses over some steps; text and image by their targets."""
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    found = {"loss": sum(record["loss"] for record in records) / len(records)}
    for kind in ("text", "image"):
        targets = sum(record[f"{kind}_targets"] for record in records)
        summed = sum(
            record[f"{kind}_loss"] * record[f"{kind}_targets"] for record in records if record[f"{kind}_targets"]
        )
        if targets:
            found[f"{kind}_loss"] = summed / targets
    return found


def shown(lines: Sequence[str], left_s: float) -> str:
    """A line for people: mean losses of some steps, and how fast the last of them were."""
    losses = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in means(lines).items())
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    last = records[-1]
    seconds = sum(record["tokens"] / max(record["tokens_per_s"], 1e-9) for record in records)
    rate = sum(record["tokens"] for record in records) / max(seconds, 1e-9)
    used = "" if last["mfu"] is None else f"  MFU {last['mfu']:.1%}"
    minutes, rest = divmod(round(left_s), 60)
    return (
        f"step {last['step']}  {losses}  lr {last['lr']:.2e}  {rate:,.0f} tokens/s{used}  "
        f"{last['memory_gib']:.1f} GiB  {minutes}:{rest:02d} left"
    )
