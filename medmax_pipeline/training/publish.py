"""`medmax export checkpoint/<recipe>`: a tuned model as a folder for other people and for hubs.

    config.json, *.safetensors, tokenizer.json, …    the model, as `from_pretrained` wants them
    adapter/                                         for LoRA
    recipe.json, log/{metrics.jsonl, curve.png}
    README.md                                        the card (`card.py`), with the scores of this very checkpoint

A model that was tuned on credentialed samples is handed on only where the person says that they may. The folder appears
whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow.parquet as pq

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.publish import read_scores
from medmax_pipeline.eval.scores import Score
from medmax_pipeline.files import disk_errors, publish_folder, read_json, remove_tree, write_text
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.lineage import Closure, closure
from medmax_pipeline.manifest import list_files
from medmax_pipeline.shards.card import Part, licence_warnings
from medmax_pipeline.shards.export import copy_published, curated_flags, parts_of, tables_behind
from medmax_pipeline.shards.layout import INDEX, VOCABULARY
from medmax_pipeline.steps import Artifact
from medmax_pipeline.training.card import Model, readme
from medmax_pipeline.training.export import CURVE, METRICS, MODEL, RECIPE, RUN
from medmax_pipeline.withdrawal import marks

CARD: Final = "README.md"
KEPT_LOGS: Final = (METRICS, CURVE)


class Exported(NamedTuple):
    """What was written."""

    files: int
    bytes: int
    scores: str
    """Which scores the card has, or why it has none."""
    credentialed: tuple[str, ...]
    """Sources whose agreements bind the model."""
    warnings: tuple[str, ...]


def export(ledger: Ledger, key: str, out: Path, *, credentialed: bool = False) -> Exported:
    """Write a published checkpoint to a folder, with its card.

    Args:
        ledger: of the build.
        key: `checkpoint/<recipe>`.
        out: absent or empty.
        credentialed: the person's word that they may hand on a model that was tuned on credentialed samples.

    Raises:
        StoreError: it is no checkpoint or locked; `out` holds something; it was tuned on credentialed samples and the
            word is missing, or on samples that were withdrawn since; a file is not as it was published.
    """
    artifact = ledger.need(key)
    if not key.startswith("checkpoint/") or artifact.locked:
        raise StoreError(
            f"{key}: {'is locked' if artifact.locked else 'is no checkpoint'}. Export a checkpoint/RECIPE."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: holds something already. Name a folder that is absent or empty.")
    behind = closure(ledger, artifact)
    shards = _shards(ledger, behind)
    table = pq.read_table(shards.folder / INDEX, columns=["sample_id", "source", "licence", "credentialed"])
    parts = parts_of(table)
    _refuse_credentialed(artifact, parts, credentialed)
    _refuse_withdrawn(ledger, key, shards, set(table["sample_id"].to_pylist()))
    work = out.absolute().with_name(f".{out.absolute().name}.exporting")
    remove_tree(work)
    try:
        with disk_errors(work):
            work.mkdir(parents=True)
        _copy(artifact, work)
        scores, origin = _scores(ledger, artifact)
        run = read_json(artifact.folder / RUN) if (artifact.folder / RUN).is_file() else {}
        vocabulary = read_json(shards.folder / VOCABULARY)
        recipe = read_json(artifact.folder / RECIPE)
        model = Model(behind, recipe, run, parts, vocabulary, scores, origin, list_files(work))
        write_text(work / CARD, readme(model))
        if out.exists():
            out.rmdir()
        publish_folder(work, out.absolute())
    finally:
        remove_tree(work)
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    return Exported(len(sizes), sum(sizes), origin, _secret(parts), tuple(licence_warnings(parts)))


def to_text(done: Exported, out: Path) -> Iterator[str]:
    """What was written, for people."""
    yield f"{out}: {done.files} files, {done.bytes:,} bytes"
    yield f"  scores: {done.scores}"
    for source in done.credentialed:
        yield f"warning: tuned on credentialed samples of {source}; its agreement binds the model"
    for warning in done.warnings:
        yield f"warning: {warning}"


def _shards(ledger: Ledger, behind: Closure) -> Artifact:
    """The shards that the checkpoint was trained on."""
    node = next(node for node in behind.nodes if node[0].startswith("shards/"))
    return Artifact(ledger.folder(*node), behind.nodes[node])


def _secret(parts: list[Part]) -> tuple[str, ...]:
    return tuple(sorted({part.source for part in parts if part.credentialed}))


def _refuse_credentialed(artifact: Artifact, parts: list[Part], word: bool) -> None:
    secret = _secret(parts)
    if (secret or artifact.manifest.credentialed) and not word:
        raise StoreError(
            f"{artifact.manifest.key}: was tuned on credentialed samples ({', '.join(secret) or 'source unknown'}). "
            "A model can give back what it was tuned on. Nothing was written. Say --credentialed if your agreement "
            "lets you hand it on to whom you hand it."
        )


def _refuse_withdrawn(ledger: Ledger, key: str, shards: Artifact, trained: set[str]) -> None:
    """Refuse a model that has seen what people withdrew since."""
    withdrawn = marks(ledger.store)
    gone = trained & withdrawn.samples
    if withdrawn.images:
        for path in tables_behind(ledger, closure(ledger, shards)).curated:
            for sample_id, _, images in curated_flags(path):
                if sample_id in trained and not withdrawn.images.isdisjoint(images):
                    gone.add(sample_id)
    if gone:
        raise StoreError(
            f"{key}: {len(gone)} samples that it was tuned on were withdrawn since, the first is {min(gone)}. "
            "Build again first."
        )


def _copy(artifact: Artifact, work: Path) -> None:
    """The model's files at the top, the others under their own names."""
    for entry in artifact.manifest.files:
        inside = entry.path.removeprefix(f"{MODEL}/")
        if not entry.path.startswith("log/") or entry.path in KEPT_LOGS:
            copy_published(artifact, entry.path, work / inside)


def _scores(ledger: Ledger, artifact: Artifact) -> tuple[list[Score], str]:
    """The scores that stand on this very checkpoint, and where they are from or why there are none."""
    recipe = artifact.manifest.key.rpartition("/")[2]
    published = ledger.current(f"scores/{recipe}")
    if published is None or published.locked:
        return [], f"scores/{recipe} is {'locked' if published is not None else 'not made yet'}"
    if (artifact.manifest.key, artifact.manifest.fingerprint) not in closure(ledger, published).nodes:
        return [], f"scores/{recipe} stands on another version of this checkpoint"
    return read_scores(published.folder), f"`scores/{recipe}`, fingerprint `{published.manifest.fingerprint}`"
