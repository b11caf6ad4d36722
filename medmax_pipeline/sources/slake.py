"""SLAKE: bilingual questions and answers about 642 radiology pictures (hub `BoKelvin/SLAKE`).

Quirks of the upstream, each met below: English and Chinese questions share the files, and while the split is by picture
within one language, 142 of its 180 test pictures occur in training across both, so Chinese rows leave first; the
validation file is called `validation.json` on the hub and `validate.json` in the original archive; every picture is
called `source.jpg` in a folder of its own, so rows and pictures join by the end of the path; one answer is empty;
blanks and case vary. `qid` is unique over the three files.

`answer_type` calls 416 English test rows CLOSED, of which 61 are answered with a choice ("Lung", "T2"). The published
scorer rewards nothing but yes and no, so the kind follows the answer, and the upstream's word is kept in `answer_type`:
open questions in the publisher's sense are those with OPEN.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Split, Turn, picture
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

SPLITS: Final[Mapping[str, Split | None]] = {"train": "train", "validation": None, "test": "eval"}
"""Sides of the publisher's splits; validation is left out."""
FILES: Final[Mapping[str, str]] = {"train": "train.json", "validation": "valid*.json", "test": "test.json"}
LANGUAGES: Final[Mapping[str, str]] = {"en": "", "zh": "language_zh"}
"""Languages of the questions, and the reason for which each is left out."""
SPLIT_VALIDATION: Final = "split_validation"
QUESTION_EMPTY: Final = "question_empty"
ANSWER_EMPTY: Final = "answer_empty"
_KEPT_FOR_PEOPLE = ("location", "content_type", "base_type", "img_id")


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the three files, each with the split that its file's name says."""
    for split, pattern in FILES.items():
        for name in files.names(pattern):
            for row in files.json_array(name):
                yield row if row.fault else row._replace(values={**row.values, "split": split})


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question with its answer.

    Raises:
        RowError: a key is missing, or language or split is none of the known values.
    """
    language, split = clean(need(row, "q_lang")[0]).lower(), row.get("split")
    if language not in LANGUAGES:
        raise RowError(f"q_lang is {language!r}; expected one of {', '.join(LANGUAGES)}.")
    if LANGUAGES[language]:
        return Drop(LANGUAGES[language])
    if not isinstance(split, str) or split not in SPLITS:
        raise RowError(f"split is {split!r}; expected one of {', '.join(SPLITS)}.")
    side = SPLITS[split]
    if side is None:
        return Drop(SPLIT_VALIDATION)
    qid, name, *texts = need(row, "qid", "img_name", "question", "answer", "answer_type")
    question, answer, answer_type = map(clean, texts)
    if not clean(qid) or not isinstance(name, str) or not name:
        raise RowError(f"qid is {qid!r} and img_name is {name!r}; expected a number and a path as xmlab1/source.jpg.")
    if not question:
        return Drop(QUESTION_EMPTY, f"qid {clean(qid)}")
    if not answer:
        return Drop(ANSWER_EMPTY, f"qid {clean(qid)}")
    closed = answer.lower() in ("yes", "no")
    answer = answer.lower() if closed else answer
    return Draft(
        key=clean(qid),
        split=side,
        kind="vqa_closed" if closed else "vqa_open",
        turns=(Turn("user", f"{IMAGE}{question}"), Turn("assistant", answer)),
        images=(picture(name),),
        answer=answer,
        answer_type=answer_type.upper(),
        modality=clean(row.get("modality")),
        extra=json.dumps({name: clean(row[name]) for name in _KEPT_FOR_PEOPLE if name in row}),
    )


SOURCE = Source(
    key="slake",
    title="SLAKE",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/BoKelvin/SLAKE",
        how="Download train.json, validation.json, test.json and imgs.zip and leave the archive packed.",
        repo="BoKelvin/SLAKE",
        revision="a9083ce6c34ac3ffb17671a605962924d8a8f9e9",
    ),
    licence=Licence(
        "CC-BY-4.0",
        "https://huggingface.co/datasets/BoKelvin/SLAKE",
        "2026-11-23, in a stored copy of the card's header",
    ),
    credentialed=False,
    files=(
        ExpectedFile("train.json", "training questions, a JSON array; size by the hub's listing", bytes=2_964_571),
        ExpectedFile(
            "valid*.json",
            "validation questions, validation.json or validate.json; counted and left out; size by the hub's listing",
            optional=True,
            bytes=639_139,
        ),
        ExpectedFile("test.json", "test questions, a JSON array; size by the hub's listing", bytes=635_829),
        ExpectedFile(
            "imgs.zip",
            "the pictures, imgs/xmlabN/source.jpg; size as a public project measured it",
            pictures=True,
            group="pictures",
            bytes=212_343_373,
        ),
        ExpectedFile("imgs/**", "the pictures, unpacked", pictures=True, group="pictures", by_hand=True),
    ),
    row_count=Count(14_028, "counted in the published files: 9,835 train, 2,099 validation, 2,094 test; 7,033 English"),
    image_count=Count(642, "counted in the published files: xmlab0 to xmlab641"),
    split_rule="publisher's, by picture, after the Chinese rows are left out; test is eval, validation is left out",
    rows=rows,
    adapt=adapt,
    example={
        "img_id": 1,
        "img_name": "xmlab1/source.jpg",
        "question": "What modality is used to take this image?",
        "answer": "MRI",
        "q_lang": "en",
        "location": "Abdomen",
        "modality": "MRI",
        "answer_type": "OPEN",
        "base_type": "vqa",
        "content_type": "Modality",
        "triple": ["vhead", "_", "_"],
        "qid": 0,
        "split": "test",
    },
)
