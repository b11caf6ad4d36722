"""One record an item, whatever the benchmark, how records are published, and what must hold of published ones.

Keeping records while an evaluation runs is `journal.py`; how an answer is judged belongs to the families (`closed.py`,
`captioning.py`, `generation.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmax_pipeline.files import sha256_file
from medmax_pipeline.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

ITEMS = "items.parquet"
GENERATED = "generated.parquet"
"""The same records as the model left them, before a scorer said anything; only where scorers are asked. Another judge
goes on from here."""
SCORERS = "scorers.json"
"""Judge and similarity model: name, identity, and why one was locked."""
IMAGES = "images"
COUNTS = "log/counts.json"
"""How many candidates and items there were, from the launched process to its step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRecord:
    """What one model answered to one item, and what was made of it. Unknown is None, never zero."""

    task: str
    model: str
    item_id: str
    """The sample's id."""
    image_ids: tuple[str, ...]
    cluster: str
    """What items share when they are not independent: the picture; the item's own id where it has none."""
    credentialed: bool
    prompt: str
    """The user's text with `<image>` marks; ids come from it by tokens/sequence."""
    reference: str
    """The reference answer or caption."""
    question_type: str = ""
    """As in the published evaluation data."""
    group: str = ""
    """What items are also averaged by: the modality, unless the task says otherwise."""
    leaked: bool | None = None
    """Whether curation found a training picture or text to be this item's; None where nobody looked."""
    generated_text: str = ""
    option_logprobs: Mapping[str, float] = field(default_factory=dict)
    """Natural logarithm of each option's probability given the prompt, summed over its tokens."""
    predictions: Mapping[str, str | None] = field(default_factory=dict)
    """What each reading of the answer took it for; None where it could not be read."""
    correct_strict: bool | None = None
    correct_compat: bool | None = None
    """By the reference implementation's rule."""
    verdicts: tuple[str, ...] = ()
    """What the judge replied, word for word, in the order in which it was asked."""
    unscored: str = ""
    """Why a verdict or metric is None, by names with spaces between; empty when all are known."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    generated_image: str = ""
    """sha256 of the PNG, which lies under images/; empty when none was made."""
    compat_image: str = ""
    """The same of the answer by the reference implementation's rule, where that is drawn apart."""
    reference_image: str = ""
    """sha256 of the PNG of the reference picture as the tokenizer reconstructs it."""
    seed: int | None = None
    """Seed of what was sampled; None where nothing was."""

    @property
    def pictures(self) -> frozenset[str]:
        """Names of all pictures that belong to it."""
        return frozenset({self.generated_image, self.compat_image, self.reference_image} - {""})

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Answered:
    """A batch's records, and the pictures they name: PNG bytes by their sha256."""

    records: Sequence[ItemRecord]
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def scored(
    record: ItemRecord,
    metrics: Mapping[str, float | None],
    *,
    unscored: str = "",
    verdicts: Sequence[str] = (),
    **more: Any,
) -> ItemRecord:
    """A record with what a scorer said added to it.

    Args:
        record: as it was.
        metrics: further figures; one that is None needs a reason.
        unscored: that reason, by name, added to those that are there.
        verdicts: the judge's replies, added to those that are there.
        more: other fields, replaced.
    """
    reasons = dict.fromkeys([*record.unscored.split(), *unscored.split()])
    return replace(
        record,
        metrics={**record.metrics, **metrics},
        unscored=" ".join(reasons),
        verdicts=(*record.verdicts, *verdicts),
        **more,
    )


def record_from_json(value: Mapping[str, Any]) -> ItemRecord:
    """A record from what `ItemRecord.to_json` gave, or from a row of `items.parquet`."""
    fields = dict(value)
    for name in ("image_ids", "verdicts"):
        fields[name] = tuple(value[name])
    for name in ("option_logprobs", "predictions", "metrics"):
        fields[name] = dict(value[name])
    return ItemRecord(**fields)


@cache
def record_schema() -> pa.Schema:
    """The columns of `items.parquet`."""
    import pyarrow as pa

    return pa.schema(
        [
            ("task", pa.string()),
            ("model", pa.string()),
            ("item_id", pa.string()),
            ("image_ids", pa.list_(pa.string())),
            ("cluster", pa.string()),
            ("credentialed", pa.bool_()),
            ("prompt", pa.string()),
            ("reference", pa.string()),
            ("question_type", pa.string()),
            ("group", pa.string()),
            ("leaked", pa.bool_()),
            ("generated_text", pa.string()),
            ("option_logprobs", pa.map_(pa.string(), pa.float64())),
            ("predictions", pa.map_(pa.string(), pa.string())),
            ("correct_strict", pa.bool_()),
            ("correct_compat", pa.bool_()),
            ("verdicts", pa.list_(pa.string())),
            ("unscored", pa.string()),
            ("metrics", pa.map_(pa.string(), pa.float64())),
            ("generated_image", pa.string()),
            ("compat_image", pa.string()),
            ("reference_image", pa.string()),
            ("seed", pa.int64()),
        ]
    )


def records_to_table(records: Iterable[ItemRecord]) -> pa.Table:
    """Records as an Arrow table of `record_schema`, sorted by item id."""
    import pyarrow as pa

    rows = []
    for record in sorted(records, key=lambda each: each.item_id):
        row = record.to_json()
        for name in ("option_logprobs", "predictions", "metrics"):
            row[name] = sorted(row[name].items())
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=record_schema())


def read_records(path: Path) -> list[ItemRecord]:
    """All records of one `items.parquet`, in its order."""
    import pyarrow.parquet as pq

    return [record_from_json(row) for row in pq.read_table(path, schema=record_schema()).to_pylist()]


def record_faults(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the records in `folder`, in words; nothing where all is well."""
    path = folder / ITEMS
    if not path.is_file():
        return [f"{ITEMS} is missing"]
    records = read_records(path)
    faults = []
    if len(records) != manifest.counts.kept or not records:
        faults.append(f"{len(records)} records for {manifest.counts.kept} items")
    twice = [name for name, count in Counter(record.item_id for record in records).items() if count > 1]
    faults += [f"item {name} has more than one record" for name in twice]
    for record in records:
        if f"eval/{record.model}/{record.task}" != manifest.key:
            faults.append(f"item {record.item_id} is a record of {record.model} on {record.task}")
        unknown = record.metrics and any(value is None for value in record.metrics.values())
        if unknown and not record.unscored:
            faults.append(f"item {record.item_id} has a figure that is unknown for no reason")
    named = {name for record in records for name in record.pictures}
    found = {path.stem for path in (folder / IMAGES).glob("*.png")}
    faults += [f"picture {name} is missing" for name in sorted(named - found)]
    faults += [f"picture {name} belongs to no record" for name in sorted(found - named)]
    faults += [f"picture {name} has other bytes" for name in sorted(named & found) if _changed(folder, name)]
    return faults


def _changed(folder: Path, name: str) -> bool:
    return sha256_file(folder / IMAGES / f"{name}.png") != name
