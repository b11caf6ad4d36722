"""Jobs, the nightly tick and the sensor, without a daemon."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from medmax_pipeline import files
from medmax_pipeline.assets import jobs
from medmax_pipeline.assets.build import asset_of
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import External
from medmax_pipeline.resources.launcher import Launcher
from medmax_pipeline.resources.store import StoreResource
from medmax_pipeline.steps import Need, Outcome, Run, Step


def raw_files(landing: Path, cache: files.DigestCache) -> tuple[External, ...]:
    return tuple(External(p.name, cache.sha256(p), p.stat().st_size) for p in sorted(landing.glob("*.txt")))


def writes(name: str) -> Callable[[Run], Outcome]:
    def run(run: Run) -> Outcome:
        files.write_text(run.out / "data", name)
        return Outcome()

    return run


STEPS = (
    Step("x/raw", writes("raw"), "1", external=raw_files),
    Step("checkpoint/a", writes("a"), "1", needs=(Need("x/raw"),)),
    Step("checkpoint/b", writes("b"), "1"),
    Step("eval/a/t", writes("ea"), "1", needs=(Need("checkpoint/a"),)),
    Step("eval/b/t", writes("eb"), "1", needs=(Need("checkpoint/b"),)),
    Step("scores/a", writes("sa"), "1", needs=(Need("eval/a/t"),)),
)


class Night:
    """A store with a line of two checkpoints, and the tick that looks at it."""

    def __init__(self, store: Path) -> None:
        self.landing = store.parent / "landing"
        self.landing.mkdir()
        (self.landing / "raw.txt").write_text("1")
        self.ledger = Ledger(store, "sample", self.landing)

    def publish(self, steps: tuple[Step, ...] = STEPS) -> None:
        for step in steps:
            self.ledger.execute(step)

    def tick(self, steps: tuple[Step, ...] = STEPS) -> dg.RunRequest | dg.SkipReason:
        definitions = dg.Definitions(
            assets=[asset_of(step) for step in steps],
            resources={"store": StoreResource(), "launcher": Launcher()},
        )
        schedule = jobs.nightly_eval_refresh(steps)
        context = dg.build_schedule_context(
            repository_def=definitions.get_repository_def(),
            scheduled_execution_time=datetime(2026, 11, 23, 3, tzinfo=UTC),
            resources={"store": StoreResource()},
        )
        return schedule(context)  # type: ignore[return-value]

    def chosen(self, steps: tuple[Step, ...] = STEPS) -> list[str]:
        request = self.tick(steps)
        assert isinstance(request, dg.RunRequest), request
        return sorted("/".join(key.path) for key in request.asset_selection or ())


@pytest.fixture
def night(store: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    monkeypatch.setenv("MEDMAX_STORE", str(store))
    made = Night(store)
    monkeypatch.setenv("MEDMAX_LANDING", str(made.landing))
    return made


def test_a_night_with_fresh_scores_launches_nothing(night: Night) -> None:
    night.publish()
    assert isinstance(night.tick(), dg.SkipReason)


def test_a_model_that_was_never_published_is_not_evaluated(night: Night) -> None:
    night.publish(STEPS[2:3])
    assert night.chosen() == ["eval/b/t"]


def test_a_changed_benchmark_refreshes_its_row_and_what_stands_on_it(night: Night) -> None:
    night.publish()
    changed = tuple(replace(step, code_version="2") if step.key == "eval/a/t" else step for step in STEPS)
    assert night.chosen(changed) == ["eval/a/t", "scores/a"]


def test_a_stale_checkpoint_that_was_not_retrained_keeps_its_scores(night: Night) -> None:
    night.publish()
    (night.landing / "raw.txt").write_text("2")
    assert isinstance(night.tick(), dg.SkipReason)


def test_a_retrained_checkpoint_is_evaluated_again(night: Night) -> None:
    night.publish()
    retrained = replace(STEPS[1], code_version="2", run=writes("other weights"))
    night.ledger.execute(retrained)
    assert night.chosen((STEPS[0], retrained, *STEPS[2:])) == ["eval/a/t", "scores/a"]


def test_two_ticks_of_one_night_ask_for_the_same_run(night: Night) -> None:
    night.publish(STEPS[2:3])
    first, second = night.tick(), night.tick()
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key == "2026-11-23"


def test_the_schedule_runs_without_being_switched_on() -> None:
    schedule = jobs.nightly_eval_refresh(STEPS)
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "0 3 * * *"


def test_the_sensor_sees_a_changed_raw_file(night: Night) -> None:
    night.publish()
    sensor = jobs.raw_files_changed(STEPS)
    assert isinstance(sensor(dg.build_sensor_context(resources={"store": StoreResource()})), dg.SkipReason)
    (night.landing / "raw.txt").write_text("2")
    request = sensor(dg.build_sensor_context(resources={"store": StoreResource()}))
    assert isinstance(request, dg.RunRequest)
