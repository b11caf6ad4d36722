"""The training samples of one source that survive, and the funnel of the others.

Applies what was withdrawn and what `leakage` and `duplicates` decided, and puts survivors into their instruction form.
No rule of its own stands here; evaluation samples are not taken in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from medmax_pipeline.arrow import left_to_table, read_samples, samples_to_table
from medmax_pipeline.config import Curation
from medmax_pipeline.curation.columns import SAMPLES, read_rows
from medmax_pipeline.curation.instructions import forms, put_into_form
from medmax_pipeline.files import Json
from medmax_pipeline.ingest.tables import open_table
from medmax_pipeline.records import Counts, Left
from medmax_pipeline.steps import Outcome
from medmax_pipeline.withdrawal import PARAMETER, left_out

DROPS: Final = "drops.parquet"


class Verdict(NamedTuple):
    """Why a sample goes, and what it equals."""

    reason: str
    detail: str


def read_leaks(path: Path) -> dict[str, Verdict]:
    """The verdicts of `leakage` on one source, by sample id."""
    columns = ("sample_id", "reason", "eval_source", "eval_image")
    return {
        row["sample_id"]: Verdict(row["reason"], f"{row['eval_source']} {row['eval_image']}")
        for row in read_rows(path, columns)
    }


def read_duplicates(path: Path) -> dict[str, Verdict]:
    """The verdicts of `duplicates` on one source, by sample id."""
    columns = ("sample_id", "reason", "kept", "kept_source")
    return {
        row["sample_id"]: Verdict(row["reason"], f"{row['kept_source']} {row['kept']}")
        for row in read_rows(path, columns)
    }


def read_withdrawn(samples: Path, params: Mapping[str, Json]) -> dict[str, Verdict]:
    """The training samples of one source that its step's parameters withdraw, by sample id."""
    return {name: Verdict(PARAMETER, why) for name, why in left_out(samples, params, "train").items()}


READERS: Final[Mapping[str, Callable[[Path], dict[str, Verdict]]]] = {
    "leakage": read_leaks,
    "duplicates": read_duplicates,
}
"""How the part of each decision that looks across sources is read."""


def curate(samples: Path, verdicts: Mapping[str, Verdict], curation: Curation, out: Path) -> Outcome:
    """Write the survivors and the drops of one source.

    Args:
        samples: published folder of the source's samples.
        verdicts: samples to drop, by sample id.
        curation: the shares of the instruction forms.
        out: folder of the two tables.
    """
    turned = forms(curation.generation_share, curation.radiograph_share)
    dropped: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    licences: set[str] = set()
    credentialed = False
    with (
        open_table(out / SAMPLES, samples_to_table) as kept,
        open_table(out / DROPS, left_to_table) as drops,
    ):
        for sample in read_samples(samples / SAMPLES):
            if sample.split != "train":
                continue
            verdict = verdicts.get(sample.sample_id)
            if verdict is not None:
                dropped[verdict.reason] += 1
                origin = sample.origin
                drops.add(Left(sample.sample_id, verdict.reason, verdict.detail, origin.file, origin.row))
                continue
            formed = put_into_form(sample, turned)
            kinds[formed.kind] += 1
            licences.add(formed.licence)
            credentialed = credentialed or formed.credentialed
            kept.add(formed)
    return Outcome(
        counts=Counts(dropped.total() + kept.written, kept.written, dict(sorted(dropped.items()))),
        licences=tuple(sorted(licences)),
        credentialed=credentialed,
        summary={f"kept {kind}": number for kind, number in sorted(kinds.items())},
    )
