"""The two steps of each source, `<source>/raw` and `<source>/samples`, and the one of published weights.

Only the joints with the ledger are here; what is done belongs to `raw.py` and `samples.py`, imported when a step runs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from medmax_pipeline.files import DIGESTS, DigestCache, Json
from medmax_pipeline.manifest import External, Lock
from medmax_pipeline.sources.record import Source
from medmax_pipeline.steps import Need, Outcome, Run, Step

RAW_VERSION: Final = "2"
"""Raise it when the index of the same files would come out differently."""
SAMPLES_VERSION: Final = "3"
"""Raise it when the same rows and pictures would give other samples: adapters, probing, order."""


def raw_step(source: Source, corpus: bool, variant: str = "", pin: str = "") -> Step:
    """The files of a source as its publisher ships them, fetched where that is possible, verified and indexed.

    Args:
        source: the source's record, of that variant.
        corpus: whether the embedded sample corpus lays the landing folder out first; nothing is fetched then.
        variant: name of the variant, or empty.
        pin: the commit that the build's file pins, or empty.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.ingest.fetch import fetched_commit
        from medmax_pipeline.ingest.raw import index_source

        outcome = index_source(source, ctx.landing, ctx.out, DigestCache(ctx.store / DIGESTS), ctx.log)
        return replace(outcome, revision=fetched_commit(source, ctx.landing))

    def external(landing: Path, digests: DigestCache) -> tuple[External, ...]:
        from medmax_pipeline.ingest.raw import list_external

        return list_external(source, landing, digests)

    def lock(landing: Path) -> Lock | None:
        from medmax_pipeline.ingest.fetch import pin_conflict
        from medmax_pipeline.ingest.landing import find_lock

        return find_lock(source, landing) or pin_conflict(source, landing, pin)

    from medmax_pipeline.ingest.fetch import fetch_of

    return Step(
        key=f"{source.key}/raw",
        run=run,
        code_version=RAW_VERSION,
        needs=(Need("sample_corpus", source.folder),) if corpus else (),
        external=external,
        lock=lock,
        fetch=None if corpus else fetch_of(source, pin),
        params=_variant(variant),
        group=source.key,
        description=f"{source.title}: files of the landing folder with digests, and the members of its archives.",
    )


def _variant(variant: str) -> dict[str, Json]:
    """Two variants of one key are two artifacts, even where their files happen to be the same."""
    return {"variant": variant} if variant else {}


def samples_step(source: Source, variant: str = "", hold_out: float = 0.0) -> Step:
    """A source's rows as samples, its pictures opened and hashed in place.

    Args:
        source: the source's record, of that variant.
        variant: name of the variant, or empty.
        hold_out: share of the images whose rows become evaluation rows, for a source without a split.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.ingest.samples import make_samples

        return make_samples(source, ctx, SAMPLES_VERSION, hold_out)

    return Step(
        key=f"{source.key}/samples",
        run=run,
        code_version=SAMPLES_VERSION,
        needs=(Need(f"{source.key}/raw"),),
        params=_variant(variant) | ({"hold_out": hold_out} if hold_out else {}),
        group=source.key,
        description=f"{source.title}: rows adapted, pictures opened in place; split {source.split_rule}.",
    )
