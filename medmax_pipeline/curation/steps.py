"""The steps of curation: `duplicates` and `leakage` across all sources, `<source>/curated` for each.

Only the joints with the ledger are here; what is done is imported when a step runs. The two cross-source steps publish
one part a source and do not lock when a source does; `<source>/curated` depends on its own part alone, so that a change
of one source leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from medmax_pipeline.config import Curation
from medmax_pipeline.curation import DECISIONS
from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.withdrawal import PARAMETER, parameters

DUPLICATES_VERSION: Final = "1"
"""Raise it when the same samples would be judged otherwise."""
LEAKAGE_VERSION: Final = "1"
"""Raise it when the same pictures would be judged otherwise."""
CURATED_VERSION: Final = "1"
"""Raise it when the same verdicts would give other samples: order of decisions, instruction forms."""


def _across(
    key: str, sources: Sequence[str], mode: str, version: str, run: Callable[[Run], Outcome], what: str
) -> Step:
    """A step that looks at the samples of all sources; switched off, it needs none and finds nothing."""
    needs = tuple(Need(f"{source}/samples") for source in sources) if mode != "off" else ()
    return Step(
        key=key,
        run=run,
        code_version=version,
        needs=needs,
        params={"mode": mode, "sources": list(sources)},
        locks_on=(),
        group="curation",
        description=what,
    )


def duplicates_step(sources: Sequence[str], mode: str) -> Step:
    """Training samples that say what another one says.

    Args:
        sources: keys of the build's sources; the earlier one keeps its sample.
        mode: `exact` or `off`.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation.across import make_duplicates

        return make_duplicates(ctx, sources, mode)

    what = "Training samples with the same pictures and text as another one, within and across sources."
    return _across("duplicates", sources, mode, DUPLICATES_VERSION, run, what)


def leakage_step(sources: Sequence[str], mode: str) -> Step:
    """Training samples that show an evaluation picture.

    Args:
        sources: keys of the build's sources.
        mode: `exact` or `off`.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation.across import make_leakage

        return make_leakage(ctx, sources, mode)

    what = (
        "Training samples whose picture equals an evaluation picture of any source, by bytes or by pixels; planted "
        "copies must be found. Not seen: crops, rescalings, lossy re-compressions."
    )
    return _across("leakage", sources, mode, LEAKAGE_VERSION, run, what)


def curated_step(source: str, curation: Curation) -> Step:
    """The training samples of one source that survive, in their instruction form.

    Args:
        source: the source's key.
        curation: which decisions are taken, and the shares of the forms.
    """
    needs = [Need(f"{source}/samples")]
    if curation.leakage != "off":
        needs.append(Need("leakage", source))
    if curation.duplicates != "off":
        needs.append(Need("duplicates", source))

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation import curated

        verdicts: dict[str, curated.Verdict] = {}
        for decision in DECISIONS:
            if decision == PARAMETER:
                verdicts |= curated.read_withdrawn(ctx.inputs[f"{source}/samples"].folder, ctx.params)
            elif decision in ctx.inputs:
                found = curated.READERS[decision](ctx.inputs[decision].folder / f"{source}.parquet")
                verdicts = found | verdicts  # the earlier decision's reason stands
        return curated.curate(ctx.inputs[f"{source}/samples"].folder, verdicts, curation, ctx.out)

    return Step(
        key=f"{source}/curated",
        run=run,
        code_version=CURATED_VERSION,
        needs=tuple(needs),
        params={
            "leakage": curation.leakage,
            "duplicates": curation.duplicates,
            "generation_share": curation.generation_share,
            "radiograph_share": curation.radiograph_share,
        },
        withdrawn=lambda store, inputs: parameters(store, [inputs[f"{source}/samples"]], "train"),
        group=source,
        description="Training samples that survive, in the form in which they teach, and the funnel of the others.",
    )
