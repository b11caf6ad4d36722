"""ProbMed: yes-or-no questions in pairs, a true one and an invented one, on radiographs, CT and MRI (gated hub).

Quirks of the upstream, each met below: a pair is known by its rows' order alone, so the place in the file is part of
the key; a question may hold `<image>` and ends in "(please answer yes/no)", which stays; `qa_type` is spelt with and
without its ending (`modality_gt` or `modality`, `entity_hallu_3` or `entity_3`) and the official scorer looks for parts
of the word; `image` is relative to the picture folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Turn, picture
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

QUESTIONS: Final = "test.json"
QUESTION_EMPTY: Final = "question_empty"
ANSWER_NOT_YES_NO: Final = "answer_not_yes_no"
IMAGE_NOT_NAMED: Final = "image_not_named"
MODALITIES: Final[Mapping[str, str]] = MappingProxyType({"x-ray": "radiograph", "ct": "CT", "mri": "MRI"})
"""First words of `image_type` in lower case, in the words of this project."""


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the one JSON array, with their `position` in it."""
    for row in files.json_array(QUESTIONS):
        yield row if row.fault else row._replace(values={**row.values, "position": row.number})


def topic_of(qa_type: str) -> str:
    """What a question is about, by the official scorer's rule: parts of the word decide."""
    if "modality" in qa_type or "body_part" in qa_type:
        return "modality" if "modality" in qa_type else "body_part"
    if qa_type == "abnormality":
        return qa_type
    return "entity" if "entity" in qa_type else "grounding"


def is_true_question(qa_type: str) -> bool | None:
    """Whether a question asks for what is there, not for what was made up; None where only its place can tell."""
    if "gt" in qa_type:
        return True
    told = "hallu" in qa_type or topic_of(qa_type) in ("entity", "grounding")
    return False if told else None


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question.

    Raises:
        RowError: a key is missing, or the position is no number.
    """
    position, given, image, qa_type = need(row, "position", "id", "image", "qa_type")
    question, answer = need(row, "question", "answer")
    if not isinstance(position, int) or position < 0:
        raise RowError(f"position is {position!r}; expected the row's place in the file.")
    key = f"{position:06d}/{clean(given)}"
    text, name, said = clean(clean(question).replace(IMAGE, " ")), clean(image), clean(answer).lower().rstrip(".")
    if not text:
        return Drop(QUESTION_EMPTY, key)
    if not name:
        return Drop(IMAGE_NOT_NAMED, key)
    if said not in ("yes", "no"):
        return Drop(ANSWER_NOT_YES_NO, f"{key}: {said[:80]}")
    kind, shown = clean(qa_type), clean(row.get("image_type"))
    first = shown.partition(" - ")[0].strip()
    extra = {
        "position": position,
        "id": clean(given),
        "qa_type": kind,
        "topic": topic_of(kind),
        "true_question": is_true_question(kind),
        "image_type": shown,
        "src_dataset": clean(row.get("src_dataset")),
    }
    return Draft(
        key=key,
        split="eval",
        kind="vqa_closed",
        turns=(Turn("user", f"{IMAGE}{text}"), Turn("assistant", said)),
        images=(picture(name.removeprefix("./")),),
        answer=said,
        answer_type=kind,
        modality=MODALITIES.get(first.lower(), first),
        extra=json.dumps(extra),
    )


SOURCE = Source(
    key="probmed",
    title="ProbMed",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/rippleripple/ProbMed",
        how="Accept the conditions on the page (granted at once) and give a token of that account.",
        repo="rippleripple/ProbMed",
        revision="main",
        gated=True,
    ),
    licence=Licence("MIT", "https://huggingface.co/datasets/rippleripple/ProbMed", "2026-11-23, on the card"),
    credentialed=False,
    files=(
        ExpectedFile(QUESTIONS, "id, image, image_type, qa_type, question, answer: a JSON array"),
        ExpectedFile("probmed/**", "the pictures", pictures=True, group="pictures"),
        ExpectedFile("probmed.zip", "the same, packed", pictures=True, group="pictures"),
    ),
    row_count=Count(57_132, "publisher: 28,003 yes and 29,129 no"),
    image_count=Count(6_303, "publisher"),
    split_rule="all of it is eval",
    splits=("eval",),
    rows=rows,
    adapt=adapt,
    example={
        "id": "123",
        "i": 0,
        "image": "chest/xray/00000001_000.png",
        "image_type": "X-ray - Chest",
        "qa_type": "modality_gt",
        "question": "Is this an X-ray image? (please answer yes/no)",
        "answer": "yes",
        "src_dataset": "ChestX-ray14",
        "position": 0,
    },
)
