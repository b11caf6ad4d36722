"""What is told while a run goes on: metrics.jsonl, TensorBoard, the heartbeat, named ends."""

import errno
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from medmax_pipeline.errors import ConfigError, DiskFull, WeightsError
from medmax_pipeline.files import write_json
from medmax_pipeline.training import loop
from medmax_pipeline.training.__main__ import read_arguments, reason_of
from medmax_pipeline.training.job import Job
from medmax_pipeline.training.loop import TrainingDiverged
from medmax_pipeline.training.metrics import HEARTBEAT, LIVE, TENSORBOARD, shown
from tests.conftest import absent
from tests.training.runs import run, stopped_at

MakeJob = Callable[..., Job]


def test_records_can_be_read_while_the_run_goes_on(make_job: MakeJob) -> None:
    job = replace(make_job(), log_steps=5)
    told = stopped_at(job, 17)
    records = [json.loads(line) for line in (Path(job.work) / LIVE).read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 16))
    assert {"loss", "text_loss", "image_loss", "lr", "grad_norm", "tokens", "tokens_per_s", "mfu", "memory_gib"} <= set(
        records[0]
    )
    assert records[0]["tokens_per_s"] > 0
    assert records[0]["memory_gib"] > 0.05
    assert records[0]["mfu"] is None, "what a CPU can do at most is in no data sheet that was read"
    assert told[1].startswith("step 5  loss ")


def test_a_resumed_run_leaves_one_record_and_one_scalar_a_step(make_job: MakeJob) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = make_job()
    stopped_at(job, 15)
    run(job)
    board = EventAccumulator(str(Path(job.out) / "log" / TENSORBOARD))
    board.Reload()
    losses = {event.step: event.value for event in board.Scalars("train/loss")}
    lines = (Path(job.out) / "log" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == list(range(1, 25))
    assert sorted(losses) == list(range(1, 25))
    assert [losses[record["step"]] for record in records] == pytest.approx([record["loss"] for record in records])
    assert {"train/text_loss", "train/image_loss", "train/lr", "train/tokens_per_s"} <= set(board.Tags()["scalars"])
    assert len(list((Path(job.out) / "log" / TENSORBOARD).iterdir())) == 2


def test_no_name_of_the_machine_is_in_the_results(make_job: MakeJob) -> None:
    job = make_job(schedule={"epochs": 1})
    run(job)
    names = [path.name for path in Path(job.out).rglob("*")]
    assert "events.out.tfevents.00000" in names
    assert not [name for name in names if os.uname().nodename in name]


def test_the_heartbeat_is_touched_at_every_step(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = tmp_path / "heartbeat"
    monkeypatch.setenv(HEARTBEAT, str(beat))
    beaten: list[float] = []
    inside = loop._step

    def watching(*given: object) -> None:
        beat.unlink(missing_ok=True)
        inside(*given)  # type: ignore[arg-type]
        beaten.append(beat.stat().st_mtime)

    monkeypatch.setattr(loop, "_step", watching)
    run(make_job(schedule={"epochs": 1}))
    assert len(beaten) == 4


def test_a_tracker_that_is_not_installed_is_refused_before_the_first_step(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    job = replace(make_job(), trackers=("wandb",))
    with pytest.raises(ConfigError, match="trackers names wandb, which is not installed"):
        run(job)


@pytest.mark.parametrize("package", ["trackio", "wandb"])
def test_a_tracker_is_told_every_step(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    if importlib.util.find_spec(package) is None:
        absent(package, f"{package} is not installed; it is an extra of its own")
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": tmp_path, "TRACKIO_DIR": tmp_path / "trackio"}.items():
        monkeypatch.setenv(name, str(value))
    write_json(tmp_path / "job.json", asdict(make_job(schedule={"epochs": 1})))
    arguments = [sys.executable, "-m", "medmax_pipeline.training", str(tmp_path / "job.json"), "--tracker", package]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    kept = "wandb/offline-run-*/*.wandb" if package == "wandb" else "trackio/medmax_pipeline.db"
    (file,) = tmp_path.glob(kept)
    assert b"grad_norm" in file.read_bytes()


def test_a_line_says_how_much_of_the_device_is_used() -> None:
    record = {"step": 10, "loss": 2.0, "text_loss": None, "image_loss": 2.0, "text_targets": 0, "image_targets": 4}
    record |= {"lr": 1e-4, "tokens": 8000, "tokens_per_s": 16_000.0, "mfu": 0.434, "memory_gib": 101.25}
    line = shown([json.dumps(record)], 61.0)
    assert line == (
        "step 10  loss 2.0000  image loss 2.0000  lr 1.00e-04  16,000 tokens/s  MFU 43.4%  101.2 GiB  1:01 left"
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingDiverged("loss nan"), "diverged"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (DiskFull("no space left"), "disk_full"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.ENOENT, "No such file"), "failed"),
        (WeightsError("no safetensors"), "failed"),
        (ValueError("a bug"), "failed"),
    ],
)
def test_every_end_has_a_name(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_memory_that_the_processor_does_not_give_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert reason_of(caught.value) == "out_of_memory"


def command(job: Job, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The training command on a job."""
    write_json(tmp_path / "job.json", asdict(job))
    arguments = [sys.executable, "-m", "medmax_pipeline.training", str(tmp_path / "job.json"), *words]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_a_run_that_diverges_ends_with_its_reason_as_the_last_line(make_job: MakeJob, tmp_path: Path) -> None:
    ended = command(make_job(schedule={"peak_lr": 1e30, "clip_norm": 1e30}), tmp_path)
    assert ended.returncode == 1
    last = json.loads(ended.stdout.splitlines()[-1])
    assert last["failed"] == "diverged"
    assert last["message"].startswith("TrainingDiverged: step ")
    assert "Traceback" not in ended.stderr, "a fault that a user can mend shows no stack"


def test_a_full_disk_ends_with_its_reason_and_leaves_no_result(make_job: MakeJob, tmp_path: Path) -> None:
    """A state of some 0.5 MB against files of at most 100 kB."""
    job = make_job()
    write_json(tmp_path / "job.json", asdict(job))
    limited = (
        "import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from medmax_pipeline.training.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", limited, str(tmp_path / "job.json")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert json.loads(ended.stdout.splitlines()[-1])["failed"] == "disk_full", ended.stderr
    assert not (Path(job.out) / "model").exists()


def test_the_command_line_changes_what_belongs_to_the_machine(make_job: MakeJob, tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", asdict(make_job()))
    words = ["--processes", "4", "--parallel", "fsdp", "--device", "cpu", "--tracker", "wandb", "--tracker", "trackio"]
    job = read_arguments([str(tmp_path / "job.json"), *words])
    assert (job.processes, job.parallel, job.device, job.trackers) == (4, "fsdp", "cpu", ("wandb", "trackio"))
