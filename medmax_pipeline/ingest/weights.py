"""The step `weights/<key>`: a publisher's weights, fetched where that is possible, every file with its digest.

Like a source's raw files they stay in the landing folder; the artifact is the manifest. Making folders that our
networks load out of them belongs to `models/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medmax_pipeline.files import DigestCache
from medmax_pipeline.manifest import External, Lock
from medmax_pipeline.models.published import PublishedWeights
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Outcome, Run, Step

VERSION: Final = "1"
"""Raise it when the same files would be listed otherwise."""


def weights_step(record: PublishedWeights, pin: str = "") -> Step:
    """The files of published weights, verified.

    Args:
        record: what is expected, and from where.
        pin: the commit that the build's file pins, or empty.
    """
    from medmax_pipeline.ingest import fetch
    from medmax_pipeline.ingest.landing import find_lock, scan

    def run(ctx: Run) -> Outcome:
        found = scan(ctx.landing / record.folder, record.files).expected
        return Outcome(
            counts=Counts(taken=len(found), kept=len(found)),
            licences=(record.licence.name,),
            credentialed=False,
            revision=fetch.fetched_commit(record, ctx.landing),
            summary={"title": record.title, "files": len(found), "bytes": sum(file.bytes for file in found)},
        )

    def external(landing: Path, digests: DigestCache) -> tuple[External, ...]:
        folder = landing / record.folder
        return tuple(
            External(
                f"{record.folder}/{file.name}", digests.sha256(folder / file.name), file.bytes, record.licence.name
            )
            for file in scan(folder, record.files).expected
        )

    def lock(landing: Path) -> Lock | None:
        return find_lock(record, landing) or fetch.pin_conflict(record, landing, pin)

    return Step(
        key=f"weights/{record.key}",
        run=run,
        code_version=VERSION,
        external=external,
        lock=lock,
        fetch=fetch.fetch_of(record, pin),
        group="weights",
        description=f"{record.title}: {record.what}.",
    )
