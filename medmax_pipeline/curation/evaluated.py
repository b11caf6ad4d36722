"""Evaluation items whose picture lies in training data, and whether their question does too.

The items stay in their sets; scores are given with and without them. Finding the pictures is `leakage.py` and
`copies.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from medmax_pipeline.curation.columns import SAMPLES, pixel_digests, read_rows

EVALUATED: Final = "evaluated.parquet"
TABLE: Final = "table.parquet"
EVALUATED_SCHEMA: Final = pa.schema(
    [
        ("sample_id", pa.string()),
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("train_source", pa.string()),
        ("train_image", pa.string()),
        ("measure", pa.float64()),
        ("change", pa.string()),
        ("question", pa.string()),
        ("question_measure", pa.float64()),
    ]
)
"""One line an evaluation item whose picture some training sample shows, with the surest training picture. `question`:
`same question and answer`, `same question` or empty, of the training text about that very picture;
`question_measure`: the share of the question's and answer's words, three at a time, that stand in it."""
TABLE_SCHEMA: Final = pa.schema(
    [
        ("benchmark", pa.string()),
        ("train_source", pa.string()),
        *(
            (name, pa.int64())
            for name in ("items", "of_items", "images", "same_file", "same_pixels", "near", "questions")
        ),
    ]
)
"""One line a benchmark and training source: evaluation items and images hit, images by how sure, and the items whose
question stands in training text of the picture."""
TEXTS_A_PICTURE: Final = 64
"""Ours: training texts about one picture that questions are compared with."""
_WORDS: Final = re.compile(r"\w+")
_RUN: Final = 3


class Hit(NamedTuple):
    """A training picture that shows an evaluation picture."""

    reason: str
    train_source: str
    train_image: str
    measure: float
    change: str


class Said(NamedTuple):
    """What a training sample says about a picture, as words."""

    asked: str
    all: str


def plain(text: str) -> str:
    """Words alone, lower case, one space between: what two texts must share to say the same."""
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))


class Hits:
    """Training pictures by the evaluation picture they show."""

    def __init__(self) -> None:
        self._by_pixels: dict[str, list[Hit]] = defaultdict(list)
        self._near: dict[str, list[Hit]] = defaultdict(list)
        self._texts: dict[str, list[Said]] = defaultdict(list)

    def add(self, leaks: Mapping[str, Sequence[Mapping[str, Any]]], digests: Mapping[str, str]) -> None:
        """Take the leaks of all sources (rows of `leakage.LEAK_SCHEMA`), with the evaluation pictures' digests."""
        for source, rows in leaks.items():
            for row in {row["image_id"]: row for row in rows}.values():
                hit = Hit(row["reason"], source, row["image_id"], row["measure"], row["change"])
                if row["reason"] == "leak_near":
                    self._near[row["eval_image"]].append(hit)
                else:
                    self._by_pixels[digests[row["eval_image"]]].append(hit)

    def add_near(self, eval_image: str, hit: Hit) -> None:
        """Take a further evaluation picture that a training picture shows."""
        if hit not in self._near[eval_image]:
            self._near[eval_image].append(hit)

    def read_texts(self, folder: Path) -> None:
        """Learn what a source's training samples say about the pictures that leak."""
        wanted = {hit.train_image for hits in (*self._by_pixels.values(), *self._near.values()) for hit in hits}
        for row in read_rows(folder / SAMPLES, ("split", "images", "turns")) if wanted else ():
            if row["split"] == "train":
                for image in wanted.intersection(row["images"]):
                    if len(self._texts[image]) < TEXTS_A_PICTURE:
                        self._texts[image].append(_said(row["turns"]))

    def of(self, image_id: str, pixel_digest: str) -> list[Hit]:
        """The training pictures that show this one, the surest first."""
        found = [*self._by_pixels.get(pixel_digest, ()), *self._near.get(image_id, ())]
        same = [hit._replace(reason="leak_same_file") if hit.train_image == image_id else hit for hit in found]
        return sorted(same, key=lambda hit: (_SURE[hit.reason], -hit.measure, hit.train_source, hit.train_image))

    def asked(self, question: str, answer: str, hits: Sequence[Hit]) -> tuple[str, float]:
        """Whether training text about these pictures asks this question, and the share of its words it holds."""
        asked, both = plain(question), plain(f"{question} {answer}")
        told, share = "", 0.0
        for said in (said for hit in hits for said in self._texts.get(hit.train_image, ())):
            if asked and f" {asked} " in f" {said.asked} ":
                whole = f" {plain(answer)} " in f" {said.all} "
                told = "same question and answer" if whole else told or "same question"
            share = max(share, _share(both, said.all))
        return told, round(share, 4)


_SURE: Final = {"leak_same_file": 0, "leak_same_pixels": 1, "leak_near": 2}


def _said(turns: Sequence[Mapping[str, str]]) -> Said:
    asked = plain(" ".join(turn["text"].replace("<image>", " ") for turn in turns if turn["role"] == "user"))
    return Said(asked, plain(" ".join(turn["text"].replace("<image>", " ") for turn in turns)))


def _share(words: str, inside: str) -> float:
    """Share of the runs of three words that stand in another text."""

    def runs(text: str) -> set[tuple[str, ...]]:
        each = text.split()
        return {tuple(each[at : at + _RUN]) for at in range(max(1, len(each) - _RUN + 1))} if each else set()

    own = runs(words)
    return len(own & runs(inside)) / len(own) if own else 0.0


class Found(NamedTuple):
    """What was found of all evaluation sets."""

    items: list[dict[str, Any]]
    """Rows of `EVALUATED_SCHEMA`."""
    table: list[dict[str, Any]]
    """Rows of `TABLE_SCHEMA`."""


def find_evaluated(folders: Mapping[str, Path], hits: Hits) -> Found:
    """The evaluation items of all sources whose picture is shown by training data."""
    items: list[dict[str, Any]] = []
    counted: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    images: set[tuple[str, str, str]] = set()
    totals: Counter[str] = Counter()
    for source, folder in folders.items():
        for sample_id, image, asked, answer, found in _leaking(folder, hits, totals, source):
            question, share = hits.asked(asked, answer, found)
            best = found[0]
            items.append(
                dict(zip(EVALUATED_SCHEMA.names, (sample_id, image, source, *best[:5], question, share), strict=True))
            )
            for train in {hit.train_source: hit for hit in reversed(found)}.values():
                tally = counted[source, train.train_source]
                tally["items"] += 1
                tally["questions"] += bool(question)
                if (source, train.train_source, image) not in images:
                    images.add((source, train.train_source, image))
                    tally["images"] += 1
                    tally[train.reason.removeprefix("leak_")] += 1
    rows = [
        {"benchmark": benchmark, "train_source": train, "of_items": totals[benchmark]}
        | {name: tally[name] for name in TABLE_SCHEMA.names[2:] if name != "of_items"}
        for (benchmark, train), tally in sorted(counted.items())
    ]
    return Found(items, rows)


def _leaking(
    folder: Path, hits: Hits, totals: Counter[str], source: str
) -> Iterator[tuple[str, str, str, str, list[Hit]]]:
    digests = pixel_digests(folder)
    for row in read_rows(folder / SAMPLES, ("sample_id", "split", "images", "turns", "answer")):
        if row["split"] != "eval":
            continue
        totals[source] += 1
        found = [(image, of) for image in row["images"] if (of := hits.of(image, digests[image]))]
        if found:
            asked = " ".join(turn["text"].replace("<image>", " ") for turn in row["turns"] if turn["role"] == "user")
            yield row["sample_id"], found[0][0], asked, row["answer"], found[0][1]
