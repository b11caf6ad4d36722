"""Quilt-VQA: questions that narrators of histology videos ask themselves, with their answers (gated, test only).

Two copies are published and they are not the same rows: `quiltvqa_test_w_ans.json` with 1,283 questions (940 OPEN, 343
CLOSED) beside an archive of 985 pictures, and a Parquet file of 985 rows with pictures in them, in a split named
`train`. The JSON is the default; `parquet` is a variant. Both are evaluation and nothing else.

Quirks of the upstream, each met below: the answer of a closed question is a whole sentence, its yes or no stands in
`yes_no_answer`, which the Parquet copy lacks, so there it is the sentence's first word and rows that open with another
one are dropped; the key of the question is not documented for the JSON: `question` (as in the Parquet copy) and `text`
(as in the JSON's twin without answers) are read, and where there is neither, the twin's, whose ids are the same by the
publisher's own check. The sentence behind yes or no is kept as context, for whoever judges.

It comes of the same family of videos as Quilt-Instruct; see there. The video's id is in `extra`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, ImageRef, Turn, picture
from medmax_pipeline.sources.quilt_1m import IMAGE_NOT_NAMED, video_of
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

REPO: Final = "wisdomik/Quilt_VQA"
PAGE: Final = f"https://huggingface.co/datasets/{REPO}"
QUESTIONS: Final = "quiltvqa_test_w_ans.json"
WITHOUT_ANSWERS: Final = "quiltvqa_test_wo_ans.jsonl"
"""The twin: `question_id`, `image`, `text`."""
PARQUET: Final = "data/train-*.parquet"
QUESTION_KEYS: Final = ("question", "text")
"""The question's key in the Parquet copy, and in the JSON's twin without answers."""
ANSWER_TYPES: Final = ("OPEN", "CLOSED")
QUESTION_EMPTY: Final = "question_empty"
ANSWER_EMPTY: Final = "answer_empty"
NOT_YES_OR_NO: Final = "closed_answer_without_yes_or_no"
_LEADING_WORD = re.compile(r"(yes|no)\b", re.IGNORECASE)
ACCESS: Final = Access(
    kind="hub",
    page=PAGE,
    how="Accept the terms on its page and set a token.",
    repo=REPO,
    revision="main",
    gated=True,
)
LICENCE: Final = Licence(
    "CC-BY-NC-ND-3.0",
    PAGE,
    "2026-11-23, as the header of the publisher's page, stored, shows it; an agreement besides",
)


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the one JSON array; those without a question get that of the twin, as `text`, where it is there."""
    asked = {
        str(row.values.get("question_id")): row.values["text"]
        for name in files.names(WITHOUT_ANSWERS)
        for row in files.jsonl(name)
        if "text" in row.values
    }
    for row in files.json_array(QUESTIONS):
        number = str(row.values.get("id"))
        if number in asked and not any(key in row.values for key in QUESTION_KEYS):
            yield row._replace(values={**row.values, "text": asked[number]})
        else:
            yield row


def parquet_rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the Parquet copy, each with `place`, its number, since they have no id."""
    for name in files.names(PARQUET):
        for row in files.parquet(name):
            yield row if row.fault else row._replace(values={**row.values, "place": row.number})


def question_of(row: Mapping[str, Any]) -> str:
    """The question, under whichever key.

    Raises:
        RowError: it has neither.
    """
    found = [name for name in QUESTION_KEYS if name in row]
    if not found:
        need(row, QUESTION_KEYS[0])
    return clean(row[found[0]]).replace(IMAGE, "").strip()


def leading_word(sentence: str) -> str:
    """`yes` or `no` where a sentence opens with it; else empty."""
    found = _LEADING_WORD.match(sentence)
    return found.group(1).lower() if found else ""


def _draft(key: str, row: Mapping[str, Any], image: ImageRef, yes_no: str, sentence: str) -> Draft | Drop:
    """One question; `yes_no` is the answer of a closed one."""
    question, answer_type = question_of(row), _answer_type(row)
    answer = yes_no if answer_type == "CLOSED" else sentence
    if not question:
        return Drop(QUESTION_EMPTY, key)
    if not sentence:
        return Drop(ANSWER_EMPTY, key)
    if not answer:
        return Drop(NOT_YES_OR_NO, sentence[:80])
    if IMAGE in sentence:
        raise RowError(f"the answer holds {IMAGE}; expected text.")
    return Draft(
        key=key,
        split="eval",
        kind="vqa_closed" if answer_type == "CLOSED" else "vqa_open",
        turns=(Turn("user", f"{IMAGE}{question}"), Turn("assistant", answer)),
        images=(image,),
        answer=answer,
        answer_type=answer_type,
        modality="histology",
        context=sentence,
        extra=json.dumps({"video": video_of(image.member)}) if not image.file else "{}",
    )


def _answer_type(row: Mapping[str, Any]) -> str:
    found = clean(*need(row, "answer_type")).upper()
    if found not in ANSWER_TYPES:
        raise RowError(f"answer_type is {found!r}; expected one of {', '.join(ANSWER_TYPES)}.")
    return found


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question of the JSON with its answer.

    Raises:
        RowError: a key is missing, or a closed question says neither yes nor no.
    """
    number, name, answer = map(clean, need(row, "id", "image", "answer"))
    if not number:
        raise RowError("id is empty; expected a number.")
    yes_no = ""
    if _answer_type(row) == "CLOSED":
        yes_no = clean(*need(row, "yes_no_answer")).lower()
        if yes_no not in ("yes", "no"):
            raise RowError(f"yes_no_answer is {yes_no!r}; expected yes or no.")
    if not name:
        return Drop(IMAGE_NOT_NAMED, number)
    return _draft(number, row, picture(name), yes_no, answer)


def adapt_parquet(row: Mapping[str, Any]) -> Adapted:
    """One question of the Parquet copy with its answer.

    Raises:
        RowError: a column is missing, or the picture is not in the file.
    """
    image, answer, place = need(row, "image", "answer", "place")
    if image is None:
        return Drop(IMAGE_NOT_NAMED, clean(place))
    if not isinstance(image, ImageRef):
        raise RowError(f"image is {type(image).__name__}; expected a picture embedded in the file.")
    sentence = clean(answer)
    return _draft(f"parquet/{clean(place)}", row, image, leading_word(sentence), sentence)


SOURCE = Source(
    key="quilt_vqa",
    title="Quilt-VQA",
    access=ACCESS,
    licence=LICENCE,
    credentialed=False,
    files=(
        ExpectedFile(QUESTIONS, "all questions with answers, a JSON array", bytes=1_290_121),
        ExpectedFile(WITHOUT_ANSWERS, "its twin, one question a line", optional=True),
        ExpectedFile("quilt_vqa.zip", "the pictures", pictures=True, group="pictures", bytes=305_489_536),
        ExpectedFile("quilt_vqa/**", "the pictures, unpacked", pictures=True, group="pictures", by_hand=True),
    ),
    row_count=Count(1_283, "the publisher's card: 940 OPEN, 343 CLOSED"),
    image_count=Count(985, "the publisher's card"),
    split_rule="publisher's: all of it is a test set",
    splits=("eval",),
    rows=rows,
    adapt=adapt,
    example={
        "id": 7,
        "image": "AbCdEfGhIjK_roi_0000aaaa.jpg",
        "question": "Is the margin involved?",
        "answer": "Yes, the margin shows tumour cells.",
        "answer_type": "CLOSED",
        "yes_no_answer": "Yes",
    },
    variants={
        "parquet": Source(
            key="quilt_vqa",
            title="Quilt-VQA, Parquet copy",
            access=ACCESS,
            licence=LICENCE,
            credentialed=False,
            files=(ExpectedFile(PARQUET, "questions with their pictures", pictures=True),),
            row_count=Count(985, "the publisher's card"),
            image_count=Count(None, "not published; at most one a row"),
            split_rule="publisher's: all of it is a test set, although it is named train",
            splits=("eval",),
            rows=parquet_rows,
            adapt=adapt_parquet,
            example={
                "image": ImageRef("data/train-00000-of-00001-0000000000000000.parquet", "image/0"),
                "question": "Is the margin involved?",
                "answer": "Yes, the margin shows tumour cells.",
                "answer_type": "CLOSED",
                "context": "Here the narrator asks whether the margin is involved.",
                "place": 0,
            },
        )
    },
)
