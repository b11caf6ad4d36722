"""A small published build: two sources, one of them credentialed, one recipe evaluated beside its base."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from medmax_pipeline.arrow import IMAGE_SCHEMA, samples_to_table
from medmax_pipeline.curation.examples import Example, to_table
from medmax_pipeline.curation.steps import funnel_step
from medmax_pipeline.eval.records import ItemRecord, records_to_table
from medmax_pipeline.eval.scorers import Names, bound
from medmax_pipeline.eval.scores import score_task
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import sha256_bytes, write_bytes, write_json, write_table, write_text
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Counts
from medmax_pipeline.report.steps import report_step
from medmax_pipeline.steps import Artifact, Need, Outcome, Run, Step
from tests.eval.conftest import record, sample

HOSTILE = '<script>alert("x")</script> & <b>bold</b>'
SECRET = "the secret report of a patient"
TASKS = ("vqa_rad/closed", "image_generation/pmc_oa")
SOURCES = ("vqa_rad", "pmc_oa")

Write = Callable[[Run], None]


def drawn(shade: int) -> bytes:
    """A grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), shade, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


PICTURE = sha256_bytes(drawn(7))


def publish(
    ledger: Ledger,
    key: str,
    write: Write = lambda run: None,
    *,
    needs: tuple[str, ...] = (),
    counts: Counts | None = None,
    credentialed: bool = False,
    lock: Lock | None = None,
) -> Artifact:
    """Publish one artifact with these files and counts."""

    def run(run: Run) -> Outcome:
        write(run)
        return Outcome(counts or Counts(), licences=("CC0-1.0",), credentialed=credentialed)

    step = Step(
        key,
        run,
        "1",
        needs=tuple(Need(each) for each in needs),
        locks_on=(),
        lock=(lambda landing: lock) if lock else None,
    )
    return ledger.execute(step)[0]


def closed(model: str, right: int) -> list[ItemRecord]:
    """Six closed items, the first so many of them right; the last is credentialed."""
    made = []
    for n in range(6):
        one = record(n, n < right, model=model, prompt=f"<image>{HOSTILE} {n}", predictions={"strict": "yes"})
        made.append(replace(one, credentialed=n == 5, prompt=SECRET if n == 5 else one.prompt, image_ids=(PICTURE,)))
    return made


def generated(model: str, shade: int) -> list[ItemRecord]:
    """Three drawn items."""
    values = {"code_histogram_margin": 0.1, "code_histogram_cosine": 0.5, "pixel_psnr": 12.0, "valid": 1.0}
    return [
        record(
            n,
            None,
            model=model,
            task="image_generation/pmc_oa",
            reference=f"caption {n}",
            unscored="metric_locked:clip_score@biomedclip",
            metrics=values | {"clip_score@biomedclip": None},
            generated_image=sha256_bytes(drawn(shade)),
            reference_image=sha256_bytes(drawn(200)),
        )
        for n in range(3)
    ]


def write_examples(source: str, run: Run) -> None:
    """One dropped sample to look at, of the open source."""
    open_one = Example("eval_image", "a" * 32, "vqa_open", HOSTILE, "detail of the drop", PICTURE)
    write_table(run.out / "examples.parquet", to_table([open_one] if source == "vqa_rad" else []))


def write_source(source: str, run: Run) -> None:
    """Samples and pictures of one source; the pictures lie in its landing folder."""
    made = [sample(1, source=source), sample(2, source=source, split="train"), sample(3, source=source, split="train")]
    write_table(run.out / "samples.parquet", samples_to_table(made))
    place = {"folder": source, "file": "a.png", "member": "", "kind": "loose", "offset": 0, "packed": 0, "crc": 0}
    row = dict.fromkeys(IMAGE_SCHEMA.names) | {"image_id": PICTURE, "source": source, "bytes": len(drawn(7)), **place}
    write_table(run.out / "images.parquet", pa.Table.from_pylist([row], schema=IMAGE_SCHEMA))
    write_bytes(run.landing / source / "a.png", drawn(7))


def write_checkpoint(run: Run) -> None:
    """A loss curve of four steps; the second had no picture to learn."""
    losses = [(3.0, 6.0), (2.0, None), (1.5, 5.0), (1.0, 4.0)]
    lines = [f'{{"step": {n + 1}, "text_loss": {t}, "image_loss": {i or "null"}}}\n' for n, (t, i) in enumerate(losses)]
    write_text(run.out / "log" / "metrics.jsonl", "".join(lines))


def write_records(records: list[ItemRecord], *shades: int) -> Write:
    """Records and the pictures they name."""

    def write(run: Run) -> None:
        write_table(run.out / "items.parquet", records_to_table(records))
        for shade in shades:
            write_bytes(run.out / "images" / f"{sha256_bytes(drawn(shade))}.png", drawn(shade))

    return write


def build(store: Path, *, corpus: bool = True) -> Ledger:
    """Publish the build, all but the report.

    Args:
        store: an empty folder.
        corpus: whether the sources come out of the embedded corpus.
    """
    made = Ledger(store, "test", store / "landing")
    if corpus:
        publish(made, "sample_corpus")
    for source in SOURCES:
        publish(
            made,
            f"{source}/samples",
            lambda run, source=source: write_source(source, run),  # type: ignore[misc]
            needs=("sample_corpus",) if corpus else (),
            counts=Counts(5, 3, {"question_empty": 1}, {"image_truncated": 1}),
            credentialed=source == "pmc_oa",
        )
        publish(
            made,
            f"{source}/curated",
            lambda run, source=source: write_examples(source, run),  # type: ignore[misc]
            needs=(f"{source}/samples",),
            counts=Counts(3, 1, {"eval_image": 1, "evaluation_row": 1}),
        )
    made.execute(funnel_step(SOURCES, SOURCES))
    publish(made, "image_codes", counts=Counts(4, 4))
    publish(made, "shards/tiny", counts=Counts(2, 2))
    publish(made, "checkpoint/tiny", write_checkpoint, needs=("shards/tiny",), counts=Counts(2, 2))
    scores = []
    for model, right, shade in (("base", 2, 30), ("tiny", 4, 60)):
        publish(made, f"eval/{model}/{TASKS[0]}", write_records(closed(model, right)), counts=Counts(6, 6))
        publish(made, f"eval/{model}/{TASKS[1]}", write_records(generated(model, shade), shade, 200))
    scores += score_task(task(TASKS[0]), closed("tiny", 4), closed("base", 2))
    scores += score_task(task(TASKS[0]), closed("base", 2))
    scores += score_task(bound(task(TASKS[1]), Names()), generated("tiny", 60), generated("base", 30))
    publish(made, "scores/tiny", lambda run: write_json(run.out / "scores.json", [asdict(each) for each in scores]))
    return made


REPORT = report_step(("tiny",), SOURCES, SOURCES, TASKS, base=True)
"""The step under test."""


def read(ledger: Ledger) -> str:
    """Publish the report; its page."""
    artifact, _ = ledger.execute(REPORT)
    return (artifact.folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def ledger(store: Path) -> Ledger:
    """A build that the test may change."""
    return build(store)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """The build, its report published; to be read only."""
    made = build(tmp_path_factory.mktemp("build"))
    made.execute(REPORT)
    return made


@pytest.fixture(scope="session")
def document(whole: Ledger) -> str:
    """The page of the whole build."""
    return read(whole)
