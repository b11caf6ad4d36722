"""The sample's PMC-VQA folder: both versions, in the publisher's layout with the publisher's quirks.

The faults: labels that are a quotation mark, choices with a wrong letter, without letter or twice the same, answers
whose first letters are gone, `N/A` for an answer, the header `Anwser`, odd blanks, questions in quotation marks, an
answer that contradicts its label, a figure that no archive holds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Final

from medmax_pipeline.sample.layout import Tree, jpeg, zipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.questions import modality_choices

LETTERS: Final = "ABCD"
FIRST_ARTICLE: Final = 9_800_000
UNSTAINED: Final = ("CT", "MRI", "ultrasound", "radiograph")
QUESTION: Final = "What imaging modality is shown?"

Row = dict[str, str]


def pmc_vqa(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree = Tree("pmc_vqa")
    figures: dict[str, bytes] = {}
    tables: dict[str, list[Row]] = {
        name: [] for name in ("train.csv", "test.csv", "test_clean.csv", "train_2.csv", "test_2.csv")
    }
    panels: dict[str, bytes] = {}
    for place, picture in enumerate(pictures):
        name, data = f"PMC{FIRST_ARTICLE + place}_Fig1_HTML.jpg", jpeg(picture.image())
        figures[f"images/figures/{name}"] = data
        tree.place(picture, data, "images.zip", member=f"images/figures/{name}")
        first, second = ("train.csv", "train_2.csv") if picture.split == "train" else ("test_clean.csv", "test_2.csv")
        tables[first] += _figure_rows(name, picture, place)
        panel = f"PMC{FIRST_ARTICLE + place}_Fig1_{place}.jpg"
        panels[f"figures/{panel}"] = data
        tables[second].append(_panel_row(panel, picture, place))
    if pictures and pictures[0].split == "train":
        tables["train.csv"] += _faulty(tables["train.csv"][0])
    tables["test.csv"] = [dict(row) for row in tables["test_clean.csv"]]
    tables["test_clean.csv"] = [
        {"Anwser" if key == "Answer" else key: value for key, value in row.items()} for row in tables["test_clean.csv"]
    ]
    tree.files |= {name: _csv(rows) for name, rows in tables.items()}
    tree.files |= {"images.zip": zipped(figures), "images_2.zip": zipped(panels)}
    return tree


def _figure_rows(name: str, picture: Picture, place: int) -> list[Row]:
    """Rows of the first version: the answer as text, its letter beside it."""
    options = modality_choices(picture, place)
    answer = f" {picture.modality} "
    question = (QUESTION, f' "{QUESTION}" ', f"\u200a{QUESTION.replace(' ', chr(0xA0), 1)} ")[place % 3]
    label = '"' if place % 3 == 1 else LETTERS[place % 4]
    rows = [_row(name, question, answer, options, label)]
    if picture.modality in UNSTAINED:
        stains = ["H&E", "IHC", "N/A", "PAS"]
        rows.append(_row(name, "Which stain was used?", "N/A", stains, "C"))
    return rows


def _row(name: str, question: str, answer: str, options: Sequence[str], label: str) -> Row:
    choices = {f"Choice {letter}": f" {letter}:{option} " for letter, option in zip(LETTERS, options, strict=True)}
    return {"Figure_path": name, "Question": question, "Answer": answer, **choices, "Answer_label": label}


def _panel_row(name: str, picture: Picture, place: int) -> Row:
    """A row of the second version: the answer is the letter."""
    options = modality_choices(picture, place)
    return {
        "index": str(place),
        "Figure_path": name,
        "Caption": f"Example of {picture.modality}.",
        "Question": QUESTION,
        **{f"Choice {letter}": f" {letter}: {option} " for letter, option in zip(LETTERS, options, strict=True)},
        "Answer": LETTERS[place % 4],
        "split": picture.split.replace("eval", "test"),
    }


def _faulty(whole: Row) -> list[Row]:
    """The first row again with the faults that real ones have; what is right is choice A."""
    right = whole["Answer"].strip()
    return [
        {**whole, "Question": "What is the modality?", "Answer": f"V:{right[1:]}"},
        {**whole, "Choice B": whole["Choice B"].replace(" B:", " C:")},
        {**whole, "Choice C": whole["Choice C"].replace(" C:", " ")},
        {**whole, "Choice D": whole["Choice B"].replace(" B:", " D:")},
        {**whole, "Choice D": " D: "},
        {**whole, "Answer": "colour film", "Answer_label": '"'},
        {**whole, "Answer_label": "B"},
        {**whole, "Question": " "},
        {**whole, "Figure_path": "PMC9899999_Fig9_HTML.jpg"},
        dict(whole),
    ]


def _csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else ["Figure_path"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


LAYOUT = Layout("pmc_vqa", lambda pool: pmc_vqa(pool.own), train=6, held_out=4)
