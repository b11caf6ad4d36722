"""PathVQA: questions and answers made from the captions of pathology books (hub `flaviagiammarino/path-vqa`).

Quirks of the upstream, each met below: the hub's copy carries its pictures inside Parquet, some of them CMYK; it left
out exact repetitions, so it has 32,632 rows where the original has 32,795; rows have no id, and equal questions are
asked of many pictures; blanks surround and double inside texts; yes and no are the closed answers. Grammar is often
odd, and nothing mends it.

The original layout (`pvqa/qas/*/*_qa.pkl` beside `pvqa/images/`) is refused: a downloaded pickle runs whatever code its
author wrote and is never loaded here. Older releases split other rows; their numbers are not ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, ImageRef, Split, Turn
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, is_missing, need

SPLITS: Final[Mapping[str, Split | None]] = {"train": "train", "validation": None, "test": "eval"}
"""Sides of the publisher's splits; validation is left out."""
SPLIT_VALIDATION: Final = "split_validation"
QUESTION_EMPTY: Final = "question_empty"
ANSWER_EMPTY: Final = "answer_empty"
IMAGE_NOT_THERE: Final = "image_not_embedded"


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of all Parquet files, each with the split that its file's name says."""
    for split in SPLITS:
        for name in files.names(f"data/{split}-*.parquet"):
            for row in files.parquet(name):
                yield row if row.fault else row._replace(values={**row.values, "split": split})


def key_of(picture: ImageRef, question: str, answer: str) -> str:
    """The natural key: rows have no id, so it is where the picture lies and what is asked."""
    text = json.dumps([picture.file, picture.member, question, answer])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question with its answer.

    Raises:
        RowError: a key is missing, the split is unknown, or the picture is something else than an embedded one.
    """
    image, question, answer = need(row, "image", "question", "answer")
    split = row.get("split")
    if not isinstance(split, str) or split not in SPLITS:
        raise RowError(f"split is {split!r}; expected one of {', '.join(SPLITS)}.")
    side = SPLITS[split]
    if side is None:
        return Drop(SPLIT_VALIDATION)
    question, answer = clean(question), clean(answer)
    if not question:
        return Drop(QUESTION_EMPTY)
    if not answer:
        return Drop(ANSWER_EMPTY)
    if is_missing(image):
        return Drop(IMAGE_NOT_THERE)
    if not isinstance(image, ImageRef):
        raise RowError(f"image is {type(image).__name__}; expected a picture embedded in the table.")
    closed = answer.lower() in ("yes", "no")
    answer = answer.lower() if closed else answer
    return Draft(
        key=key_of(image, question, answer),
        split=side,
        kind="vqa_closed" if closed else "vqa_open",
        turns=(Turn("user", f"{IMAGE}{question}"), Turn("assistant", answer)),
        images=(image,),
        answer=answer,
        answer_type="CLOSED" if closed else "OPEN",
    )


SOURCE = Source(
    key="pathvqa",
    title="PathVQA",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/flaviagiammarino/path-vqa",
        how="Download the folder data/ with its Parquet files. The original's pickles are not loaded.",
        repo="flaviagiammarino/path-vqa",
        revision="1685832883334b5bb5beaf4e4b333fdeecaa4ad9",
    ),
    licence=Licence(
        "MIT",
        "https://huggingface.co/datasets/flaviagiammarino/path-vqa",
        "2026-11-23, in a stored copy of the card's header; the pictures come from copyrighted books and a web atlas",
    ),
    credentialed=False,
    files=(
        ExpectedFile(
            "data/train-*.parquet",
            "19,654 training rows with their pictures, 7 files; size by the hub's listing, rounded",
            pictures=True,
            bytes=477_000_000,
        ),
        ExpectedFile(
            "data/validation-*.parquet",
            "6,259 validation rows, 3 files; counted and left out; size by the hub's listing, rounded",
            pictures=True,
            optional=True,
            bytes=151_700_000,
        ),
        ExpectedFile(
            "data/test-*.parquet",
            "6,719 test rows with their pictures, 3 files; size by the hub's listing, rounded",
            pictures=True,
            bytes=156_300_000,
        ),
    ),
    row_count=Count(32_632, "the hub's card: 19,654 train, 6,259 validation, 6,719 test"),
    image_count=Count(4_289, "counted in a published copy of the original: pictures with questions"),
    split_rule="publisher's: test is eval, validation is left out",
    rows=rows,
    adapt=adapt,
    example={
        "image": ImageRef("data/train-00000-of-00007.parquet", "image/0"),
        "question": "is the nucleus shown?",
        "answer": "yes",
        "split": "train",
    },
)
