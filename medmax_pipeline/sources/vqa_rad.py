"""VQA-RAD: questions and answers that clinicians wrote about 315 radiology pictures (OSF project 89kps).

Quirks of the upstream, each met below: the folder names hold spaces; `phrase_type` of `test_freeform` and `test_para`
*is* the test split, and since the split is by question, pictures occur on both sides of it (`curation/leakage.py`
deals with that); `qid` and `answer` may be numbers; questions, answers and `answer_type` carry trailing blanks;
some questions end in "? -open"; yes and no come in any case; one public copy lacks 8 pictures.

`answer_type` calls 272 test rows CLOSED, of which only 251 have yes or no for an answer. The published scorer rewards
nothing but yes and no, so the kind follows the answer, and the upstream's word is kept in `answer_type`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Split, Turn, picture
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
    question = _OPEN_MARK.sub("?", question)
    if not question:
        return Drop(QUESTION_EMPTY)
    if not answer:
        return Drop(ANSWER_EMPTY)
    if not image_name or image_name == "NULL":
        return Drop(IMAGE_NOT_NAMED)
    if "/" in image_name:
        raise RowError(f"image_name is {image_name[:80]!r}; expected synpicNNNNN.jpg.")
    closed = answer.lower() in ("yes", "no")
    answer = answer.lower() if closed else answer
    return Draft(
        key=qid,
        split=SPLITS[phrase],
        kind="vqa_closed" if closed else "vqa_open",
        turns=(Turn("user", f"{IMAGE}{question}"), Turn("assistant", answer)),
        images=(picture(image_name),),
        answer=answer,
        answer_type=answer_type.upper(),
        extra=json.dumps({name: clean(row[name]) for name in _KEPT_FOR_PEOPLE if name in row}),
    )


SOURCE = Source(
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
