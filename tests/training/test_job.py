"""What a training process may be told, and how it refuses the rest."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import write_json
from medmax_pipeline.training.__main__ import main, read_arguments
from medmax_pipeline.training.job import Job, identity, read_job, result_parameters
from tests.training.conftest import recipe_of

MakeJob = Callable[..., Job]


def test_a_job_survives_its_file(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(adapter={"kind": "lora"})
    write_json(tmp_path / "job.json", asdict(job))
    assert read_job(tmp_path / "job.json") == job


def test_an_unknown_key_of_the_recipe_is_refused_by_name(make_job: MakeJob, tmp_path: Path) -> None:
    value = asdict(make_job())
    value["recipe"]["schedule"]["peak_rate"] = 1e-3
    write_json(tmp_path / "job.json", value)
    with pytest.raises(ConfigError, match=r"unknown key recipe\.schedule\.peak_rate .*known: .*peak_lr"):
        read_job(tmp_path / "job.json")


def test_no_threads_are_refused(make_job: MakeJob, tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", asdict(replace(make_job(), threads=0)))
    with pytest.raises(ConfigError, match="threads is 0"):
        read_job(tmp_path / "job.json")


def test_a_recipes_file_and_four_folders_are_a_job(project: Path) -> None:
    folders = [word for name in ("shards", "base", "out", "work") for word in (f"--{name}", f"/x/{name}")]
    job = read_arguments([str(project / "configs" / "recipes" / "sample.toml"), *folders])
    assert (job.recipe.name, job.shards, job.work) == ("sample", "/x/shards", "/x/work")


def test_a_recipe_without_its_folders_names_what_lacks(project: Path) -> None:
    with pytest.raises(ConfigError, match="needs --base, --out, --work too"):
        read_arguments([str(project / "configs" / "recipes" / "sample.toml"), "--shards", "x"])


def test_a_fault_of_the_user_ends_with_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "job.json")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("StoreError: ")
    assert "job.json" in told
    assert len(told.splitlines()) == 1


def test_state_belongs_to_recipe_shards_and_threads_but_not_to_how_often_it_is_saved(make_job: MakeJob) -> None:
    job = make_job()
    assert identity(job) == identity(make_job("elsewhere", schedule={"checkpoint_steps": 7}))
    others = [make_job(seed=1), make_job(loss_weighting="token"), replace(job, threads=2)]
    assert len({identity(job), *map(identity, others)}) == 4
    before = identity(job)
    index = Path(job.shards) / "index.parquet"
    index.write_bytes(index.read_bytes() + b"\0")
    assert identity(job) != before


def test_result_parameters_hold_the_recipe_without_how_often_it_is_saved() -> None:
    values = result_parameters(recipe_of(seed=3))
    assert values["seed"] == 3
    assert "checkpoint_steps" not in values["schedule"]
