"""The sample's Quilt-1M folder: the table and two archives of resized pictures, and names for all frames of videos.

Of its pictures the histology ones are shown, and one other that the table flags `not_histology`. The faults: a picture
with two captions, a repeated row, empty and `nan` captions, a caption `N/A`, captions with commas, quotes and line
breaks, list columns that are lists, empty, `nan` or plain words, a row without its picture, a picture without a row,
a torn picture, and a PNG called `.jpg`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.sample.layout import Tree, jpeg, png, zipped
from medmax_pipeline.sample.layouts import Layout, Pool
from medmax_pipeline.sample.layouts.pmc_oa import caption
from medmax_pipeline.sample.pictures import Picture

TABLE: Final = "quilt_1M_lookup.csv"
ARCHIVES: Final = ("images_part_1_resized.zip", "images_part_2_resized.zip")
FOLDER: Final = "quilt_1m/"
SUBSETS: Final = ("quilt", "quilt", "openpath", "pubmed", "quilt", "laion")
COLUMNS: Final = (
    "",
    "caption",
    "image_path",
    "subset",
    "split",
    "pathology",
    "roi_text",
    "noisy_text",
    "corrected_text",
    "med_umls_ids",
    "magnification",
    "height",
    "width",
    "single_wsi",
    "not_histology",
)
SHOWN: Final = 7
"""Histology pictures of a split at most."""
ABSENT: Final = "NoSuchVideo_image_00000000-0000-4000-8000-000000000000.jpg"

Cells = dict[str, str]


def histology(pictures: Sequence[Picture], count: int = SHOWN) -> list[Picture]:
    """The first histology pictures."""
    return [picture for picture in pictures if picture.modality == "histology"][:count]


def video_of(group: str) -> str:
    """The invented id, 11 characters, of the video that a group's pictures are frames of."""
    return f"-{sha256_bytes(group.encode())[:8]}_v"


def frame_name(picture: Picture, what: str = "roi", folder: str = "quilt") -> str:
    """The name of a frame: its video, what it is, and an id; another one in each folder."""
    digits = sha256_bytes(f"{folder}/{picture.name}".encode())
    unique = f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-{digits[18:30]}"
    return f"{video_of(picture.group)}_{what}_{unique}.jpg"


def _cells(picture: Picture, place: int, name: str, text: str) -> Cells:
    lists = str([picture.body_part]), str(["it's " + picture.stain]), str([["C0000001"], ["C0000002"]])
    if place % 4 == 1:
        lists = "", "nan", "[]"
    elif place % 4 == 3:
        lists = picture.body_part, "", "nan"
    return {
        "caption": text,
        "image_path": name,
        "subset": SUBSETS[place % len(SUBSETS)],
        "split": "train" if picture.split == "train" else "val",
        "pathology": lists[0],
        "roi_text": lists[1],
        "noisy_text": str([text.lower()]),
        "corrected_text": str([text]),
        "med_umls_ids": lists[2],
        "magnification": "1.0",
        "height": str(picture.height),
        "width": str(picture.width),
        "single_wsi": str(place % 2),
        "not_histology": "0" if picture.modality == "histology" else "1",
    }


def quilt_1m(pool: Pool) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree, rows = Tree("quilt_1m"), list[Cells]()
    archives: tuple[dict[str, bytes], ...] = ({}, {})
    others = [picture for picture in pool.of("train") if picture.modality != "histology"][:1]
    train = histology(pool.of("train"))
    for place, picture in enumerate([*train, *others, *histology(pool.of("eval"))]):
        in_video = SUBSETS[place % len(SUBSETS)] == "quilt"
        name = frame_name(picture, ("image", "roi")[place % 2]) if in_video else f"{10_913 + 7 * place:014d}.jpg"
        data = png(picture.image()) if place == 1 else jpeg(picture.image())
        part = place % len(ARCHIVES)
        archives[part][FOLDER + name] = data
        tree.place(picture, data, ARCHIVES[part], member=FOLDER + name)
        text = caption(picture, place)
        if place == 2:
            text = f'{text}\nAs the narrator says, "look here", and points.'
        rows.append(_cells(picture, place, name, text))
    rows += _faulty(rows, train, archives[0])
    for name, members in zip(ARCHIVES, archives, strict=True):
        tree.files[name] = zipped(members)
    tree.files[TABLE] = _table(rows)
    return tree


def _faulty(rows: Sequence[Cells], train: Sequence[Picture], members: dict[str, bytes]) -> list[Cells]:
    """Rows with the faults that the real table has, and what lies beside it."""
    if not train:
        return []
    whole, first = jpeg(train[0].image()), rows[0]
    torn = frame_name(train[0], "image", "torn")
    members[FOLDER + torn] = whole[: len(whole) // 3]
    members[FOLDER + frame_name(train[0], "image", "no row")] = jpeg(train[0].image().resize((80, 80)))
    changes: tuple[Cells, ...] = (
        {"caption": f"Another word on it: {first['caption']}"},
        {},
        {"caption": ""},
        {"caption": "nan"},
        {"caption": "N/A"},
        {"image_path": ABSENT},
        {"image_path": torn},
    )
    return [{**first, **change} for change in changes]


def _table(rows: Sequence[Cells]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"": str(number), **row} for number, row in enumerate(rows))
    return buffer.getvalue().encode()


LAYOUT = Layout("quilt_1m", quilt_1m, train=40, held_out=24)
