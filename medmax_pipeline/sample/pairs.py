"""Pictures of the corpus with what is said of them: what the sample's small CLIP learns from, and is measured on.

The corpus is laid out and read by the sources' own adapters, as a build does. No training pair shows an evaluation
picture, be it a planted copy: such pictures are left out by their pixels and by the corpus's own list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.curation.columns import IMAGES, SAMPLES, pixel_digests
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import IMAGE, Sample
from medmax_pipeline.sample.corpus import lay_out
from medmax_pipeline.sources import SOURCES

SOURCES_READ: Final = (
    "llava_med_it",
    "llava_med_pmc",
    "mimic_cxr",
    "omnimed_vqa",
    "pathvqa",
    "pmc_oa",
    "pmc_vqa",
    "pubmedvision_alignment",
    "pubmedvision_it",
    "quilt_1m",
    "quilt_instruct",
    "slake",
    "vqa_rad",
)
"""Those with training rows of their own."""
DESCRIBING: Final = ("captioning", "report_generation", "visual_chat")
ASKING: Final = ("vqa_open", "vqa_closed")
COPIES: Final = ("leak", "near_leak")


class Said(NamedTuple):
    """A picture's bytes and a text about it."""

    data: bytes
    text: str
    source: str


class Pairs(NamedTuple):
    """Both splits."""

    train: tuple[Said, ...]
    held_out: tuple[Said, ...]


def text_of(sample: Sample) -> str:
    """What a sample says of its picture; empty where that is a number or that something is not so."""
    replies = " ".join(turn.text for turn in sample.turns if turn.role == "assistant").replace(IMAGE, "")
    if sample.kind in DESCRIBING:
        return " ".join(replies.split())
    answer = sample.answer.strip().lower()
    if sample.kind not in ASKING or answer == "no" or answer.isdigit():
        return ""
    asked = sample.turns[0].text.replace(IMAGE, "").strip().split("\n")[0]
    return " ".join(f"{asked} {sample.answer}".split())


def corpus_pairs(scratch: Path, log: Callable[[str], None]) -> Pairs:
    """Every pair of the corpus that says something, in the order of sources and samples.

    Args:
        scratch: an empty folder, in which the corpus is laid out and read.
        log: told what is laid out.
    """
    landing, ledger = scratch / "landing", Ledger(scratch / "store", "pairs", scratch / "landing")
    copies = {placed.image_id for placed in lay_out(landing, log).placed if placed.planted in COPIES}
    folders = {}
    for key in SOURCES_READ:
        ledger.execute(raw_step(SOURCES[key], corpus=False))
        folders[key] = ledger.execute(samples_step(SOURCES[key]))[0].folder
    digests = {image: digest for folder in folders.values() for image, digest in pixel_digests(folder).items()}
    evaluated = {
        digests[image]
        for folder in folders.values()
        for sample in read_samples(folder / SAMPLES)
        if sample.split == "eval"
        for image in sample.images
    }
    train, held_out = list[Said](), list[Said]()
    with ImageReader(landing, [folder / IMAGES for folder in folders.values()]) as reader:
        for key, sample, text in _saying(folders):
            image = sample.images[0]
            if sample.split == "eval":
                held_out.append(Said(reader.read(image), text, key))
            elif image not in copies and digests[image] not in evaluated:
                train.append(Said(reader.read(image), text, key))
    return Pairs(tuple(train), tuple(held_out))


def _saying(folders: dict[str, Path]) -> Iterator[tuple[str, Sample, str]]:
    for key, folder in folders.items():
        for sample in read_samples(folder / SAMPLES):
            text = text_of(sample)
            if len(sample.images) == 1 and text:
                yield key, sample, text
