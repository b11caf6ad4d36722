"""Jobs, the nightly schedule and the sensor: when things run. What is stale is the ledger's word."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from medmax_pipeline.assets.build import asset_key
from medmax_pipeline.graph import is_evaluation, stale_evaluations
from medmax_pipeline.resources.store import StoreResource
from medmax_pipeline.steps import Step

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NIGHTLY = "0 3 * * *"

full_rebuild = dg.define_asset_job(
    "full_rebuild",
    selection=dg.AssetSelection.all(),
    description="Everything the build names; unchanged artifacts are reused.",
)


def refresh_evals(steps: Sequence[Step]) -> "UnresolvedAssetJobDefinition":
    """The job that evaluates published checkpoints again and makes scores and report of it."""
    keys = [asset_key(step.key) for step in steps if is_evaluation(step.key)]
    return dg.define_asset_job(
        "refresh_evals",
        selection=dg.AssetSelection.assets(*keys) if keys else dg.AssetSelection.all() - dg.AssetSelection.all(),
        description="Evaluate the published checkpoints where scores are stale; trains nothing.",
    )


def nightly_eval_refresh(steps: Sequence[Step]) -> dg.ScheduleDefinition:
    """Every night at 03:00 UTC: evaluate what is stale, and nothing else."""

    @dg.schedule(
        name="nightly_eval_refresh",
        cron_schedule=NIGHTLY,
        execution_timezone="UTC",
        job_name="refresh_evals",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Evaluate the checkpoints whose scores are stale.",
    )
    def tick(context: dg.ScheduleEvaluationContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
        stale = stale_evaluations(store.ledger(), steps)
        if not stale:
            return dg.SkipReason("all scores are fresh")
        for planned in stale:
            context.log.info(f"{planned.key}: {planned.reason}")
        return dg.RunRequest(
            run_key=f"{context.scheduled_execution_time:%Y-%m-%d}",
            asset_selection=[asset_key(planned.key) for planned in stale],
            tags={"dagster/priority": "-1"},
        )

    return tick


def raw_files_changed(steps: Sequence[Step]) -> dg.SensorDefinition:
    """Looks at the landing folders and asks for a rebuild when files are new, changed or gone."""

    @dg.sensor(
        name="raw_files_changed",
        job_name="full_rebuild",
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="New or changed raw files; switch it on where landing folders fill by themselves.",
    )
    def look(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
        ledger = store.ledger()
        raw = [step for step in steps if step.key.endswith("/raw") or step.key == "sample_corpus"]
        changed = [planned for planned in ledger.plan(raw, transitive=False) if planned.action == "run"]
        if not changed:
            return dg.SkipReason("no raw file has changed")
        for planned in changed:
            context.log.info(f"{planned.key}: {planned.reason}")
        return dg.RunRequest(run_key="-".join(planned.fingerprint[:12] for planned in changed))

    return look
