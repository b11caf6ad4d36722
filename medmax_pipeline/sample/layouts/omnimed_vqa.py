"""The sample's OmniMedVQA folder: one archive of pictures and questions, with the publisher's quirks.

Paths are searched so that the source's own hold-out rule puts each picture on the side where it belongs. The faults:
questions of two choices, a row with `modality`, paths with blanks and parentheses, a repeated choice, answers with a
final dot or in other case, an answer that is no choice, a missing picture, and a restricted set without pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from medmax_pipeline.sample.layout import Tree, png, zipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.questions import modality_choices
from medmax_pipeline.sources.omnimed_vqa import split_of

ARCHIVE: Final = "OmniMedVQA.zip"
ROOT: Final = "OmniMedVQA"
OPEN: Final = "QA_information/Open-access/Sample Set.json"
SMALL: Final = "QA_information/Open-access/Small Set.json"
RESTRICTED: Final = "QA_information/Restricted-access/Locked Set.json"
LETTERS: Final = "ABCD"


def omnimed_vqa(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree = Tree("omnimed_vqa")
    members: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    small: list[dict[str, Any]] = []
    for place, picture in enumerate(pictures):
        path, data = path_of(picture, place), png(picture.image())
        members[f"{ROOT}/{path}"] = data
        tree.place(picture, data, ARCHIVE, member=f"{ROOT}/{path}")
        options = modality_choices(picture, place)
        answer = (picture.modality, f"{picture.modality}.", picture.modality.swapcase())[place % 3]
        question = "What imaging technique was used?"
        rows.append(_row("Sample Set", len(rows), question, answer, options, path, picture.modality))
        colour = picture.image().mode
        answer = "Yes" if colour == "RGB" else "No"
        question = "Is the image stored with three colour channels?"
        small.append(_row("Small Set", len(small), question, answer, ["Yes", "No"], path, picture.modality))
    if rows:
        rows += _faulty(rows[0], len(rows))
    locked = [_row("Locked Set", 0, "What is shown?", "CT", ["CT", "MRI"], "Images/Locked Set/1.png", "CT")]
    for name, table in ((OPEN, rows), (SMALL, small), (RESTRICTED, locked)):
        members[f"{ROOT}/{name}"] = (json.dumps(table, indent=4, ensure_ascii=False) + "\n").encode()
    tree.files[ARCHIVE] = zipped(members)
    return tree


def path_of(picture: Picture, place: int) -> str:
    """A path with blanks and parentheses that the hold-out rule puts on the picture's side."""
    number = 0
    while True:
        number += 1
        path = f"Images/Sample Set/test/view {place}/{number} ({place}).png"
        if split_of(path) == picture.split:
            return path


def _row(
    dataset: str, number: int, question: str, answer: str, options: Sequence[str], path: str, modality: str
) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "question_id": f"{dataset}_{number:04d}",
        "question_type": "Modality Recognition",
        "question": question,
        "gt_answer": answer,
        "image_path": path,
        **{f"option_{letter}": option for letter, option in zip(LETTERS, options, strict=False)},
        "modality_type": modality,
    }


def _faulty(whole: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """The first row again with quirks and faults that real ones have."""
    renamed = {"modality" if key == "modality_type" else key: value for key, value in whole.items()}
    changed: list[dict[str, Any]] = [
        {**renamed, "question": "Which technique made this image?"},
        {**whole, "question": "What was the image taken with?", "option_D": whole["gt_answer"]},
        {**whole, "gt_answer": "A colour film"},
        {**whole, "option_B": ""},
        {**whole, "image_path": "Images/Sample Set/test/lost/1 (1).png"},
    ]
    return [{**row, "question_id": f"Sample Set_{number + place:04d}"} for place, row in enumerate(changed)]


LAYOUT = Layout("omnimed_vqa", lambda pool: omnimed_vqa(pool.own), train=6, held_out=4)
