"""The training samples of one source that survive, and the funnel of the others.

Asks the decisions in their order, notes the first that drops a sample, and puts survivors into their instruction form.
No rule of its own stands here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from medmax_pipeline.arrow import left_to_table, read_samples, samples_to_table
from medmax_pipeline.curation import examples
from medmax_pipeline.curation.columns import IMAGES, SAMPLES, read_rows
from medmax_pipeline.files import Json, write_bytes, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.ingest.tables import open_table
from medmax_pipeline.records import Counts, Drop, Left, Sample
from medmax_pipeline.steps import Outcome
from medmax_pipeline.withdrawal import PARAMETER, left_out

DROPS: Final = "drops.parquet"
Decide = Callable[[Sample], Drop | None]
"""One decision on one sample: why it goes, or None."""


def read_leaks(path: Path) -> dict[str, Drop]:
    """The verdicts of `leakage` on one source, by sample id."""
    columns = ("sample_id", "reason", "eval_source", "eval_image")
    return {
        row["sample_id"]: Drop(row["reason"], f"{row['eval_source']} {row['eval_image']}")
        for row in read_rows(path, columns)
    }


def read_duplicates(path: Path) -> dict[str, Drop]:
    """The verdicts of `duplicates` on one source, by sample id."""
    columns = ("sample_id", "reason", "kept", "kept_source")
    return {
        row["sample_id"]: Drop(row["reason"], f"{row['kept_source']} {row['kept']}") for row in read_rows(path, columns)
    }


def read_verdicts(path: Path) -> dict[str, Drop]:
    """The verdicts of a decision whose table says all in `sample_id`, `reason` and `detail`, by sample id."""
    return {
        row["sample_id"]: Drop(row["reason"], row["detail"])
        for row in read_rows(path, ("sample_id", "reason", "detail"))
    }


READERS: Final[Mapping[str, Callable[[Path], dict[str, Drop]]]] = {
    "leakage": read_leaks,
    "duplicates": read_duplicates,
    "figures": read_verdicts,
    "captions": read_verdicts,
}
"""How the part of each decision that looks across sources is read."""


def by_id(verdicts: Mapping[str, Drop]) -> Decide:
    """The decision that was taken before, looked up by sample id."""
    return lambda sample: verdicts.get(sample.sample_id)


def withdrawn(samples: Path, params: Mapping[str, Json]) -> Decide:
    """The decision of people: what the step's parameters withdraw of the training samples in this folder."""
    return by_id({name: Drop(PARAMETER, why) for name, why in left_out(samples, params, "train").items()})


def curate(
    samples: Path, decisions: Sequence[Decide], formed: Callable[[Sample], Sample], out: Path, landing: Path
) -> Outcome:
    """Write the survivors, the drops and examples of them of one source.

    Args:
        samples: published folder of the source's samples.
        decisions: asked in this order; the first that drops a sample names the reason.
        formed: puts a survivor into its form.
        out: folder of the tables.
        landing: root of the landing folders, for small copies of dropped pictures.
    """
    dropped: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    licences: set[str] = set()
    credentialed = False
    shown = examples.Examples()
    with (
        open_table(out / SAMPLES, samples_to_table) as kept,
        open_table(out / DROPS, left_to_table) as drops,
    ):
        for sample in read_samples(samples / SAMPLES):
            drop = next((found for found in (decide(sample) for decide in decisions) if found), None)
            if drop is not None:
                dropped[drop.reason] += 1
                origin = sample.origin
                drops.add(Left(sample.sample_id, drop.reason, drop.detail, origin.file, origin.row))
                shown.add(sample, drop)
                continue
            made = formed(sample)
            kinds[made.kind] += 1
            licences.add(made.licence)
            credentialed = credentialed or made.credentialed
            kept.add(made)
    _show(shown.all(), samples, out, landing)
    return Outcome(
        counts=Counts(dropped.total() + kept.written, kept.written, dict(sorted(dropped.items()))),
        licences=tuple(sorted(licences)),
        credentialed=credentialed,
        summary={f"kept {kind}": number for kind, number in sorted(kinds.items())},
    )


def _show(shown: Sequence[examples.Example], samples: Path, out: Path, landing: Path) -> None:
    """Examples as a table, and their pictures in the folder that no digest looks at."""
    write_table(out / examples.TABLE, examples.to_table(shown))
    if not any(example.image_id for example in shown):
        return
    with ImageReader(landing, [samples / IMAGES]) as reader:
        drawn = examples.sheet(reader, shown)
    if drawn is not None:
        write_bytes(out / "log" / examples.SHEET, drawn)
