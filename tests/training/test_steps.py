"""The checkpoint asset: what it refuses, what it launches, what it publishes, when it is locked."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from medmax_pipeline.config import Recipe
from medmax_pipeline.errors import ConfigError, TokenError
from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.launching.launch import launch as launch_detached
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.steps import Outcome, Run, Step
from medmax_pipeline.training.__main__ import main
from medmax_pipeline.training.job import Job
from medmax_pipeline.training.steps import checkpoint_step
from tests.launching.conftest import kill, wait_for, watch
from tests.training.conftest import World, recipe_of


def launch(arguments: Sequence[str], *, state: Path | None = None) -> None:
    """The launched process, in this one."""
    assert arguments[0] == "medmax_pipeline.training"
    assert main(arguments[1:]) == 0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty store."""
    return Ledger(tmp_path / "store", "test", tmp_path / "landing")


@pytest.fixture
def publish(world: World, make_job: Callable[..., Job], ledger: Ledger) -> Callable[..., None]:
    """Publishes what a checkpoint needs, as the steps before it do."""
    sources = {
        "shards/tiny": Path(make_job().shards),
        "base_model": world.base,
        "text_tokenizer": world.text,
        "image_tokenizer": world.root / "image",
    }

    def step(key: str, folder: Path, credentialed: bool) -> Step:
        def run(ctx: Run) -> Outcome:
            shutil.copytree(folder, ctx.out, dirs_exist_ok=True)
            return Outcome(credentialed=credentialed)

        return Step(key, run, "1", params={"credentialed": credentialed})

    def made(*, credentialed: bool = False) -> None:
        for key, folder in sources.items():
            ledger.execute(step(key, folder, credentialed and key.startswith("shards/")))

    return made


def short(**changes: bool) -> Recipe:
    """A recipe of a few steps."""
    return recipe_of(schedule={"epochs": 1.0}, mixture=changes)


def test_a_checkpoint_is_published_with_its_curve_and_made_once(publish: Callable[..., None], ledger: Ledger) -> None:
    publish()
    artifact, made = ledger.execute(checkpoint_step(short()), launch=launch)
    assert made
    files = {entry.path for entry in artifact.manifest.files}
    assert {"model/config.json", "model/model.safetensors", "recipe.json", "log/curve.png"} <= files
    assert artifact.manifest.counts.kept == 12
    assert artifact.manifest.summary["steps"] == 4
    assert not artifact.manifest.credentialed
    assert read_json(artifact.folder / "recipe.json")["schedule"]["epochs"] == 1.0
    assert ledger.execute(checkpoint_step(short()), launch=launch)[1] is False


def test_a_training_whose_orchestrator_was_killed_is_published_by_the_next_one_and_runs_once(
    publish: Callable[..., None], ledger: Ledger
) -> None:
    publish()
    lines: list[str] = []

    def killed(arguments: Sequence[str], *, state: Path | None = None) -> None:
        assert state is not None
        watcher = watch(arguments[0], state, *arguments[1:])
        assert wait_for((state / "state.json").exists)
        kill(watcher)
        raise KeyboardInterrupt  # what is left to say of an orchestrator that is gone

    def watching(arguments: Sequence[str], *, state: Path | None = None) -> None:
        assert state is not None
        launch_detached(arguments, state, Machine(), lines.append)

    with pytest.raises(KeyboardInterrupt):
        ledger.execute(checkpoint_step(short()), launch=killed)
    artifact, _ = ledger.execute(checkpoint_step(short()), launch=watching)
    assert "watching it" in lines[0] or "it is not run again" in lines[0]
    assert artifact.manifest.summary["steps"] == 4
    assert {"model/config.json", "log/curve.png"} <= {entry.path for entry in artifact.manifest.files}


def test_credentialed_shards_need_the_recipes_word(publish: Callable[..., None], ledger: Ledger) -> None:
    publish(credentialed=True)
    with pytest.raises(ConfigError, match="does not admit them"):
        ledger.execute(checkpoint_step(short()), launch=launch)
    artifact, _ = ledger.execute(checkpoint_step(short(admit_credentialed=True)), launch=launch)
    assert artifact.manifest.credentialed


def test_shards_of_another_vocabulary_are_refused(
    publish: Callable[..., None], ledger: Ledger, make_job: Callable[..., Job]
) -> None:
    path = Path(make_job().shards) / "vocabulary.json"
    write_json(path, {**read_json(path), "text_tokenizer": "f" * 64})
    publish()
    with pytest.raises(TokenError, match="their ids mean different things"):
        ledger.execute(checkpoint_step(short()), launch=launch)


def test_shards_for_another_image_tokenizer_are_refused(
    publish: Callable[..., None], ledger: Ledger, make_job: Callable[..., Job]
) -> None:
    path = Path(make_job().shards) / "vocabulary.json"
    write_json(path, {**read_json(path), "image_tokenizer": "e" * 64})
    publish()
    with pytest.raises(TokenError, match="image_tokenizer is eeeeeeeeeeee there and"):
        ledger.execute(checkpoint_step(short()), launch=launch)


def test_locked_shards_lock_the_checkpoint(publish: Callable[..., None], ledger: Ledger) -> None:
    publish()
    locked = Step("shards/tiny", lambda ctx: Outcome(), "1", lock=lambda landing: Lock("pmc_oa is away", "fetch it"))
    ledger.execute(locked)
    artifact, _ = ledger.execute(checkpoint_step(short()), launch=launch)
    assert artifact.locked
    assert artifact.manifest.lock == Lock("shards/tiny is locked: pmc_oa is away", "fetch it")
    assert artifact.manifest.files == ()


def test_saving_more_often_makes_nothing_anew(publish: Callable[..., None], ledger: Ledger) -> None:
    publish()
    often = recipe_of(schedule={"epochs": 1.0, "checkpoint_steps": 1})
    assert checkpoint_step(often).params == checkpoint_step(short()).params
