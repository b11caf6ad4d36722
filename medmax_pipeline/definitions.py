"""The one place where graph, jobs, schedules, sensors and resources are assembled. Loads neither torch nor data.

The build comes from MEDMAX_CONFIG (default: `configs/sample.toml`), paths from MEDMAX_STORE and MEDMAX_LANDING.
"""

import dagster as dg

from medmax_pipeline import config, graph
from medmax_pipeline.assets import jobs
from medmax_pipeline.assets.build import asset_of, eval_asset_of
from medmax_pipeline.resources.launcher import Launcher
from medmax_pipeline.resources.store import StoreResource


def definitions(settings: config.Settings) -> dg.Definitions:
    """Everything Dagster knows of one build."""
    steps = graph.steps(settings)
    evaluations = graph.eval_steps(settings.build)
    grouped = {step.key for model in evaluations.values() for step in model}
    assets = [asset_of(step) for step in steps if step.key not in grouped]
    assets += [eval_asset_of(name, model) for name, model in evaluations.items() if model]
    return dg.Definitions(
        assets=assets,
        jobs=[jobs.full_rebuild, jobs.refresh_evals(steps)],
        schedules=[jobs.nightly_eval_refresh(steps)],
        sensors=[jobs.raw_files_changed(steps)],
        resources={"store": StoreResource(), "launcher": Launcher()},
        executor=executor(settings.build.executor),
    )


def executor(kind: str) -> dg.ExecutorDefinition:
    """`in_process` starts at once; `multiprocess` gives each step a process of its own, forked from a warm one."""
    if kind == "in_process":
        return dg.in_process_executor
    preload = {"start_method": {"forkserver": {"preload_modules": ["medmax_pipeline.definitions"]}}}
    return dg.multiprocess_executor.configured(preload)


defs = definitions(config.load())
