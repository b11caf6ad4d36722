"""The sample's Quilt-VQA folder: the JSON with its archive, its twin without answers, and the Parquet copy.

Closed questions are half yes and half no. The quirks: answers are sentences and yes or no stands apart, in any case;
ids are numbers; answers end in blanks; a row without its picture, a picture without a row. The Parquet copy has fewer
rows, no `yes_no_answer`, and one closed answer that opens with neither word.
"""

from __future__ import annotations

import json
from typing import Any, Final

from medmax_pipeline.sample.layout import Tree, jpeg, parquet, zipped
from medmax_pipeline.sample.layouts import Layout, Pool
from medmax_pipeline.sample.layouts.pmc_oa import caption
from medmax_pipeline.sample.layouts.quilt_1m import ABSENT, frame_name, histology
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sources.quilt_vqa import QUESTIONS, WITHOUT_ANSWERS

ARCHIVE: Final = "quilt_vqa.zip"
FOLDER: Final = "quilt_vqa/images/"
PARQUET: Final = "data/train-00000-of-00001-0123456789abcdef.parquet"

Record = dict[str, Any]


def questions(picture: Picture, place: int) -> list[Record]:
    """Two closed questions, to say yes and no to, and an open one; true by construction."""
    yes, no = ("Yes", "No") if place % 2 else ("yes ", "NO")
    closed = (
        ("Is this a histology image?", "Yes, this is a histology image. ", yes),
        ("Is this image a radiograph?", "No, it is a histology section.", no),
    )
    made = [
        {"question": question, "answer": answer, "answer_type": "CLOSED", "yes_no_answer": yes_no}
        for question, answer, yes_no in closed
    ]
    return [*made, {"question": "What does this image show?", "answer": caption(picture, 0), "answer_type": "OPEN"}]


def quilt_vqa(pool: Pool) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree, members, rows = Tree("quilt_vqa"), dict[str, bytes](), list[Record]()
    shown = histology(pool.of("eval"))
    for place, picture in enumerate(shown):
        name, data = frame_name(picture, folder="quilt_vqa"), jpeg(picture.image())
        members[FOLDER + name] = data
        tree.place(picture, data, ARCHIVE, member=FOLDER + name)
        rows += [{"image": name, **row} for row in questions(picture, place)]
    data_of = {name.removeprefix(FOLDER): data for name, data in members.items()}
    if shown:
        members[FOLDER + frame_name(shown[0], folder="no row")] = jpeg(shown[0].image().resize((80, 80)))
        tree.files[PARQUET] = _parquet(rows, data_of)
        rows.append({**rows[-1], "image": ABSENT})
    rows = [{"id": number, **row} for number, row in enumerate(rows)]
    asked = [{"question_id": row["id"], "image": row["image"], "text": row["question"]} for row in rows]
    tree.files[QUESTIONS] = (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()
    tree.files[WITHOUT_ANSWERS] = "".join(json.dumps(row) + "\n" for row in asked).encode()
    tree.files[ARCHIVE] = zipped(members)
    return tree


def _parquet(rows: list[Record], data_of: dict[str, bytes]) -> bytes:
    """One row a picture, in turn of each kind, and a closed one without yes or no."""
    chosen = rows[::4]
    chosen = [*chosen, {**chosen[0], "answer": "The picture says so.", "answer_type": "CLOSED"}]
    columns = {name: [row[name] for row in chosen] for name in ("question", "answer", "answer_type")}
    told = [f"The narrator asks: {row['question']}" for row in chosen]
    return parquet({"image": [data_of[row["image"]] for row in chosen], **columns, "context": told})


LAYOUT = Layout("quilt_vqa", quilt_vqa, held_out=30)
