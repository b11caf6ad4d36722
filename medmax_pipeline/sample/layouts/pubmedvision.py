"""The sample's PubMedVision folder, in the publisher's layout with the publisher's quirks.

Both files of questions ask about the same figures: equal numbers in their ids. The faults: a row of two pictures, one
whose picture no archive holds, one without modality and body part, one that names its picture in a string, a chat with
an empty reply, and archives whose members lie below different folders, since the publisher's are unpacked without them.
Planted for curation: charts, with a caption and a chat each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medmax_pipeline.sample.charts import PLANTED, chart, chart_caption
from medmax_pipeline.sample.layout import Tree, jpeg, zipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.layouts.pmc_oa import caption
from medmax_pipeline.sample.pictures import Picture

ALIGNMENT: Final = "PubMedVision_Alignment_VQA.json"
INSTRUCTION: Final = "PubMedVision_InstructionTuning_VQA.json"
FIRST_FIGURE: Final = 900
FIRST_CHART: Final = 950
CHARTS: Final = 4
CHARTS_FROM: Final = PLANTED + 100
"""Number of the first chart: not those of PMC-OA."""
ABSENT: Final = "pmc_9_0.jpg"
FOLDERS: Final[Mapping[str, str]] = {"images_0.zip": "images", "images_1.zip": "mnt/figures/images_1"}
WORDS: Final[Mapping[str, str]] = {
    "CT": "Computed Tomography",
    "MRI": "Magnetic Resonance Imaging",
    "ultrasound": "Ultrasound",
    "radiograph": "X-ray Imaging",
    "histology": "Microscopy Images",
    "fundus photograph": "Fundus Photography",
    "nuclear medicine": "Nuclear Medicine",
    "phase microscopy": "Microscopy Images",
    "chart": "Others",
}
"""Modalities in the manner of the publisher's labels."""


def pubmedvision(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree = Tree("pubmedvision")
    archives: dict[str, dict[str, bytes]] = {name: {} for name in FOLDERS}
    described: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    names = []
    for place, picture in enumerate(pictures):
        archive = list(FOLDERS)[place % len(FOLDERS)]
        names.append(f"pmc_{FIRST_FIGURE + place}_0.jpg")
        member = f"{FOLDERS[archive]}/{names[-1]}"
        archives[archive][member] = jpeg(picture.image())
        tree.place(picture, archives[archive][member], archive, member=member)
        described.append(_described(FIRST_FIGURE + place, names[-1:], picture, place))
        asked.append(_asked(FIRST_FIGURE + place, names[-1:], picture))
    if pictures:
        _faulty(described, asked, names, pictures[0])
        _plant_charts(tree, archives, described, asked)
    tree.files |= {name: zipped(members) for name, members in archives.items()}
    for name, rows in ((ALIGNMENT, described), (INSTRUCTION, asked)):
        tree.files[name] = (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()
    return tree


def _described(figure: int, names: Sequence[str], picture: Picture, place: int) -> dict[str, Any]:
    return _row(f"Alignment_VQA_{figure}", names, "Describe the image.", caption(picture, place), picture)


def _asked(figure: int, names: Sequence[str], picture: Picture) -> dict[str, Any]:
    reply = f"The figure shows {picture.modality}."
    return _row(f"Instruction-Tuning_{figure}", names, "What kind of image is this?", reply, picture)


def _row(key: str, names: Sequence[str], question: str, reply: str, picture: Picture) -> dict[str, Any]:
    return {
        "id": key,
        "image": [f"images/{name}" for name in names],
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": reply}],
        "modality": WORDS[picture.modality],
        "body_part": picture.body_part.capitalize(),
    }


def _faulty(
    described: list[dict[str, Any]], asked: list[dict[str, Any]], names: Sequence[str], picture: Picture
) -> None:
    """Rows with the quirks and faults that real ones have, at the end of both files."""
    several, absent, bare, text, silent = range(FIRST_FIGURE + len(names), FIRST_FIGURE + len(names) + 5)
    two = [names[0], names[-1]]
    described.append(
        _row(f"Alignment_VQA_{several}", two, "Describe the images.", "Two medical images.", picture),
    )
    asked.append(
        _row(f"Instruction-Tuning_{several}", two, "How many images are there?", "There are two.", picture),
    )
    described.append(_described(absent, [ABSENT], picture, 0))
    asked.append(_asked(absent, [ABSENT], picture))
    older = _described(bare, names[:1], picture, 1)
    del older["modality"], older["body_part"]
    described.append(older)
    asked.append({**_asked(text, [], picture), "image": f"images/{names[0]}"})
    asked.append(_row(f"Instruction-Tuning_{silent}", names[:1], "What is shown?", " ", picture))


def _plant_charts(
    tree: Tree, archives: Mapping[str, dict[str, bytes]], described: list[dict[str, Any]], asked: list[dict[str, Any]]
) -> None:
    archive = next(iter(FOLDERS))
    for place in range(CHARTS):
        picture, figure = chart(CHARTS_FROM + place), FIRST_CHART + place
        name = f"pmc_{figure}_0.jpg"
        member = f"{FOLDERS[archive]}/{name}"
        archives[archive][member] = jpeg(picture.image())
        tree.place(picture, archives[archive][member], archive, member=member, planted="chart")
        text = chart_caption(CHARTS_FROM + place)
        described.append(_row(f"Alignment_VQA_{figure}", [name], "Describe the image.", text, picture))
        asked.append(_asked(figure, [name], picture))


LAYOUT = Layout("pubmedvision", lambda pool: pubmedvision(pool.of("train")), train=6)
