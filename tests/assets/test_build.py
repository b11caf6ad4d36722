"""Steps as assets: what Dagster records, and what a failed check stops."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from medmax_pipeline import files
from medmax_pipeline.assets.build import asset_key, asset_of
from medmax_pipeline.assets.show import INLINE_BYTES, funnel, inline
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Counts
from medmax_pipeline.resources.launcher import Launcher
from medmax_pipeline.resources.store import StoreResource
from medmax_pipeline.steps import Need, Outcome, Run, Step


@pytest.fixture
def instance(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("MEDMAX_STORE", str(store))
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def materialise(steps: list[Step], instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [asset_of(step) for step in steps],
        resources={"store": StoreResource(), "launcher": Launcher()},
        instance=instance,
        raise_on_error=False,
    )


def writes(text: str, counts: Counts | None = None) -> Step:
    def run(run: Run) -> Outcome:
        files.write_text(run.out / "data", text)
        return Outcome(counts=counts or Counts())

    return Step("first", run, "1", params={"text": text})


def second() -> Step:
    return Step("second", lambda run: Outcome(), "1", needs=(Need("first"),))


def test_the_data_version_is_the_digest_of_the_manifest(instance: dg.DagsterInstance, store: Path) -> None:
    assert materialise([writes("a")], instance).success
    event = instance.get_latest_materialization_event(asset_key("first"))
    assert event is not None
    assert event.asset_materialization is not None
    tags = event.asset_materialization.tags or {}
    manifest = json.loads(next((store / "first").glob("*/manifest.json")).read_text())
    assert tags["dagster/data_version"] == manifest["digest"]


def test_a_second_run_makes_nothing_and_keeps_the_version(instance: dg.DagsterInstance) -> None:
    materialise([writes("a")], instance)
    materialise([writes("a")], instance)
    records = instance.fetch_materializations(asset_key("first"), limit=2).records
    made = [record.asset_materialization.metadata["made_in_this_run"].value for record in records]  # type: ignore[union-attr]
    versions = {(record.asset_materialization.tags or {})["dagster/data_version"] for record in records}  # type: ignore[union-attr]
    assert made == [False, True]
    assert len(versions) == 1


def test_a_flipped_byte_in_the_store_fails_the_check_and_stops_what_follows(
    instance: dg.DagsterInstance, store: Path
) -> None:
    materialise([writes("a"), second()], instance)
    next((store / "first").glob("*/data")).write_text("b")
    result = materialise([writes("a"), second()], instance)
    assert not result.success
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == ["digests_hold"]
    assert not result.asset_materializations_for_node("second")


def test_units_that_are_lost_fail_the_asset(instance: dg.DagsterInstance) -> None:
    result = materialise([writes("a", Counts(taken=2, kept=1))], instance)
    assert not result.success


def test_a_locked_asset_is_shown_with_its_cure_and_the_build_goes_on(instance: dg.DagsterInstance) -> None:
    locked = Step("first", lambda run: Outcome(), "1", lock=lambda landing: Lock("no files there", "fetch them"))
    result = materialise([locked, second()], instance)
    assert result.success
    shown = result.asset_materializations_for_node("second")[0].metadata
    assert shown["status"].value == "locked"
    assert "fetch them" in str(shown["locked"].value)


def test_the_funnel_names_each_reason() -> None:
    table = funnel(Counts(taken=5, kept=2, dropped={"dull": 1}, quarantined={"torn": 2}))
    assert "dropped: dull | 1" in table
    assert "quarantined: torn | 2" in table


def test_a_picture_too_big_for_the_database_is_made_smaller(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > INLINE_BYTES
    assert len(inline(tmp_path / "noise.png")) < INLINE_BYTES * 4 / 3 + 100


def rows_and_bytes(instance: dg.DagsterInstance, shards: int) -> tuple[int, int]:
    """Event rows of a run that publishes so many shards, and how long the longest of them is."""

    def run(run: Run) -> Outcome:
        for number in range(shards):
            (run.out / f"open-{number:06d}.tar").write_bytes(b"%d" % number)
        return Outcome(counts=Counts(shards, shards))

    result = materialise([Step("many", run, "1", params={"shards": shards})], instance)
    assert result.success
    events = instance.all_logs(result.run_id)
    return len(events), max(len(dg.serialize_value(event)) for event in events)


def test_event_rows_grow_with_assets_and_not_with_ten_thousand_shards(instance: dg.DagsterInstance) -> None:
    few, many = rows_and_bytes(instance, 10), rows_and_bytes(instance, 10_000)
    assert many[0] == few[0]
    assert many[1] < few[1] + 200  # longer numbers, no list of shards
