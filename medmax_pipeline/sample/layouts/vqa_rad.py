"""The sample's VQA-RAD folder, in the publisher's layout with the publisher's quirks.

Rows, file names and faults are made here; what is asked is in `questions.py`. The faults: a truncated JPEG, text named
`.jpg`, a row without its picture, a picture without a row, a repeated qid, integer answers, blanks and tabs at the
end, `"CLOSED "`, yes and no in any case, questions that end in "? -open", and training questions on test pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from PIL import Image, ImageChops, ImageStat

from medmax_pipeline.records import Split
from medmax_pipeline.sample.layout import Tree, jpeg
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.questions import (
    Question,
    colour_questions,
    modality_questions,
    open_questions,
    organ_questions,
)
from medmax_pipeline.sample.variants import variants

QUESTIONS_FILE: Final = "VQA_RAD Dataset Public.json"
PICTURES_FOLDER: Final = "VQA_RAD Image Folder"
FIRST_NUMBER: Final = 10_000
NUMBER_STEP: Final = 31
"""Picture numbers are five digits with gaps, as the publisher's are."""
ABSENT: Final = "synpic99901.jpg"
TRUNCATED: Final = "synpic99902.jpg"
NOT_A_PICTURE: Final = "synpic99903.jpg"
UNASKED: Final = "synpic99904.jpg"
VARIANTS: Final = 5
"""Other views of each training picture. Ours, measured: without them the tiny model learns the pictures by heart."""
SHARED_TEST_PICTURES: Final = 6
"""Test pictures that also get a training question: the publisher splits by question."""
COLOUR_SPREAD: Final = 12.0
"""Mean difference of a pixel's highest and lowest channel from which a picture counts as coloured. Ours."""
ORGAN_WORDS: Final[Mapping[str, str]] = {"head": "HEAD", "chest": "CHEST", "abdomen": "ABD"}
"""The publisher's three words; other body parts are written out."""


def vqa_rad(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree = Tree("vqa_rad")
    train = [picture for picture in pictures if picture.split == "train"]
    test = [picture for picture in pictures if picture.split == "eval"]
    views = [variant for picture in train for variant in variants(picture, VARIANTS)]
    coloured = {picture.name: is_coloured(picture.image()) for picture in pictures}
    asked = {False: _questions(train, views, coloured, "train"), True: _questions(test, (), coloured, "eval")}
    used = {question.picture.name for questions in asked.values() for question in questions}
    shown = [*pictures, *(view for view in views if view.name in used)]
    names = {picture.name: f"synpic{FIRST_NUMBER + place * NUMBER_STEP:05d}.jpg" for place, picture in enumerate(shown)}
    for picture in shown:
        tree.place(picture, jpeg(picture.image()), f"{PICTURES_FOLDER}/{names[picture.name]}")
    rows: list[dict[str, Any]] = []
    for is_test, questions in asked.items():
        for place, question in enumerate(questions):
            rows.append(_row(len(rows), question, names[question.picture.name], is_test, place))
    rows += _leaks(test, names, len(rows))
    rows += _faulty(tree, rows, pictures)
    text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    tree.files[QUESTIONS_FILE] = text.encode()
    return tree


def is_coloured(image: Image.Image) -> bool:
    """Whether the pixels are visibly coloured, not merely stored as RGB."""
    if image.mode == "L":
        return False
    red, green, blue = image.convert("RGB").split()
    highest = ImageChops.lighter(red, ImageChops.lighter(green, blue))
    lowest = ImageChops.darker(red, ImageChops.darker(green, blue))
    return ImageStat.Stat(ImageChops.subtract(highest, lowest)).mean[0] > COLOUR_SPREAD


def _questions(
    pictures: Sequence[Picture], views: Sequence[Picture], coloured: Mapping[str, bool], split: Split
) -> list[Question]:
    """Questions on pictures; their other views are asked for the modality alone."""
    seed = 100 if split == "train" else 200
    every = [*pictures, *views]
    questions = modality_questions(every, 0, seed)
    questions += modality_questions(every[::2] if split == "train" else every, 1, seed + 50)
    questions += colour_questions(pictures, lambda picture: coloured[picture.name], 6)
    questions += organ_questions(pictures, 4, seed + 99)
    return questions + open_questions(pictures, 3 if split == "train" else 4)


def _row(number: int, question: Question, image_name: str, test: bool, place: int) -> dict[str, Any]:
    answer: str | int = question.answer
    text, answer_type = question.text, "CLOSED" if question.closed else "OPEN"
    if question.closed:
        answer = (str(answer).capitalize(), str(answer), str(answer).capitalize(), f"{answer} ", f"{answer}\t")[
            place % 5
        ]
        answer_type = "CLOSED " if place % 7 == 3 else answer_type
    elif place % 6 == 1:
        text += " -open" if place % 12 == 1 else " - open"
    if place % 9 == 4:
        text += " \t" if place % 2 else "  "
    phrase = "para" if question.paraphrase else "freeform"
    part = question.picture.body_part
    return {
        "qid": number if place % 11 == 5 else str(number),
        "phrase_type": f"test_{phrase}" if test else phrase,
        "qid_linked_id": f"{number // 2:05d}SYN",
        "image_case_url": f"https://example.org/sample/{question.picture.group}",
        "image_name": image_name,
        "image_organ": ORGAN_WORDS.get(part, part.upper()),
        "evaluation": "evaluated" if place % 3 else "not evaluated",
        "question": text,
        "question_rephrase": "NULL",
        "question_relation": "NULL",
        "question_frame": "NULL",
        "question_type": f"{question.kind}, PRES" if place % 13 == 6 else question.kind,
        "answer": answer,
        "answer_type": answer_type,
    }


def _leaks(test: Sequence[Picture], names: Mapping[str, str], start: int) -> list[dict[str, Any]]:
    """Training questions on test pictures."""
    shared = test[:: max(1, len(test) // SHARED_TEST_PICTURES)][:SHARED_TEST_PICTURES]
    questions = [
        Question(picture, "What imaging modality is this?", picture.modality, False, "MODALITY") for picture in shared
    ]
    return [
        _row(start + place, question, names[question.picture.name], False, 2)
        for place, question in enumerate(questions)
    ]


def _faulty(tree: Tree, rows: Sequence[dict[str, Any]], pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Files and rows with the faults that real copies have."""
    if not pictures:
        return []
    whole = tree.files[f"{PICTURES_FOLDER}/synpic{FIRST_NUMBER:05d}.jpg"]
    tree.files[f"{PICTURES_FOLDER}/{TRUNCATED}"] = whole[: len(whole) // 3]
    tree.files[f"{PICTURES_FOLDER}/{NOT_A_PICTURE}"] = b"<html><body>404 Not Found</body></html>\n"
    smaller = pictures[0].image().resize((200, 200))
    tree.place(pictures[0], jpeg(smaller), f"{PICTURES_FOLDER}/{UNASKED}")
    model = next(row for row in rows if not str(row["phrase_type"]).startswith("test_"))
    faulty = [
        {**model, "qid": str(len(rows) + place), "image_name": name}
        for place, name in enumerate((ABSENT, TRUNCATED, NOT_A_PICTURE))
    ]
    again = {"question": "What kind of image is this?", "answer": pictures[0].modality, "answer_type": "OPEN"}
    return [*faulty, {**model, **again}]


LAYOUT = Layout("vqa_rad", lambda pool: vqa_rad(pool.own))
