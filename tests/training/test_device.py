"""Training on a CUDA device: the curve of a processor, in each form that a recipe can ask for, through a kill too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.training.group import ALONE, Group
from medmax_pipeline.training.job import Job
from tests.training.runs import run, stopped_at

pytestmark = pytest.mark.gpu
MakeJob = Callable[..., Job]
DEVICE = Group(0, 1, "cuda")
LORA: dict[str, Any] = {
    "adapter": {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.0},
    "schedule": {"peak_lr": 3e-2},
}


def losses(job: Job) -> list[float]:
    """Of each step of a finished run."""
    lines = (Path(job.out) / "log" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's compiler, of itself
@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        pytest.param({}, 1e-2, id="full-float32"),
        pytest.param({"dtype": "bfloat16"}, 5e-2, id="full-autocast"),
        pytest.param({**LORA, "dtype": "bfloat16"}, 5e-2, id="lora-bfloat16"),
        pytest.param({**LORA, "dtype": "bfloat16", "recompute": True}, 5e-2, id="lora-recomputed"),
        pytest.param({**LORA, "dtype": "bfloat16", "compile": True}, 5e-2, id="lora-compiled"),
        pytest.param({**LORA, "dtype": "bfloat16", "compile": True, "recompute": True}, 5e-2, id="lora-both"),
    ],
)
def test_a_device_has_the_curve_of_a_processor(make_job: MakeJob, changes: dict[str, Any], tolerance: float) -> None:
    """The processor's runs uncompiled in the same type; other kernels round otherwise, and steps add that up."""
    here, there = make_job("cpu", **{**changes, "compile": False}), make_job("device", **changes)
    run(here, group=ALONE)
    run(there, group=DEVICE)
    assert losses(there) == pytest.approx(losses(here), rel=tolerance)
    assert losses(there)[-1] < losses(there)[0]


def test_a_run_on_a_device_is_resumed(make_job: MakeJob) -> None:
    """Some backward kernels add in any order there, so the curve is equal but for rounding."""
    whole, stopped = (make_job(name, **LORA, dtype="bfloat16") for name in ("whole", "stopped"))
    run(whole, group=DEVICE)
    stopped_at(stopped, 10, DEVICE)
    run(stopped, group=DEVICE)
    assert losses(stopped) == pytest.approx(losses(whole), rel=1e-2)
