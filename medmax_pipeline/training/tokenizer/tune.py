"""What the step `image_tokenizer` of a tuned build does: choose pictures, launch the tuning, say what came out.

The tuning itself is a process of its own (`loop.py`); this module loads no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from medmax_pipeline.config import TokenizerTuning
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import Json, inside, read_json, take_folder, write_json, write_table
from medmax_pipeline.launching.state import RESULT
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Artifact, Outcome, Run
from medmax_pipeline.training.tokenizer.card import CARD
from medmax_pipeline.training.tokenizer.choose import HELD_OUT, Choice, choose
from medmax_pipeline.training.tokenizer.job import FAILURES, PICTURE_SCHEMA, Job
from medmax_pipeline.training.tokenizer.steps import BASE

LAUNCH = "launch"
"""In the step's work folder: the state of the launch."""
NOT_SHOWN = ("what", "tuning", "terms")
"""Of the card; the manifest says them elsewhere, and terms one by one."""


def tune(ctx: Run, tuning: TokenizerTuning, sources: Sequence[str], trained: Sequence[str]) -> Outcome:
    """Tune on the pictures of the build's curated samples.

    Raises:
        ConfigError: there are none.
        LaunchError: the tuning ended badly; the next attempt goes on from its last checkpoint.
    """
    choice = choose(ctx.inputs, sources, trained, tuning)
    if not choice.trained:
        raise ConfigError(
            f"image_tokenizer: no picture to tune on (left aside: {dict(choice.dropped)}; locked sources: "
            f"{', '.join(choice.left_out) or 'none'}). Unlock a source with training pictures, or build with an "
            "untuned tokenizer."
        )
    ctx.log(f"{len(choice.trained):,} pictures to tune on, {len(choice.held_out):,} held out")
    job = _job(ctx, tuning, choice, sources)
    write_json(ctx.work / "job.json", asdict(job))
    ctx.launch(["medmax_pipeline.training.tokenizer", str(ctx.work / "job.json")], state=ctx.work / LAUNCH)
    take_folder(Path(job.out), ctx.out)
    failures: Mapping[str, Sequence[str]] = read_json(Path(job.work) / FAILURES)
    card: dict[str, Json] = read_json(ctx.out / CARD)
    base = ctx.inputs[BASE].manifest
    return Outcome(
        counts=_counts(choice, failures),
        licences=tuple(sorted({*base.licences, *choice.licences})),
        credentialed=choice.credentialed or base.credentialed,
        summary=_summary(card) | {"left_out": list(choice.left_out)},
    )


def _job(ctx: Run, tuning: TokenizerTuning, choice: Choice, sources: Sequence[str]) -> Job:
    held_out = set(choice.held_out)
    ids = sorted({*choice.trained, *held_out})
    columns = {"image_id": ids, "held_out": [image_id in held_out for image_id in ids]}
    write_table(ctx.work / "pictures.parquet", pa.table(columns, schema=PICTURE_SCHEMA))
    samples: list[Artifact] = [ctx.inputs[f"{source}/samples"] for source in sources]
    return Job(
        tuning=tuning,
        base=str(ctx.inputs[BASE].folder),
        landing=str(ctx.landing),
        images=tuple(str(item.folder / "images.parquet") for item in samples if not item.locked),
        pictures=str(ctx.work / "pictures.parquet"),
        perceptual=str(inside(ctx.landing, tuning.perceptual)) if tuning.perceptual else "",
        out=str(ctx.work / LAUNCH / RESULT),
        work=str(ctx.work / "states"),
    )


def _counts(choice: Choice, failures: Mapping[str, Sequence[str]]) -> Counts:
    """Over distinct pictures of curated samples; `failures` are reason and detail of unreadable ones by image id."""
    dropped = Counter(choice.dropped)
    dropped[HELD_OUT] = sum(image_id not in failures for image_id in choice.held_out)
    return Counts(
        taken=len(choice.trained) + sum(choice.dropped.values()),
        kept=sum(image_id not in failures for image_id in choice.trained),
        dropped={reason: count for reason, count in sorted(dropped.items()) if count},
        quarantined=dict(sorted(Counter(reason for reason, _ in failures.values()).items())),
    )


def _summary(card: Mapping[str, Json]) -> dict[str, Json]:
    """The card as the asset's page shows it: gain, codes that changed, warning, and what became of each term."""
    terms = card["terms"]
    assert isinstance(terms, dict)
    shown = {name: value for name, value in card.items() if name not in NOT_SHOWN}
    return shown | {f"{name} term": value for name, value in terms.items()}
