"""The sample's PathMMU folder, in the publisher's layout with the publisher's quirks.

Slides of one held-out file, asked for what their record says. The faults: numbers that repeat over categories and
splits, options with a bracket inside and three of them, answers that are none of the options, a category whose pictures
are in no archive, a member without a row, rows of splits that are no evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.sample.layout import Tree, jpeg, zipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.pictures import Picture

QUESTIONS: Final = "data.json"
ARCHIVE: Final = "images.zip"
CATEGORIES: Final = ("PubMed", "SocialPath", "Atlas", "EduContent", "PathCLS")
SPLITS: Final = ("train", "val", "test", "test_tiny")
LETTERS: Final = "ABCDE"
ORGANS: Final = ("skin", "kidney", "lung", "bone marrow")

Data = dict[str, dict[str, list[dict[str, Any]]]]


def path_mmu(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures; those that show no tissue are left out."""
    tree = Tree("path_mmu")
    data: Data = {category: {split: [] for split in SPLITS} for category in CATEGORIES}
    members: dict[str, bytes] = {}
    slides = [picture for picture in pictures if picture.modality == "histology" and picture.body_part]
    names = []
    for picture in slides:
        file = jpeg(picture.image())
        names.append(f"{sha256_bytes(file)}.jpg")
        members[f"images/{names[-1]}"] = file
        tree.place(picture, file, ARCHIVE, member=f"images/{names[-1]}")
    for place, (picture, name) in enumerate(zip(slides, names, strict=True)):
        for list_, row in zip((data["PubMed"], data["EduContent"]), _rows(picture, name, place), strict=True):
            _add(list_["test_tiny" if place % 2 else "test"], row)
    if slides:
        _faulty(data, slides[0], names[0])
        members["images/" + "0" * 64 + ".jpg"] = jpeg(slides[0].image().resize((90, 90)))
    tree.files[QUESTIONS] = (json.dumps(data, indent=1) + "\n").encode()
    tree.files[ARCHIVE] = zipped(members)
    return tree


def _add(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Append a row under the next number of its list."""
    rows.append({"No": len(rows) + 1, **row})


def _rows(picture: Picture, name: str, place: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Which organ, of four or three options; and which method, with a bracket inside the options."""
    organs = [*ORGANS[: 2 + place % 2], picture.body_part.capitalize()]
    return (
        _row(name, "Which organ is this section of?", organs, len(organs) - 1),
        _row(name, "What is shown?", ["A scan (CT)", "A section (microscopy)", "A drawing", "A chart 1) 2)"], 1),
    )


def _row(name: str, question: str, options: Sequence[str], right: int) -> dict[str, Any]:
    lettered = [f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return {
        "img": name,
        "question": question,
        "options": lettered,
        "answer": lettered[right],
        "explanation": f"The record of the picture says: {options[right]}.",
    }


def _faulty(data: Data, picture: Picture, name: str) -> None:
    """Rows with the faults that the real file has."""
    row, other = _rows(picture, name, 1)
    _add(data["PubMed"]["test"], {**row, "answer": "E) Brain"})
    _add(data["PubMed"]["test"], {**row, "question": "Of which organ?", "answer": "Tongue"})
    lost = {"img": "f" * 64 + ".jpg", "tw_id": 1234567890, "img_position": 0, "ref_web": "https://example.org/1"}
    _add(data["SocialPath"]["test"], {**other, **lost})
    _add(data["Atlas"]["test_tiny"], {**other, "img": "e" * 64 + ".jpg", "source_img": "books_set/0001.png"})
    _add(data["PathCLS"]["train"], {**other, "img": "d" * 64 + ".jpg", "source_img": "NCT/0001.tif"})
    _add(data["EduContent"]["val"], {**row, "img": "c" * 64 + ".jpg"})


LAYOUT = Layout("path_mmu", lambda pool: path_mmu(pool.of("eval")), held_out=24)
