"""The interleaved set on the page: who wrote it, and the first of its open samples with their pictures.

An author that is no language model is called what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.curation.examples import small_copy
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.report.gallery import data_uri
from medmax_pipeline.report.markup import UNKNOWN, Markup, note, section, table, tag
from medmax_pipeline.steps import Run

SAMPLES = "interleaved/samples"
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Written:
    """The set as the page shows it."""

    author: str
    rules: bool
    """Whether the author is rules of the embedded build."""
    count: int
    reason: str
    """Why it is locked; empty where it is not."""
    examples: tuple[tuple[str, str, str], ...]
    """Question, picture as a data URI and answer."""


def written(run: Run) -> Written | None:
    """The published set; None where the build has none."""
    samples, curated = run.inputs.get(SAMPLES), run.inputs.get("interleaved/curated")
    if samples is None or curated is None:
        return None
    if curated.manifest.lock is not None:
        return Written("", False, 0, curated.manifest.lock.reason, ())
    identity = samples.manifest.params.get("author")
    rules = isinstance(identity, dict) and identity.get("kind") == "sample"
    examples = []
    with ImageReader(run.landing, [samples.folder / "images.parquet"]) as reader:
        shown = (one for one in read_samples(curated.folder / "samples.parquet") if not one.credentialed)
        for sample in islice(shown, SHOWN):
            copy = small_copy(reader, sample.images[0])
            examples.append((sample.turns[0].text, data_uri(copy) if copy else "", sample.turns[1].text))
    author = str(samples.manifest.summary["author"])
    return Written(author, rules, curated.manifest.counts.kept, "", tuple(examples))


def interleaved_section(found: Written | None) -> Markup:
    """A section about the set; nothing where the build has none."""
    if found is None:
        return Markup("")
    title = "Interleaved set"
    if found.reason:
        return section(title, tag("p", tag("span", "locked", class_="locked"), f" {found.reason}"))
    who = f"{found.author}, rules of the embedded build and no language model" if found.rules else found.author
    rows = [
        (question, tag("img", src=picture, alt="picture in the answer") if picture else UNKNOWN, tag("pre", answer))
        for question, picture, answer in found.examples
    ]
    return section(
        title,
        note(f"{found.count:,} questions with answers that show a picture, written by {who}. The first by place."),
        table(("asked", "picture", "answer"), rows),
    )
