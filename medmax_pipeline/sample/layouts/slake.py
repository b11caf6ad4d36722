"""The sample's SLAKE folder, in the publisher's layout with the publisher's quirks.

Every picture is asked about in English on its own side and in Chinese on the other one, as the publisher's splits do.
The faults: an empty answer, closed questions answered with a choice, both spellings of the validation file, doubled
blanks, keys in changing order, a picture that no archive holds, one that cannot be decoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from PIL import Image

from medmax_pipeline.sample.layout import Tree, jpeg, png, zipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.pictures import Picture

ARCHIVE: Final = "imgs.zip"
VALIDATION: Final = ("validation.json", "validate.json")
"""The hub's name and the original archive's; a real folder has one of them."""
WORDS: Final[Mapping[str, str]] = {"radiograph": "X-Ray"}
"""The publisher's word where it is not ours."""
BROKEN: Final = 640
ABSENT: Final = 641

Rows = list[dict[str, Any]]


def slake(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree = Tree("slake")
    members: dict[str, bytes] = {}
    files: dict[str, Rows] = {name: [] for name in ("train.json", *VALIDATION, "test.json")}
    for number, picture in enumerate(pictures):
        data = jpeg(picture.image())
        _add_folder(members, number, data, picture)
        tree.place(picture, data, ARCHIVE, member=f"imgs/xmlab{number}/source.jpg")
        own, other = ("train.json", "test.json") if picture.split == "train" else ("test.json", "train.json")
        files[own] += _english(number, picture)
        files[other].append(
            _row(
                number,
                picture,
                "这张图像的成像模态是什么？",
                WORDS.get(picture.modality, picture.modality),
                q_lang="zh",
            )
        )
    trained = [(number, picture) for number, picture in enumerate(pictures) if picture.split == "train"]
    if trained:
        _faulty(files, members, *trained[0])
    for qid, row in enumerate(row for rows in files.values() for row in rows):
        row["qid"] = qid
    tree.files[ARCHIVE] = zipped(members)
    for name, rows in files.items():
        text = json.dumps([_shuffled(row) for row in rows], indent=1, ensure_ascii=False)
        tree.files[name] = f"{text}\n".encode()
    return tree


def _add_folder(members: dict[str, bytes], number: int, data: bytes, picture: Picture) -> None:
    """The four files of one picture's folder."""
    folder = f"imgs/xmlab{number}"
    members[f"{folder}/source.jpg"] = data
    members[f"{folder}/mask.png"] = png(Image.new("L", (picture.width, picture.height)))
    members[f"{folder}/detection.json"] = b"[]\n"
    members[f"{folder}/question.json"] = b"[]\n"


def _english(number: int, picture: Picture) -> Rows:
    modality = WORDS.get(picture.modality, picture.modality)
    rows = [
        _row(number, picture, "What modality is used to take this image?", modality),
        _row(number, picture, f"Is this a {modality}  image?", "Yes", answer_type="CLOSED"),
        _row(number, picture, "Is this image a drawing? ", "No", answer_type="CLOSED"),
    ]
    if picture.body_part:
        part = picture.body_part.capitalize()
        question = f"Which is shown, the {picture.body_part} or the hand?"
        rows.append(_row(number, picture, question, part, answer_type="CLOSED", content_type="Organ"))
    if picture.plane:
        answer = f"{picture.plane.capitalize()}  view"
        rows.append(_row(number, picture, "What is the scanning plane of this image?", answer, content_type="Plane"))
    return rows


def _faulty(files: Mapping[str, Rows], members: dict[str, bytes], number: int, picture: Picture) -> None:
    train = files["train.json"]
    train.append(_row(number, picture, "What is the main organ in the image?", ""))
    for language, name in zip(("en", "zh"), VALIDATION, strict=True):
        files[name].append(_row(number, picture, "What modality is shown?", picture.modality, q_lang=language))
    whole = members[f"imgs/xmlab{number}/source.jpg"]
    members[f"imgs/xmlab{BROKEN}/source.jpg"] = whole[: len(whole) // 3]
    train += [_row(lost, picture, "What modality is shown?", picture.modality) for lost in (BROKEN, ABSENT)]


def _row(number: int, picture: Picture, question: str, answer: str, **changes: str) -> dict[str, Any]:
    row = {
        "img_id": number,
        "img_name": f"xmlab{number}/source.jpg",
        "question": question,
        "answer": answer,
        "q_lang": "en",
        "location": picture.body_part.capitalize(),
        "modality": WORDS.get(picture.modality, picture.modality),
        "answer_type": "OPEN",
        "base_type": "vqa",
        "content_type": "Modality",
        "triple": ["vhead", "_", "_"],
    }
    return row | changes


def _shuffled(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same row; every other one with its keys in reverse."""
    return dict(reversed(list(row.items()))) if row["qid"] % 2 else dict(row)


LAYOUT = Layout("slake", lambda pool: slake(pool.own), train=6, held_out=4)
