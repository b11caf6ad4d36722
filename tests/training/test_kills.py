"""Minutes of killing: two processes, one of them or their launcher killed at random moments, again and again."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from medmax_pipeline.files import write_json
from medmax_pipeline.training.export import MODEL
from medmax_pipeline.training.job import Job
from tests.training.runs import run

pytestmark = pytest.mark.torture
KILLS = 12


def workers_of(launcher: int) -> list[int]:
    """Processes that this one started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == launcher:
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether that process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_killed_at_random_moments_two_processes_end_with_the_curve_of_one(
    make_job: Callable[..., Job], tmp_path: Path, parallel: str
) -> None:
    chance = random.Random(parallel)
    long = {"schedule": {"epochs": 150, "checkpoint_steps": 10}, "packs_per_step": 2}
    whole = make_job("whole", **long)
    run(whole)
    job = replace(make_job("killed", **long), processes=2, parallel=parallel, device="cpu")  # type: ignore[arg-type]
    write_json(tmp_path / "job.json", asdict(job))
    resumed = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "medmax_pipeline.training", str(tmp_path / "job.json")],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("goes on after step"):
                resumed.append(int(line.split()[4]))
            if line.startswith("step "):
                break
        time.sleep(chance.random() * 2)
        workers = workers_of(process.pid)
        with contextlib.suppress(ProcessLookupError):  # it came to its end
            os.kill(chance.choice([process.pid, *workers]), signal.SIGKILL)
        process.communicate(timeout=60)
        deadline = time.monotonic() + 10
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(alive, workers)), "a worker outlived its launcher"
        if (Path(job.out) / MODEL).exists():  # a run outran its kill
            break
    else:
        ended = subprocess.run(
            [sys.executable, "-m", "medmax_pipeline.training", str(tmp_path / "job.json")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
    assert len(set(resumed)) > 3, f"kills came too early to matter: {resumed}"
    curves = [
        [json.loads(line)["loss"] for line in (Path(one.out) / "log" / "metrics.jsonl").read_text().splitlines()]
        for one in (whole, job)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=5e-3, abs=1e-4)
