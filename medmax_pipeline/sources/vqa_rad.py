"""VQA-RAD: questions and answers that clinicians wrote about 315 radiology pictures (OSF project 89kps).

Quirks of the upstream, each met below: the folder names hold spaces; `phrase_type` of `test_freeform` and `test_para`
*is* the test split, and since the split is by question, pictures occur on both sides of it (`curation/leakage.py`
deals with that); `qid` and `answer` may be numbers; questions, answers and `answer_type` carry trailing blanks;
some questions end in "? -open"; yes and no come in any case; one public copy lacks 8 pictures.

`answer_type` calls 272 test rows CLOSED, of which only 251 have yes or no for an answer. The published scorer rewards
nothing but yes and no, so the kind follows the answer, and the upstream's word is kept in `answer_type`.

The variant `hub` reads another publisher's copy: Parquet with the pictures inside, picture, question and answer alone,
without three repeated rows and the one row that stood on both sides (1,793 train, 451 test). Its rows have no id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.files import digest_of
from medmax_pipeline.records import IMAGE, Draft, Drop, ImageRef, Split, Turn, picture
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

QUESTIONS: Final = "VQA_RAD Dataset Public.json"
PICTURES: Final = "VQA_RAD Image Folder"
SPLITS: Final[Mapping[str, Split]] = {
    "freeform": "train",
    "para": "train",
    "test_freeform": "eval",
    "test_para": "eval",
}
COPY_SPLITS: Final[Mapping[str, Split]] = {"train": "train", "test": "eval"}
QUESTION_EMPTY: Final = "question_empty"
ANSWER_EMPTY: Final = "answer_empty"
IMAGE_NOT_NAMED: Final = "image_not_named"
_OPEN_MARK = re.compile(r"\?\s*-\s*open\s*$", re.IGNORECASE)
_KEPT_FOR_PEOPLE = ("question_type", "image_organ", "phrase_type", "image_case_url")


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the one JSON array."""
    return files.json_array(QUESTIONS)


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question with its answer.

    Raises:
        RowError: a key is missing or holds no text, `phrase_type` is none of the four known values, or `image_name` is
            a path.
    """
    qid, phrase, image_name = map(clean, need(row, "qid", "phrase_type", "image_name"))
    question, answer, answer_type = map(clean, need(row, "question", "answer", "answer_type"))
    if not qid:
        raise RowError("qid is empty; expected the question's number.")
    if phrase not in SPLITS:
        raise RowError(f"phrase_type is {phrase!r}; expected one of {', '.join(SPLITS)}.")
    if "/" in image_name:
        raise RowError(f"image_name is {image_name[:80]!r}; expected synpicNNNNN.jpg.")
    named = picture(image_name) if image_name and image_name != "NULL" else None
    made = _asked(qid, SPLITS[phrase], question, answer, named)
    if isinstance(made, Drop):
        return made
    extra = json.dumps({name: clean(row[name]) for name in _KEPT_FOR_PEOPLE if name in row})
    return replace(made, answer_type=answer_type.upper(), extra=extra)


def _asked(key: str, split: Split, question: str, answer: str, shown: ImageRef | None) -> Draft | Drop:
    """A question with its answer, closed where that is yes or no."""
    question = _OPEN_MARK.sub("?", question)
    if not question:
        return Drop(QUESTION_EMPTY)
    if not answer:
        return Drop(ANSWER_EMPTY)
    if shown is None:
        return Drop(IMAGE_NOT_NAMED)
    closed = answer.lower() in ("yes", "no")
    answer = answer.lower() if closed else answer
    return Draft(
        key=key,
        split=split,
        kind="vqa_closed" if closed else "vqa_open",
        turns=(Turn("user", f"{IMAGE}{question}"), Turn("assistant", answer)),
        images=(shown,),
        answer=answer,
    )


def rows_of_copy(files: RowFiles) -> Iterator[Row]:
    """Rows of the copy's Parquet files, with `split` from the file's name."""
    for split in COPY_SPLITS:
        for name in files.names(f"data/{split}-*.parquet"):
            for row in files.parquet(name):
                yield row if row.fault else row._replace(values={**row.values, "split": split})


def adapt_copy(row: Mapping[str, Any]) -> Adapted:
    """One question of the copy.

    Raises:
        RowError: a column is missing, the split is unknown, or the picture is something else than an embedded one.
    """
    shown, split = need(row, "image", "split")
    question, answer = map(clean, need(row, "question", "answer"))
    if not isinstance(split, str) or split not in COPY_SPLITS:
        raise RowError(f"split is {split!r}; expected one of {', '.join(COPY_SPLITS)}.")
    if shown is not None and not isinstance(shown, ImageRef):
        raise RowError(f"image is {type(shown).__name__}; expected a picture embedded in the table.")
    place = (shown.file, shown.member) if shown else ()
    return _asked(digest_of([*place, question, answer])[:24], COPY_SPLITS[split], question, answer, shown)


_OFFICIAL = Source(
    key="vqa_rad",
    title="VQA-RAD",
    access=Access(
        kind="manual",
        page="https://osf.io/89kps/",
        how=f"Download {QUESTIONS!r} and the folder {PICTURES!r} (as a folder, or as the .zip that the page makes of "
        "it) and keep their names, spaces included.",
    ),
    licence=Licence("CC0-1.0", "https://osf.io/89kps/", "2026-11-23, in a summary of the publisher's page"),
    credentialed=False,
    files=(
        ExpectedFile(QUESTIONS, "all questions, a JSON array"),
        ExpectedFile(f"{PICTURES}/*.jpg", "the pictures, synpicNNNNN.jpg", pictures=True, group="pictures"),
        ExpectedFile(f"{PICTURES}.zip", "the same, packed", pictures=True, group="pictures"),
    ),
    row_count=Count(2_248, "counted by public loaders: 1,797 train and 451 test"),
    image_count=Count(315, "publisher's folder; 314 of them have questions"),
    split_rule="publisher's: phrase_type test_* is eval, by question",
    rows=rows,
    adapt=adapt,
    example={
        "qid": 7,
        "phrase_type": "test_freeform",
        "qid_linked_id": "01ABC",
        "image_case_url": "https://example.org/case/1",
        "image_name": "synpic00001.jpg",
        "image_organ": "CHEST",
        "evaluation": "evaluated",
        "question": "Is there a pleural effusion? -open ",
        "question_rephrase": "NULL",
        "question_relation": "NULL",
        "question_frame": "NULL",
        "question_type": "PRES",
        "answer": "Yes\t",
        "answer_type": "CLOSED ",
    },
)
_COPY = replace(
    _OFFICIAL,
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/flaviagiammarino/vqa-rad",
        how="Open to everybody. By hand: download the folder data/ with its two Parquet files.",
        repo="flaviagiammarino/vqa-rad",
        revision="bcf91e7654fb9d51c8ab6a5b82cacf3fafd2fae9",
    ),
    files=(
        ExpectedFile("data/train-*.parquet", "training rows with their pictures", pictures=True, bytes=24_183_983),
        ExpectedFile("data/test-*.parquet", "test rows with their pictures", pictures=True, bytes=10_312_735),
    ),
    row_count=Count(2_244, "the hub's card: 1,793 train and 451 test"),
    image_count=Count(314, "the hub's card; a picture lies in the table once for each of its questions"),
    split_rule="publisher's, by question: the test file is eval",
    rows=rows_of_copy,
    adapt=adapt_copy,
    example={
        "image": ImageRef("data/train-00000-of-00001.parquet", "image/0"),
        "question": "is there a fracture?",
        "answer": "no",
        "split": "train",
    },
)
SOURCE = replace(_OFFICIAL, variants={"hub": _COPY})
