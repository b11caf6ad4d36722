"""Whole tunings of a tiny tokenizer: it learns, alike each time, also when killed or spread over two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from medmax_pipeline.errors import ConfigError, WeightsError
from medmax_pipeline.files import read_json, sha256_file, write_json, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.training.group import Group
from medmax_pipeline.training.loop import TrainingDiverged
from medmax_pipeline.training.tokenizer.__main__ import main
from medmax_pipeline.training.tokenizer.job import PICTURE_SCHEMA, Job, read_job
from medmax_pipeline.training.tokenizer.loop import tune
from tests.training.tokenizer.conftest import drawn, place_pictures, run

MakeJob = Callable[..., Job]


def digests(job: Job) -> dict[str, str]:
    """sha256 of every result file but the one that tells times."""
    out = Path(job.out)
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "run.json")
    return {path.relative_to(out).as_posix(): sha256_file(path) for path in files}


def metrics(job: Job) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (Path(job.out) / "log" / "metrics.jsonl").read_text().splitlines()]


def test_pictures_never_seen_are_kept_better_after_tuning(make_job: MakeJob) -> None:
    job = make_job(epochs=15.0, adversarial_start=1000)
    card = run(job)
    assert card["psnr_gain_db"] > 3.0
    assert card["absolute_difference_after"] < 0.7 * card["absolute_difference_before"]
    assert card["ssim_after"] > card["ssim_before"]
    assert 0.0 < card["codes_changed"] <= 1.0
    assert card["pictures_held_out"] == 4
    assert card["terms"]["adversarial"] == "omitted: it begins after 1,000 steps, there were 60"
    assert card["terms"]["perceptual"].startswith("omitted")
    assert VQGAN.load(Path(job.out)).resolution == 16


def test_the_discriminator_joins_at_its_step_and_is_weighed(make_job: MakeJob) -> None:
    job = make_job()
    card = run(job)
    lines = metrics(job)
    assert [line["step"] for line in lines if line["discriminator"] is not None] == [7, 8, 9, 10, 11, 12]
    assert all(line["adaptive_weight"] > 0 for line in lines[6:])  # type: ignore[operator]
    assert card["terms"]["adversarial"] == "in use from step 7 on"


def test_the_adversarial_term_changes_what_is_learned(make_job: MakeJob) -> None:
    plain, judged = make_job("plain", adversarial_weight=0.0), make_job("judged")
    run(plain)
    run(judged)
    assert metrics(plain)[6]["pixels"] == metrics(judged)[6]["pixels"]
    assert metrics(plain)[7]["pixels"] != metrics(judged)[7]["pixels"]


def test_every_part_of_the_tokenizer_is_tuned_by_name(make_job: MakeJob, world: Path) -> None:
    job = make_job()
    run(job)
    before, after = (load_file(folder / "model.safetensors") for folder in (world / "vqgan", Path(job.out)))
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert before.keys() == after.keys()
    assert not still
    assert read_json(world / "vqgan" / "config.json") == read_json(Path(job.out) / "config.json")


KILLED = """
import os, signal, sys
from pathlib import Path
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.training.tokenizer import loop
from medmax_pipeline.training.group import Group
from medmax_pipeline.training.tokenizer.job import read_job

job, inside = read_job(Path(sys.argv[1])), loop._step
for step in map(int, sys.argv[2:]):
    def dying(job, setup, pixels, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return inside(job, setup, pixels, number)
    child = os.fork()  # one import of torch for all; nothing has been computed yet, so no thread is lost
    if child == 0:
        loop._step = dying
        with ImageReader(Path(job.landing), [Path(path) for path in job.images]) as reader:
            loop.tune(job, reader, Group(0, 1, "cpu"), print)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_killed_again_and_again_it_ends_with_the_bytes_of_an_undisturbed_run(make_job: MakeJob, tmp_path: Path) -> None:
    whole, killed = make_job("whole"), make_job("killed")
    run(whole)
    write_json(tmp_path / "job.json", asdict(killed))
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "job.json"), "2", "5", "9"], capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert not Path(killed.out).exists()
    told: list[str] = []
    run(killed, told.append)
    assert "goes on after step 8" in told
    assert digests(killed) == digests(whole)
    assert {"config.json", "model.safetensors", "card.json", "log/reconstruction.png"} <= digests(whole).keys()


def test_two_processes_learn_what_one_does(make_job: MakeJob, tmp_path: Path) -> None:
    """But for the discriminator, whose norms see half a batch each: it joins for the last two of 12 steps."""
    alone = make_job("alone", adversarial_start=10)
    both = replace(make_job("both", adversarial_start=10), processes=2)
    run(alone)
    write_json(tmp_path / "job.json", asdict(both))
    command = [sys.executable, "-m", "medmax_pipeline.training.tokenizer", str(tmp_path / "job.json")]
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    assert ended.returncode == 0, ended.stderr
    assert read_json(Path(both.out) / "log" / "run.json")["processes"] == 2
    assert json.loads(ended.stdout.splitlines()[-1])["steps"] == 12
    told = [[line["pixels"] for line in metrics(job)] for job in (alone, both)]
    assert told[0][:11] == pytest.approx(told[1][:11], rel=1e-3)
    assert all(line["discriminator"] is not None for line in metrics(both)[10:])


@pytest.mark.gpu
def test_an_accelerator_learns_what_a_cpu_does(make_job: MakeJob) -> None:
    """But for rounding, TF32 in convolutions above all."""
    told = []
    for device in ("cpu", "cuda"):
        job = replace(make_job(device), device="auto")
        with ImageReader(Path(job.landing), [Path(path) for path in job.images]) as reader:
            tune(job, reader, Group(0, 1, device), lambda line: None)
        told.append([line["pixels"] for line in metrics(job)])
    assert told[0] == pytest.approx(told[1], rel=0.05)


def test_the_state_of_another_run_is_refused(make_job: MakeJob) -> None:
    job = make_job()
    run(job)
    with pytest.raises(ConfigError, match="another run"):
        run(replace(job, tuning=replace(job.tuning, beta=0.5), out=job.out + "-again"))


def test_a_loss_that_is_no_number_ends_the_run(make_job: MakeJob) -> None:
    job = make_job(base_lr=1e6)
    with pytest.raises(TrainingDiverged, match=r"base_lr"):
        run(job)
    assert not Path(job.out).exists()


def test_a_tokenizer_without_a_decoder_is_refused(make_job: MakeJob, world: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "blind"
    folder.mkdir()
    (folder / "config.json").write_bytes((world / "vqgan" / "config.json").read_bytes())
    state = load_file(world / "vqgan" / "model.safetensors")
    save_file({name: value for name, value in state.items() if "decoder" not in name}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="without a decoder"):
        run(replace(make_job(), base=str(folder)))


def test_no_picture_at_all_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    write_table(tmp_path / "none.parquet", PICTURE_SCHEMA.empty_table())
    with pytest.raises(ConfigError, match="no picture to tune on"):
        run(replace(make_job(), pictures=str(tmp_path / "none.parquet")))


def test_the_command_says_what_to_mend(make_job: MakeJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "job.json", asdict(make_job(batch=0)) | {"processes": 4})
    assert main([str(tmp_path / "job.json")]) == 1
    assert "tuning.batch" in capsys.readouterr().err
    assert main([]) == 2


def test_a_job_survives_its_file(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job()
    write_json(tmp_path / "job.json", asdict(job))
    assert read_job(tmp_path / "job.json") == job


def test_a_batch_that_the_processes_cannot_share_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", asdict(replace(make_job(), processes=4)))
    with pytest.raises(ConfigError, match="no multiple of processes 4"):
        read_job(tmp_path / "job.json")


@pytest.fixture
def flawed(make_job: MakeJob, tmp_path: Path) -> Job:
    """A job on three pictures and a file that is none."""
    table = place_pictures(tmp_path / "landing", "drawn", [*map(drawn, range(3)), b"no picture"])
    write_table(tmp_path / "images.parquet", table)
    columns = {"image_id": sorted(table["image_id"].to_pylist()), "held_out": [False] * 4}
    write_table(tmp_path / "pictures.parquet", pa.table(columns, schema=PICTURE_SCHEMA))
    return replace(
        make_job(epochs=12.0),
        landing=str(tmp_path / "landing"),
        images=(str(tmp_path / "images.parquet"),),
        pictures=str(tmp_path / "pictures.parquet"),
    )


def test_an_unreadable_picture_is_passed_over_and_told(flawed: Job) -> None:
    assert run(flawed)["pictures_held_out"] == 0
    failures = read_json(Path(flawed.work) / "failures.json")
    assert [reason for reason, _ in failures.values()] == ["image_not_an_image"]


def test_what_earlier_and_other_processes_could_not_read_is_told_too(flawed: Job) -> None:
    write_json(Path(flawed.work) / "unreadable-1.json", {"f" * 64: ["image_missing", "another process's"]})
    run(flawed)
    failures = read_json(Path(flawed.work) / "failures.json")
    assert sorted(reason for reason, _ in failures.values()) == ["image_missing", "image_not_an_image"]
