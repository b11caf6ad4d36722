"""The sample's ProbMed folder, in the publisher's layout with the publisher's quirks.

Every picture is asked in pairs, the true question before the invented one. The faults: both spellings of `qa_type`, the
picture's mark inside some questions, ids that repeat, numbers for ids, an answer in capitals, a row without its
picture, a picture without a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medmax_pipeline.records import IMAGE
from medmax_pipeline.sample.layout import Tree, png
from medmax_pipeline.sample.layouts import Layout, spread
from medmax_pipeline.sample.pictures import Picture

QUESTIONS: Final = "test.json"
FOLDER: Final = "probmed"
MODALITIES: Final[Mapping[str, str]] = {"radiograph": "X-ray", "CT": "CT", "MRI": "MRI"}
"""The publisher's words."""
PARTS: Final = ("abdomen", "brain", "chest", "spine")
PICTURES: Final = 6
DEMAND: Final = "(please answer yes/no)"

Rows = list[dict[str, Any]]


def probmed(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures; of other modalities than the publisher's none."""
    tree = Tree("probmed")
    rows: Rows = []
    shown = [picture for picture in pictures if picture.modality in MODALITIES and picture.body_part]
    for number, picture in enumerate(spread(shown, PICTURES)):
        name = f"{picture.body_part}/{MODALITIES[picture.modality].lower()}/{number:08d}_000.png"
        tree.place(picture, png(picture.image()), f"{FOLDER}/{name}")
        rows += _pairs(number, picture, name)
    if rows:
        rows.append({**rows[0], "id": "999", "image": "chest/x-ray/99999999_000.png"})
        tree.files[f"{FOLDER}/chest/x-ray/unasked.png"] = png(shown[0].image().resize((70, 70)))
    for place, row in enumerate(rows):
        row["i"] = place
    tree.files[QUESTIONS] = (json.dumps(rows, indent=1) + "\n").encode()
    return tree


def _pairs(number: int, picture: Picture, name: str) -> Rows:
    """Modality, body part, entity and grounding, each true question followed by the invented one."""
    word = MODALITIES[picture.modality]
    other = next(each for each in MODALITIES.values() if each != word)
    part = next(each for each in PARTS if each not in (picture.body_part, "brain"))
    wide = picture.image().width >= picture.image().height
    pairs = (
        ("modality", f"Is this an image taken with {word}?", f"Is this an image taken with {other}?"),
        ("body_part", f"Does this show the {picture.body_part}?", f"Does this show the {part}?"),
        ("entity", "Is there a picture in this file?", "Is there a bicycle in this image?"),
        ("grounding", f"Is it {_shape(wide)}?", f"Is it {_shape(not wide)}?"),
    )
    plain = number % 2 == 1
    rows = []
    for index, (topic, true, invented) in enumerate(pairs):
        end = f"_{number}" if topic in ("entity", "grounding") else ""
        for right, question in ((True, true), (False, invented)):
            spelt = topic if plain and not end else f"{topic}_{'gt' if right else 'hallu'}"
            spelt = topic if plain and not right else spelt
            said = f"{question}\n{IMAGE} {DEMAND}" if index == number % 4 else f"{question} {DEMAND}"
            rows.append(
                {
                    "id": number if plain else str(number),
                    "image": name,
                    "image_type": f"{word} - {picture.body_part.capitalize()}",
                    "qa_type": f"{spelt}{end}",
                    "question": said,
                    "answer": ("Yes" if number == 2 else "yes") if right else "no",
                    "src_dataset": "sample",
                }
            )
    return rows


def _shape(wide: bool) -> str:
    return "as wide as high, or wider" if wide else "higher than wide"


LAYOUT = Layout("probmed", lambda pool: probmed(pool.of("eval")), held_out=20)
