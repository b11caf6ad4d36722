"""The asset checks: each a question whose answer blocks what stands on the asset.

A check reads the published artifact again, so that it says what lies on disk and not what the step believed. The
questions themselves are answered by the library rooms, imported when they are asked; here they get names.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from medmax_pipeline.ledger import Ledger
from medmax_pipeline.lineage import verify_folder
from medmax_pipeline.steps import Artifact

Question = Callable[[Ledger, Artifact], Sequence[str]]
"""Gives the faults of an artifact, none where all is well."""


@dataclass(frozen=True)
class Check:
    """A named question; `faults` gives nothing where all is well."""

    name: str
    description: str
    faults: Question
    applies: Callable[[str], bool] = lambda key: True


def _unbalanced(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    from medmax_pipeline.arrow import count_left

    counts = artifact.manifest.counts
    faults = [] if counts.balanced else [f"{counts.taken} in, but {counts} out"]
    for name, told in (("drops", counts.dropped), ("quarantine", counts.quarantined)):
        path = artifact.folder / f"{name}.parquet"
        if path.exists() and (found := count_left(path)) != dict(told):
            faults.append(f"{path.name} holds {found}, the manifest counts {dict(told)}")
    return faults


def _changed(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    return [f"{fault.path} {fault.problem}" for fault in verify_folder(artifact.folder, artifact.manifest)]


def _leaks(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    from medmax_pipeline.curation.checks import evaluation_pictures_left

    source = artifact.manifest.key.removesuffix("/curated")
    if artifact.manifest.params.get("leakage") == "off":  # the build says so by name, and the manifest keeps it
        return ()
    needed = ledger.need("leakage").manifest.inputs
    found = {entry.key.removesuffix("/samples"): ledger.need(entry.key) for entry in needed}
    folders = {name: samples.folder for name, samples in found.items() if not samples.locked}
    samples = ledger.need(f"{source}/samples").folder  # of a source, or of the interleaved set
    return evaluation_pictures_left(artifact.folder, samples, folders)


def _bad_ids(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    from medmax_pipeline.shards.checks import check_shards
    from medmax_pipeline.tokens.vocabulary import vocabulary_of

    text, image = ledger.need("text_tokenizer").folder, ledger.need("image_tokenizer").folder
    return check_shards(artifact.folder, vocabulary_of(text, image))


def _missed(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    from medmax_pipeline.curation.checks import planted_missed

    return planted_missed(artifact.manifest.summary)


def _charts_left(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    from medmax_pipeline.curation.planted_charts import charts_missed
    from medmax_pipeline.sources import SOURCES

    corpus, params = ledger.current("sample_corpus"), artifact.manifest.params
    if corpus is None or params["mode"] == "off":
        return ()
    sources, threshold = params["sources"], float(str(params["threshold"]))
    assert isinstance(sources, list)
    parts = [corpus.folder / f"{folder}.parquet" for folder in sorted({SOURCES[str(key)].folder for key in sources})]
    return [fault for part in parts for fault in charts_missed(artifact.folder, part, threshold)]


def _not_finite(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    from medmax_pipeline.training.checks import loss_faults

    return loss_faults(artifact.folder)


def _unrecorded(ledger: Ledger, artifact: Artifact) -> Sequence[str]:
    from medmax_pipeline.eval.records import record_faults

    return record_faults(artifact.folder, artifact.manifest)


CHECKS = (
    Check(
        "rows_add_up",
        "in = kept + dropped + quarantined, and what was left out is listed, each with its reason.",
        _unbalanced,
    ),
    Check("digests_hold", "Every file has the bytes its manifest names, and no file is there unnamed.", _changed),
    Check(
        "no_evaluation_picture",
        "No picture of an evaluation set, by bytes or by pixels, is left in the training samples.",
        _leaks,
        lambda key: key.endswith("/curated"),
    ),
    Check(
        "planted_leaks_found",
        "Copies of evaluation pictures planted among the training pictures were all found.",
        _missed,
        lambda key: key == "leakage",
    ),
    Check(
        "planted_charts_found",
        "Charts planted in the sample corpus were found, and next to no real picture was taken for one.",
        _charts_left,
        lambda key: key == "figures",
    ),
    Check(
        "ids_in_range",
        "Ids lie in the vocabulary, pictures are whole, losses lie on replies, counts are the mixture's.",
        _bad_ids,
        lambda key: key.startswith("shards/"),
    ),
    Check(
        "loss_finite",
        "Every step's loss, of text and of pictures, is a finite number.",
        _not_finite,
        lambda key: key.startswith("checkpoint/"),
    ),
    Check(
        "scores_have_records",
        "Every item of the task has exactly one record.",
        _unrecorded,
        lambda key: key.startswith("eval/"),
    ),
)


def checks_of(key: str) -> list[Check]:
    """The checks that an asset key has."""
    return [check for check in CHECKS if check.applies(key)]


def check_specs(key: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset as Dagster declares them: all of them block."""
    asset = dg.AssetKey(key.split("/"))
    return [
        dg.AssetCheckSpec(check.name, asset=asset, description=check.description, blocking=True)
        for check in checks_of(key)
    ]


def check_results(ledger: Ledger, artifact: Artifact) -> Iterator[dg.AssetCheckResult]:
    """Ask every question about a published artifact. A locked one holds nothing, and passes saying so."""
    key = artifact.manifest.key
    for check in checks_of(key):
        locked = artifact.locked and check.name not in ("rows_add_up", "digests_hold")
        faults = () if locked else check.faults(ledger, artifact)
        yield dg.AssetCheckResult(
            passed=not faults,
            check_name=check.name,
            asset_key=dg.AssetKey(key.split("/")),
            metadata={"faults": len(faults), "first": "; ".join(faults[:5]) or ("locked" if locked else "none")},
        )
