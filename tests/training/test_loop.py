"""Whole runs of a tiny model: learning, killing and resuming, adapters, what is left behind."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import digest_of, sha256_file, write_json
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.steps import Outcome, Run, Step
from medmax_pipeline.training.__main__ import main
from medmax_pipeline.training.adapt import adapted
from medmax_pipeline.training.job import Job, identity
from medmax_pipeline.training.loop import TrainingDiverged
from tests.training.conftest import World, recipe_of, sequences, shards_of
from tests.training.runs import run, stopped_at

MakeJob = Callable[..., Job]


def curve(job: Job) -> list[dict[str, float]]:
    """The metrics of a run, once it is finished."""
    run(job)
    return [json.loads(line) for line in (Path(job.out) / "log" / "metrics.jsonl").read_text().splitlines()]


SPEEDS = ("tokens_per_s", "mfu", "memory_gib")


def losses(job: Job) -> list[dict[str, Any]]:
    """The records of a run, but for what depends on the machine's mood."""
    lines = (Path(job.out) / "log" / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in SPEEDS} for line in lines]


def digests(job: Job) -> dict[str, str]:
    """sha256 of every result file but the ones that tell times, and of the losses."""
    out = Path(job.out)
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and "log" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): sha256_file(path) for path in files} | {"losses": digest_of(losses(job))}


def test_eight_interleaved_samples_are_learnt_by_heart_in_both_modalities(
    world: World, make_job: MakeJob, tmp_path: Path
) -> None:
    items = sequences(world.vocabulary, 8, 3)
    shards = shards_of(tmp_path / "eight", world.vocabulary, [items])
    job = replace(make_job(schedule={"epochs": 150, "peak_lr": 1e-2, "checkpoint_steps": 1000}), shards=str(shards))
    metrics = curve(job)
    assert metrics[0]["text_loss"] > 3
    assert metrics[0]["image_loss"] > 2.5
    # words after a shared prefix may be chance; these samples' prompts differ, so nothing stays open
    assert metrics[-1]["text_loss"] < 0.1
    assert metrics[-1]["image_loss"] < 0.1


def test_the_same_job_gives_the_same_bytes(make_job: MakeJob) -> None:
    first, second = make_job("first"), make_job("second")
    run(first)
    run(second)
    assert digests(first) == digests(second)
    assert {"model/model.safetensors", "model/tokenizer.json", "recipe.json"} <= digests(first).keys()


def test_a_job_on_an_address_gives_the_bytes_of_a_job_on_the_folder(make_job: MakeJob, tmp_path: Path) -> None:
    local, far = make_job("local"), make_job("far")
    folder = Path(local.shards)

    def copy(ctx: Run) -> Outcome:
        for path in folder.iterdir():
            (ctx.out / path.name).write_bytes(path.read_bytes())
        return Outcome()

    ledger = Ledger(tmp_path / "store", "test", tmp_path / "landing")
    published, _ = ledger.execute(
        Step("shards/tiny", copy, "1"), log=lambda line: None, launch=lambda arguments, *, state=None: None
    )
    files = fsspec.filesystem("memory")
    files.put(f"{published.folder}/", "/far/", recursive=True)
    far = replace(far, shards="memory://far")
    write_json(tmp_path / "far.json", asdict(far))
    try:
        assert identity(far) == identity(local)
        assert main([str(tmp_path / "far.json")]) == 0
    finally:
        files.rm("/far", recursive=True)
    run(local)
    assert digests(far) == digests(local)


KILLS = 10
KILLED = """
import os, signal, sys
from pathlib import Path
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.training import loop
from medmax_pipeline.training.job import read_job

job, inside = read_job(Path(sys.argv[1])), loop._step
for step in map(int, sys.argv[2:]):
    def dying(setup, data, metrics, number, steps):
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return inside(setup, data, metrics, number, steps)
    child = os.fork()  # one import of torch for all; nothing has been computed yet, so no thread is lost
    if child == 0:
        loop._step = dying
        loop.train(job, PackReader(Path(job.shards)), print)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_killed_ten_times_it_ends_with_the_bytes_of_an_undisturbed_run(make_job: MakeJob, tmp_path: Path) -> None:
    at = sorted(random.Random(6).sample(range(2, 24), KILLS))
    lora = {"adapter": {"kind": "lora", "rank": 4, "alpha": 4, "dropout": 0.2}}  # dropout draws from the generator
    whole, killed = make_job("whole", **lora), make_job("killed", **lora)
    run(whole)
    path = tmp_path / "job.json"
    write_json(path, asdict(killed))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), *map(str, at)], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert not Path(killed.out).exists()
    told: list[str] = []
    run(killed, told.append)
    assert f"goes on after step {at[-1] // 4 * 4} of 24" in told
    assert digests(killed) == digests(whole)


def test_masters_of_half_precision_weights_are_resumed_too(make_job: MakeJob) -> None:
    half = {"dtype": "bfloat16", "adapter": {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.1}}
    whole, stopped = make_job("whole", **half), make_job("stopped", **half)
    run(whole)
    stopped_at(stopped, 10)
    run(stopped)
    assert digests(stopped) == digests(whole)


def test_a_damaged_newest_state_is_passed_over_for_the_one_before(make_job: MakeJob) -> None:
    whole, torn = make_job("whole"), make_job("torn")
    run(whole)
    run(torn)
    states = sorted(Path(torn.work).glob("step-*"))
    assert [folder.name for folder in states] == ["step-00000016", "step-00000020"]
    damaged = states[-1] / "state-00000.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    again = replace(torn, out=torn.out + "-again")
    told: list[str] = []
    run(again, told.append)
    assert told[:2] == ["step-00000020 is damaged and is passed over", "goes on after step 16 of 24"]
    assert digests(again) == digests(whole)


def test_recomputing_activations_changes_the_memory_and_not_the_losses(make_job: MakeJob) -> None:
    plain, thrifty = make_job("plain"), make_job("thrifty", recompute=True)
    first, second = ([record["loss"] for record in curve(job)] for job in (plain, thrifty))
    assert first == pytest.approx(second, rel=1e-4)


def test_another_runs_state_is_refused(make_job: MakeJob) -> None:
    job = make_job()
    run(job)
    with pytest.raises(ConfigError, match="state of another run"):
        run(replace(make_job(seed=1), out=job.out + "-other"))


def test_a_folder_that_holds_a_model_is_refused_before_the_first_step(make_job: MakeJob) -> None:
    job = make_job()
    (Path(job.out) / "model").mkdir(parents=True)
    told: list[str] = []
    with pytest.raises(ConfigError, match="holds a model/ already"):
        run(job, told.append)
    assert not told


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_no_model(make_job: MakeJob) -> None:
    job = make_job(schedule={"peak_lr": 1e30, "clip_norm": 1e30})
    with pytest.raises(TrainingDiverged, match=r"step \d+ of 24: loss .*finite numbers expected"):
        run(job)
    assert not (Path(job.out) / "model").exists()


def test_full_tuning_moves_the_transformer_and_leaves_the_image_tokenizer(world: World, make_job: MakeJob) -> None:
    job = make_job()
    run(job)
    before = MixedModalChameleon.load(world.base).state_dict()
    after = MixedModalChameleon.load(Path(job.out) / "model").state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith("model.vqmodel.")}


def test_results_hold_no_path_of_this_machine(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(adapter={"kind": "lora"})
    run(job)
    for path in Path(job.out).rglob("*"):
        assert path.is_dir() or str(tmp_path.parent).encode() not in path.read_bytes(), path.name


def test_lora_on_the_7b_learns_the_papers_number_of_parameters() -> None:
    from transformers import ChameleonConfig

    config = ChameleonConfig(vocab_size=65536, vocabulary_map={"<image>": 8711, "IMGIMGAZ": 4})
    with torch.device("meta"):
        model = MixedModalChameleon(config)
        adapted(model, recipe_of(adapter={"kind": "lora"}).adapter)
    learned = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert learned == 32 * (4 * 16 * (4096 + 4096) + 3 * 16 * (4096 + 11008)) == 39_976_960


def test_the_command_prints_its_log_and_ends_with_a_report(make_job: MakeJob, tmp_path: Path, project: Path) -> None:
    job = make_job()
    write_json(tmp_path / "job.json", asdict(job))
    ended = subprocess.run(
        [sys.executable, "-m", "medmax_pipeline.training", str(tmp_path / "job.json")],
        capture_output=True, text=True, check=False, cwd=project, env={**os.environ, "MEDMAX_STORE": "nowhere"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert any(line.startswith("step 20  loss ") and "tokens/s" in line and line.endswith(" left") for line in lines)
    report = json.loads(lines[-1])
    assert report["steps"] == 24
    assert report["text_loss"] > 0
    assert report["image_loss"] > 0
