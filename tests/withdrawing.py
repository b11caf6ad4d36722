"""A small store from samples to a checkpoint, its samples made by hand, for tests of withdrawal and of tracing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from medmax_pipeline.config import Curation
from medmax_pipeline.curation.steps import curated_step
from medmax_pipeline.files import write_table, write_text
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import External
from medmax_pipeline.records import Counts, Sample
from medmax_pipeline.shards.layout import INDEX_SCHEMA
from medmax_pipeline.steps import Artifact, Need, Outcome, Run, Step
from tests.curation.published import publish, sample

IMAGES = {name: name * 64 for name in "abcd"}
TWINS = {IMAGES["d"]: IMAGES["c"]}
"""Image d has the pixels of image c."""
OFF = Curation(leakage="off", duplicates="off")
HELD: Mapping[str, Sequence[Sample]] = {
    "one": [
        sample("one a", IMAGES["a"]),
        sample("one b", IMAGES["b"]),
        sample("one asks c", IMAGES["c"], split="eval"),
        sample("one asks a", IMAGES["a"], split="eval"),
    ],
    "two": [sample("two a", IMAGES["a"], source="two"), sample("two d", IMAGES["d"], source="two")],
    "three": [sample("three d", IMAGES["d"], source="three")],
}


class Store:
    """Sources one, two, three; the shards hold one and two, and a checkpoint is made of them."""

    def __init__(self, root: Path) -> None:
        self.ledger = Ledger(root / "store", "test", root / "landing")
        (root / "landing").mkdir(parents=True, exist_ok=True)

    def build(self) -> list[str]:
        """Build all; keys of the steps that ran."""
        return [step.key for step in self.steps() if self.ledger.execute(step)[1]]

    def reasons(self) -> dict[str, str]:
        """What would run, and why."""
        return {item.key: item.reason for item in self.ledger.plan(self.steps()) if item.action == "run"}

    def need(self, key: str) -> Artifact:
        """A published artifact."""
        return self.ledger.need(key)

    def steps(self) -> list[Step]:
        """All steps, each after its inputs."""
        made = [step for key in HELD for step in (_raw(key), _samples(key), curated_step(key, OFF))]
        shards = Step("shards/r", _shards, "1", needs=(Need("one/curated"), Need("two/curated")))
        asked = Step("eval/r/t", _items, "1", needs=(Need("one/samples"),))
        return [*made, shards, Step("checkpoint/r", _weights, "1", needs=(Need("shards/r"),)), asked]


def _raw(key: str) -> Step:
    row_file = External("rows.json", "0" * 64, 1, "Open")
    return Step(f"{key}/raw", lambda run: Outcome(), "1", external=lambda landing, digests: (row_file,))


def _samples(key: str) -> Step:
    def run(run: Run) -> Outcome:
        publish(run.out, HELD[key], TWINS)
        return Outcome(Counts(len(HELD[key]), len(HELD[key])))

    return Step(f"{key}/samples", run, "1", needs=(Need(f"{key}/raw"),))


def _shards(run: Run) -> Outcome:
    import pyarrow.parquet as pq

    rows: list[dict[str, object]] = []
    for key in ("one", "two"):
        for name in pq.read_table(run.inputs[f"{key}/curated"].folder / "samples.parquet")["sample_id"].to_pylist():
            rows.append({"sample_id": name, "source": key, "shard": "open-000000.tar", "block": 0, "pack": len(rows)})
    write_table(run.out / "index.parquet", pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    return Outcome(Counts(len(rows), len(rows)))


def _weights(run: Run) -> Outcome:
    write_text(run.out / "weights", "w")
    return Outcome()


def _items(run: Run) -> Outcome:
    names = [item.sample_id for item in HELD["one"] if item.split == "eval"]
    write_table(run.out / "items.parquet", pa.table({"item_id": names}))
    return Outcome()
