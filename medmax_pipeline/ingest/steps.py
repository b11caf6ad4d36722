"""The two steps of each source: `<source>/raw` and `<source>/samples`.

Only the joints with the ledger are here; what is done belongs to `raw.py` and `samples.py`, imported when a step runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medmax_pipeline.files import DigestCache
from medmax_pipeline.manifest import External, Lock
from medmax_pipeline.sources.record import Source
from medmax_pipeline.steps import Need, Outcome, Run, Step

RAW_VERSION: Final = "1"
"""Raise it when the index of the same files would come out differently."""
SAMPLES_VERSION: Final = "1"
"""Raise it when the same rows and pictures would give other samples: adapters, probing, order."""


def raw_step(source: Source, corpus: bool) -> Step:
    """The files of a source as its publisher ships them, verified and indexed.

    Args:
        source: the source's record.
        corpus: whether the embedded sample corpus lays the landing folder out first.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.ingest.raw import index_source

        return index_source(source, ctx.landing, ctx.out, ctx.log)

    def external(landing: Path, digests: DigestCache) -> tuple[External, ...]:
        from medmax_pipeline.ingest.raw import list_external

        return list_external(source, landing, digests)

    def lock(landing: Path) -> Lock | None:
        from medmax_pipeline.ingest.landing import find_lock

        return find_lock(source, landing)

    return Step(
        key=f"{source.key}/raw",
        run=run,
        code_version=RAW_VERSION,
        needs=(Need("sample_corpus", source.key),) if corpus else (),
        external=external,
        lock=lock,
        group=source.key,
        description=f"{source.title}: files of the landing folder with digests, and the members of its archives.",
    )


def samples_step(source: Source) -> Step:
    """A source's rows as samples, its pictures opened and hashed in place.

    Args:
        source: the source's record.
    """
    raw = f"{source.key}/raw"

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.ingest.samples import make_samples

        return make_samples(source, ctx.landing, ctx.inputs[raw], ctx.out, ctx.work, ctx.log)

    return Step(
        key=f"{source.key}/samples",
        run=run,
        code_version=SAMPLES_VERSION,
        needs=(Need(raw),),
        group=source.key,
        description=f"{source.title}: rows adapted, pictures opened in place; split {source.split_rule}.",
    )
