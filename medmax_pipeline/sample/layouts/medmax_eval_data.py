"""The sample's copy of the published evaluation set: ten benchmarks in one table, in the publisher's layout.

Every task and type that the published evaluation knows, true of the pictures by construction. The faults: closed
answers that are neither yes nor no, a letter beyond the options, a chat's answer in JSON's notation, a flag that two
domains share, a null, a row twice, a row without its member, a member without a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from medmax_pipeline.records import IMAGE
from medmax_pipeline.sample.layout import Tree, jpeg, parquet, tar_gzipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.layouts.pmc_oa import PHRASES, caption
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.questions import modality_choices

TABLE: Final = "data/train-00000-of-00001.parquet"
ARCHIVE: Final = "images.tar.gz"
COLUMNS: Final = ("prompt", "answer", "image_path", "task_name", "question_type")
TYPES: Final = ("pmc_oa", "quilt", "report")
DOMAINS: Final = {"chest_xray": "radiograph", "mri": "MRI", "ct_scan": "CT", "histology": "histology", "gross": ""}

Rows = list[dict[str, Any]]


def medmax_eval_data(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures; all of them are held-out pictures."""
    tree = Tree("medmax_eval_data")
    members: dict[str, bytes] = {}
    rows: Rows = []
    for place, picture in enumerate(pictures):
        data, name = jpeg(picture.image()), f"images/sample/{place:04d} ({picture.modality.replace(' ', '_')}).jpg"
        members[name] = data
        tree.place(picture, data, ARCHIVE, member=name)
        rows += (_questions, _choices, _pictures, _chats)[place % 4](picture, place, name)
        rows += _answered_with_pictures(picture, name)
    if rows:
        rows += _faulty(rows)
        members["images/sample/unasked.jpg"] = jpeg(pictures[0].image().resize((100, 100)))
    tree.files[ARCHIVE] = tar_gzipped(members)
    tree.files[TABLE] = parquet({column: [row[column] for row in rows] for column in COLUMNS})
    return tree


def _row(task: str, kind: str, prompt: str, answer: str | None, name: str) -> dict[str, Any]:
    return dict(zip(COLUMNS, (prompt, answer, name, task, kind), strict=True))


def _questions(picture: Picture, place: int, name: str) -> Rows:
    what, drawing = PHRASES[picture.modality], "Is this image a drawing?"
    rows = []
    for task in ("vqa_rad", "slake", "pathvqa", "quilt_vqa"):
        rows += [
            _row(task, "closed", drawing, "no", name),
            _row(task, "open", f"What kind of image is this, in the words of {task}?", what, name),
        ]
    rows.append(_row("probmed", "closed", f"Is this a picture: {what}? (please answer yes/no)", "yes", name))
    return rows


def _choices(picture: Picture, place: int, name: str) -> Rows:
    rows = []
    for shift, task in enumerate(("pmc_vqa", "omnimed_vqa", "path_mmu")):
        options = modality_choices(picture, place + shift)
        letter = "ABCD"[options.index(picture.modality)]
        lines = "".join(f"{each}: {option}\n" for each, option in zip("ABCD", options, strict=True))
        rows.append(_row(task, "mcq", f"What imaging modality is shown?\n{lines}", letter, name))
    return rows


def _pictures(picture: Picture, place: int, name: str) -> Rows:
    """Captioning, with a reference and without, and generation."""
    told = caption(picture, 0)
    rows = []
    for kind in TYPES:
        rows.append(_row("image_captioning", kind, "", "" if kind == "pmc_oa" else told, name))
        rows.append(_row("image_generation", kind, told, "", name))
    return rows


def _answered_with_pictures(picture: Picture, name: str) -> Rows:
    """A question that text and picture answer together, as of either origin."""
    what = PHRASES[picture.modality]
    return [
        _row("mm_out", "pmc_oa", f"What does a {what} look like?", caption(picture, 0), name),
        _row("mm_out", "quilt", f"Show me a {what} and say what it shows.", caption(picture, 1), name),
    ]


def _chats(picture: Picture, place: int, name: str) -> Rows:
    record = {
        "gpt4_answer": f"It is a {PHRASES[picture.modality]}.",
        "fig_label": f"Fig {place}",
        "fig_caption": caption(picture, 0),
        "in_text_mention": [{"tokens": f"As Fig {place} shows, it's an image.", "entities": []}],
        "domain": {domain: modality == picture.modality for domain, modality in DOMAINS.items()} | {"gross": True},
    }
    silent = str({**record, "in_text_mention": None})
    return [
        _row("visual_chat", "conversation", f"What kind of image is this?\n{IMAGE}", str(record), name),
        _row("visual_chat", "detailed_description", f"{IMAGE}\nDescribe it at length.", silent, name),
    ]


def _faulty(rows: Rows) -> Rows:
    """Rows with the faults that such a table may have."""
    closed = next(row for row in rows if row["task_name"] == "slake")
    faulty = [
        {**closed, "prompt": "Which is it, a picture or a text?", "answer": "picture"},
        {**closed, "answer": None, "prompt": "Is anything known?"},
        {**closed, "image_path": "images/sample/absent.jpg"},
        dict(closed),
    ]
    for task, answer in (("pmc_vqa", "E"), ("visual_chat", '{"gpt4_answer": "x", "domain": {"mri": true}}')):
        faulty += [{**row, "answer": answer} for row in rows if row["task_name"] == task][:1]
    return faulty


LAYOUT = Layout("medmax_eval_data", lambda pool: medmax_eval_data(pool.of("eval")), held_out=6)
