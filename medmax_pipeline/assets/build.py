"""Steps as assets: one asset a step, and one multi-asset for the evaluation of one model.

The body of each is the same: ask the ledger to reuse or make, then show and check what is published.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import dagster as dg

from medmax_pipeline.assets.checks import check_results, check_specs
from medmax_pipeline.assets.show import metadata_of
from medmax_pipeline.files import digest_of
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.resources.launcher import Launcher
from medmax_pipeline.resources.store import StoreResource
from medmax_pipeline.steps import Artifact, Step

KINDS: Mapping[str, set[str]] = {
    "raw": {"file"},
    "samples": {"parquet"},
    "curated": {"parquet"},
    "funnel": {"parquet"},
    "shards": {"webdataset"},
    "checkpoint": {"pytorch", "huggingface"},
    "base_model": {"pytorch", "huggingface"},
    "image_tokenizer": {"pytorch"},
    "image_codes": {"pytorch", "parquet"},
    "published_tokens": {"parquet"},
    "eval": {"parquet"},
}


def asset_key(key: str) -> dg.AssetKey:
    """`vqa_rad/samples` as Dagster's key."""
    return dg.AssetKey(key.split("/"))


def code_version(step: Step) -> str:
    """The step's declared version and a digest of its parameters: what Dagster compares to say `code changed`."""
    return f"{step.code_version}-{digest_of(dict(step.params))[:8]}"


def spec_of(step: Step) -> dg.AssetSpec:
    """What the graph shows of a step before it ran."""
    words = step.key.split("/")
    kinds = KINDS.get(words[0]) or KINDS.get(words[-1]) or {"python"}
    return dg.AssetSpec(
        asset_key(step.key),
        deps=[asset_key(need.key) for need in step.needs],
        description=step.description,
        group_name=step.group,
        code_version=code_version(step),
        kinds=kinds,
        owners=["team:medmax"],
    )


def result_of(ledger: Ledger, artifact: Artifact, made: bool) -> dg.MaterializeResult[None]:
    """What Dagster records of a published artifact: its digest, its page, its checks."""
    return dg.MaterializeResult(
        asset_key=asset_key(artifact.manifest.key),
        metadata=metadata_of(artifact, made, ledger.landing),
        data_version=dg.DataVersion(artifact.manifest.digest),
        check_results=list(check_results(ledger, artifact)),
    )


def asset_of(step: Step) -> dg.AssetsDefinition:
    """One asset that makes or reuses one step."""

    @dg.multi_asset(
        name=step.key.replace("/", "__"), specs=[spec_of(step)], check_specs=check_specs(step.key), can_subset=False
    )
    def materialise(
        context: dg.AssetExecutionContext, store: StoreResource, launcher: Launcher
    ) -> Iterator[dg.MaterializeResult[None]]:
        ledger = store.ledger()
        artifact, made = ledger.execute(step, log=context.log.info, launch=partial(launcher.run, context))
        yield result_of(ledger, artifact, made)

    return materialise


def eval_asset_of(name: str, steps: Sequence[Step]) -> dg.AssetsDefinition:
    """The evaluation of one model: any of its tasks, by one process that loads the model once."""
    by_key = {step.key: step for step in steps}

    @dg.multi_asset(
        name=f"eval__{name}",
        specs=[spec_of(step) for step in steps],
        check_specs=[spec for step in steps for spec in check_specs(step.key)],
        can_subset=True,
    )
    def evaluate(
        context: dg.AssetExecutionContext, store: StoreResource, launcher: Launcher
    ) -> Iterator[dg.MaterializeResult[None]]:
        ledger = store.ledger()
        chosen = [by_key["/".join(key.path)] for key in sorted(context.selected_asset_keys)]
        assert chosen[0].together is not None
        done = ledger.execute_together(
            chosen, chosen[0].together, log=context.log.info, launch=partial(launcher.run, context)
        )
        for artifact, made in done.values():
            yield result_of(ledger, artifact, made)

    return evaluate
