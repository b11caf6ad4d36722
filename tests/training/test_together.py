"""Two real processes train one model: the curve is that of one, whole models side by side or one spread over both."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import write_json
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.data import check_shared
from medmax_pipeline.training.job import Job
from tests.training.conftest import World, recipe_of, sequences, shards_of
from tests.training.runs import run, stopped_at

RUN = """
import json, sys
from pathlib import Path
from medmax_pipeline.training.group import joined
from medmax_pipeline.training.job import read_job
from tests.training.runs import run, stopped_at

with joined("cpu") as group:
    for path, stop in json.loads(Path(sys.argv[1]).read_text()):
        job = read_job(Path(path))
        if stop is None:
            run(job, group=group)
        else:
            stopped_at(job, stop, group)
"""
STOP = 10
"""Steps after which some runs are stopped; the last state is that after 8."""
LORA = {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.2}
CHANGES: dict[str, dict[str, Any]] = {
    "packs": {"packs_per_step": 2},
    "documents": {},
    "lora": {"packs_per_step": 2, "adapter": LORA},
    "z": {"packs_per_step": 4, "z_loss": 1e-3, "loss_weighting": "token"},
}
"""What one process does with two packs a step, and with one; with LoRA's dropout; with two packs for each of two."""
TOGETHER = {
    "packs-ddp": ("packs", "ddp"),
    "packs-fsdp": ("packs", "fsdp"),
    "documents-ddp": ("documents", "ddp"),
    "documents-fsdp": ("documents", "fsdp"),
    "lora-ddp": ("lora", "ddp"),
    "lora-fsdp": ("lora", "fsdp"),
    "z-ddp": ("z", "ddp"),
}


@dataclass(frozen=True)
class Runs:
    """Finished runs by name, each with a folder of its own."""

    root: Path
    world: World

    def job(self, name: str, like: str, parallel: Any = "ddp") -> Job:
        """A job with the folders of that name."""
        return Job(
            recipe=recipe_of(**CHANGES[like]),
            shards=str(self.root / "shards"),
            base=str(self.world.base),
            out=str(self.root / name / "out"),
            work=str(self.root / name / "work"),
            parallel=parallel,
        )

    def losses(self, name: str) -> list[float]:
        """A loss a step."""
        lines = (self.root / name / "out" / "log" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """Of the tuned, merged model."""
        state: dict[str, torch.Tensor] = MixedModalChameleon.load(self.root / name / "out" / "model").state_dict()
        return state

    def together(self, jobs: list[tuple[Job, int | None]]) -> None:
        """Run one after another in two processes; a number says where a run stops."""
        listed = []
        for number, (job, stop) in enumerate(jobs):
            path = self.root / f"job-{len(list(self.root.glob('job-*')))}-{number}.json"
            write_json(path, asdict(job))
            listed.append((str(path), stop))
        write_json(self.root / "list.json", listed)
        script = self.root / "run.py"
        script.write_text(RUN)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        ended = subprocess.run(
            [*command, str(script), str(self.root / "list.json")],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=False,
            text=True,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every recipe alone and together, and three runs that stopped and went on in another number of processes."""
    made = Runs(tmp_path_factory.mktemp("runs"), world)
    items = sequences(world.vocabulary, 12, 1)
    shards_of(made.root / "shards", world.vocabulary, [items[start : start + 3] for start in range(0, 12, 3)])
    for name in CHANGES:
        run(made.job(name, name))
    jobs: list[tuple[Job, int | None]] = [
        (made.job(name, like, parallel), None) for name, (like, parallel) in TOGETHER.items()
    ]
    for name in ("one-then-fsdp", "one-then-ddp"):
        stopped_at(made.job(name, "documents"), STOP)
    jobs += [(made.job("one-then-fsdp", "documents", "fsdp"), None), (made.job("one-then-ddp", "documents"), None)]
    jobs += [(made.job("fsdp-then-one", "lora", "fsdp"), STOP), (made.job("fsdp-then-ddp", "lora", "fsdp"), STOP)]
    jobs += [(made.job("fsdp-then-ddp", "lora", "ddp"), None)]
    made.together(jobs)
    run(made.job("fsdp-then-one", "lora"))
    return made


@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_have_the_curve_and_the_weights_of_one(runs: Runs, name: str) -> None:
    like, _ = TOGETHER[name]
    assert runs.losses(name) == pytest.approx(runs.losses(like), rel=2e-4)
    weights = runs.weights(name)
    for key, expected in runs.weights(like).items():
        torch.testing.assert_close(weights[key], expected, rtol=2e-2, atol=5e-4)


@pytest.mark.parametrize("name", ["one-then-fsdp", "one-then-ddp", "fsdp-then-one", "fsdp-then-ddp"])
def test_another_number_of_processes_goes_on_where_the_first_stopped(runs: Runs, name: str) -> None:
    like = "documents" if name.startswith("one") else "lora"
    assert json.loads((runs.root / name / "out" / "log" / "run.json").read_text())["resumed_after"] == 8
    whole = runs.losses(like)
    assert runs.losses(name) == pytest.approx(whole, rel=2e-4)
    assert len(whole) == (24 if like == "documents" else 12)


def test_a_spread_state_lies_in_a_file_a_process_and_each_holds_its_rows(runs: Runs) -> None:
    from safetensors import safe_open

    files = sorted((runs.root / "fsdp-then-one" / "work" / "step-00000008").glob("state-*.safetensors"))
    assert [path.name for path in files] == ["state-00000.safetensors", "state-00001.safetensors"]
    firsts = []
    for path in files:
        with safe_open(path, framework="pt") as file:
            firsts.append(json.loads(file.metadata()["firsts"]))
    spread = [name for name in firsts[1] if name.startswith("exp_avg.")]
    assert spread
    assert all(firsts[0].get(name, 0) == 0 < firsts[1][name] for name in spread)


def test_one_process_more_or_less_changes_no_file_but_the_log(runs: Runs) -> None:
    names = [
        {path.relative_to(runs.root / name / "out").as_posix() for path in (runs.root / name / "out").rglob("*")}
        for name in ("lora", "lora-fsdp")
    ]
    assert names[0] == names[1]
    assert "adapter/adapter_model.safetensors" in names[0]


@pytest.mark.parametrize(("packs", "processes"), [(1, 8), (8, 1), (2, 4), (4, 2), (3, 3)])
def test_steps_are_shared_where_one_number_divides_the_other(packs: int, processes: int) -> None:
    check_shared(packs, processes)


@pytest.mark.parametrize(("packs", "processes"), [(2, 3), (3, 2), (6, 4)])
def test_steps_that_cannot_be_shared_evenly_are_refused(packs: int, processes: int) -> None:
    with pytest.raises(ConfigError, match=f"{packs} packs a step cannot be shared by {processes} processes"):
        check_shared(packs, processes)


def test_the_command_starts_its_processes_itself(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = replace(make_job(schedule={"epochs": 1}), processes=2, parallel="fsdp")
    write_json(tmp_path / "job.json", asdict(job))
    ended = subprocess.run(
        [sys.executable, "-m", "medmax_pipeline.training", str(tmp_path / "job.json"), "--device", "cpu"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "2 processes (fsdp)" in ended.stdout
    assert json.loads(ended.stdout.splitlines()[-1])["steps"] == 4
    assert (Path(job.out) / "model" / "model.safetensors").exists()
