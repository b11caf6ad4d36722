"""The sample's PathVQA folder, as the hub's copy ships it: Parquet with the pictures inside.

The faults: a CMYK picture, blanks around and inside texts, a repeated row, a row without its picture, a truncated
JPEG, a text in a picture's place. The original's pickles lie beside it, as somebody may place them: they hold no pickle
at all, since nothing may open them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from medmax_pipeline.records import Split
from medmax_pipeline.sample.layout import Tree, jpeg, parquet
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.pictures import Picture

PICKLE: Final = "pvqa/qas/train/train_qa.pkl"
TABLES: Final[Mapping[str, Split]] = {
    "data/train-00000-of-00002.parquet": "train",
    "data/train-00001-of-00002.parquet": "train",
    "data/test-00000-of-00001.parquet": "eval",
}
VALIDATION: Final = "data/validation-00000-of-00001.parquet"


class Asked(NamedTuple):
    """One row of a table."""

    image: bytes | None
    question: str
    answer: str
    picture: Picture | None = None
    """The picture that it shows; None for a fault."""


def pathvqa(pictures: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures."""
    tree = Tree("pathvqa")
    tables: dict[str, list[Asked]] = {name: [] for name in (*TABLES, VALIDATION)}
    for place, picture in enumerate(pictures):
        names = [name for name, split in TABLES.items() if split == picture.split]
        tables[names[place % len(names)]] += _rows(picture, place)
    trained = tables[next(iter(TABLES))]
    if trained:
        whole = trained[0]
        assert whole.image is not None
        tables[VALIDATION].append(whole._replace(picture=None))
        trained += [
            whole,
            whole._replace(image=None, picture=None),
            whole._replace(image=whole.image[: len(whole.image) // 3], picture=None),
            whole._replace(image=b"<html>404 Not Found</html>", picture=None),
            whole._replace(answer=" ", picture=None),
        ]
    for name, rows in tables.items():
        for number, row in enumerate(rows):
            if row.picture and row.image:
                tree.place(row.picture, row.image, name, member=f"image/{number}")
        columns = zip(*[row[:3] for row in rows], strict=True) if rows else ((), (), ())
        tree.files[name] = parquet(dict(zip(("image", "question", "answer"), map(list, columns), strict=True)))
    tree.files[PICKLE] = b"not a pickle, and not to be opened\n"
    return tree


def _rows(picture: Picture, place: int) -> list[Asked]:
    image = picture.image()
    data = jpeg(image.convert("CMYK") if place % 3 == 1 else image)
    wrong = "histology" if picture.modality != "histology" else "ct"
    blank = " " * (place % 2)
    return [
        Asked(data, f"what imaging modality is  this?{blank}", f"{blank}{picture.modality.lower()}", picture),
        Asked(data, f"is this {picture.modality.lower()}?", f"yes{blank}", picture),
        Asked(data, f"is this {wrong}?", "no", picture),
    ]


LAYOUT = Layout("pathvqa", lambda pool: pathvqa(pool.own), train=6, held_out=4)
