"""The sample's PMC-OA folder, in the publisher's layout with the publisher's quirks.

One invented article a group; its id is searched so that the source's own hold-out rule (by the hash of the
PMC id) puts it on the side where the group belongs. The faults: empty and NaN captions, a row without its member, a
member without a row, one that cannot be decoded, palette and RGBA pictures renamed `.jpg`. Planted for curation: an
article that shows evaluation pictures of VQA-RAD again without loss (same pixels, other bytes) and scaled down,
pictures that VQA-RAD's training side holds too (same bytes), and an article of charts.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from PIL import Image

from medmax_pipeline.records import Split
from medmax_pipeline.sample.charts import PLANTED, chart, chart_caption
from medmax_pipeline.sample.layout import Tree, jpeg, png, zipped
from medmax_pipeline.sample.layouts import Layout, spread
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sources.pmc_oa import split_of

ARCHIVE: Final = "images.zip"
CAPTIONS: Final = "pmc_oa.jsonl"
FOLDER: Final = "caption_T060_filtered_top4_sep_v0_subfigures/"
FIRST_ARTICLE: Final = 9_900_000
"""Ids from here on are invented; an article's id is the first free one on the wanted side."""
PANELS: Final = 4
"""Sub-figures a figure at most, as the publisher's top 4."""
EXACT_LEAKS: Final = 6
NEAR_LEAKS: Final = 4
TWINS: Final = 5
CHARTS: Final = 8
PHRASES: Final[Mapping[str, str]] = {
    "CT": "CT image",
    "MRI": "MRI image",
    "ultrasound": "ultrasound image",
    "radiograph": "radiograph",
    "histology": "histology section",
    "fundus photograph": "fundus photograph",
    "nuclear medicine": "nuclear medicine image",
    "phase microscopy": "quantitative phase image",
}


@dataclass(slots=True)
class Articles:
    """Members and rows while they grow, and the ids given out so far."""

    members: dict[str, bytes] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    _next: int = FIRST_ARTICLE

    def new(self, split: Split) -> str:
        """The next free id that the source's hold-out rule puts on the wanted side."""
        while True:
            self._next += 1
            if split_of(f"PMC{self._next}") == split:
                return f"PMC{self._next}"

    def add(self, article: str, place: int, data: bytes, caption: object) -> str:
        """A sub-figure with its row; the name of its member."""
        name = f"{article}_Fig{place // PANELS + 1}_{place % PANELS}.jpg"
        self.members[FOLDER + name] = data
        row = {"image": name, "caption": caption}
        if place % 10 == 9:
            row = {"pmcid": article, "url_name": f"{article[3:]}_f{place // PANELS + 1}.jpg", **row}
        self.rows.append(row)
        return name


def pmc_oa(pictures: Sequence[Picture], asked: Sequence[Picture]) -> Tree:
    """The folder as a tree, deterministic for the same pictures.

    Args:
        pictures: those of the articles, of both splits.
        asked: the pictures of the sample's VQA-RAD, of which leaks and twins are made.
    """
    tree, articles = Tree("pmc_oa"), Articles()
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups["drawn" if picture.source is None else picture.group].append(picture)
    for members in groups.values():
        article = articles.new(members[0].split)
        for place, picture in enumerate(members):
            data = jpeg(picture.image())
            name = articles.add(article, place, data, caption(picture, place))
            tree.place(picture, data, ARCHIVE, member=FOLDER + name)
    _plant(tree, articles, asked)
    _faulty(tree, articles, pictures)
    if pictures:
        _plant_charts(tree, articles)
    tree.files[ARCHIVE] = zipped(articles.members)
    tree.files[CAPTIONS] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in articles.rows).encode()
    return tree


def caption(picture: Picture, place: int) -> str:
    """A caption that is true of the picture by construction, in one of three wordings, one of them with details."""
    what = PHRASES[picture.modality]
    if picture.flag == "synthetic":
        what = f"drawing of a {what}"
    where = f" of the {picture.body_part}" if picture.body_part else ""
    plane = f"{picture.plane} " if picture.plane else ""
    stain = f", {picture.stain} stain" if picture.stain else ""
    shown = f"{plane}{what}{where}{stain}."
    if place % 3 == 0:
        return f"{shown[0].upper()}{shown[1:]}"
    if place % 3 == 1:
        return f"Example: {shown}"
    return " ".join((f"{'ABCD'[place % PANELS]}. {shown[0].upper()}{shown[1:]}", *picture.facts))


def _plant(tree: Tree, articles: Articles, asked: Sequence[Picture]) -> None:
    held_out = [picture for picture in asked if picture.split == "eval"]
    trained = [picture for picture in asked if picture.split == "train"]
    article = articles.new("train")
    for place, picture in enumerate(spread(held_out, EXACT_LEAKS + NEAR_LEAKS)):
        shown = Image.open(io.BytesIO(jpeg(picture.image())))
        exact = place < EXACT_LEAKS
        small = (max(1, shown.width * 9 // 10), max(1, shown.height * 9 // 10))
        data = png(shown) if exact else jpeg(shown.resize(small, Image.Resampling.LANCZOS), 80)
        name = articles.add(article, place, data, caption(picture, place))
        planted = "leak" if exact else "near_leak"
        tree.place(picture, data, ARCHIVE, member=FOLDER + name, split="train", planted=planted)
    article = articles.new("train")
    for place, picture in enumerate(spread(trained, TWINS)):
        data = jpeg(picture.image())
        name = articles.add(article, place, data, caption(picture, place))
        tree.place(picture, data, ARCHIVE, member=FOLDER + name, planted="twin")


def _faulty(tree: Tree, articles: Articles, pictures: Sequence[Picture]) -> None:
    trained = [picture for picture in pictures if picture.split == "train"]
    if not trained:
        return
    article = articles.new("train")
    picture = trained[0]
    image = picture.image().resize((160, 160))
    palette = png(image.convert("RGB").quantize(64))
    clear = image.convert("RGB")
    clear.putalpha(200)
    whole = jpeg(image)
    shown: tuple[tuple[bytes, object], ...] = (
        (palette, caption(picture, 0)),
        (png(clear), caption(picture, 1)),
        (whole, ""),
        (whole, float("nan")),
        (whole[: len(whole) // 3], caption(picture, 0)),
    )
    for place, (data, text) in enumerate(shown):
        name = articles.add(article, place, data, text)
        if place < 2:
            tree.place(picture, data, ARCHIVE, member=FOLDER + name)
    articles.rows.append({"image": f"{article}_Fig9_0.jpg", "caption": "A row whose member is missing."})
    articles.members[f"{FOLDER}{article}_Fig9_1.jpg"] = jpeg(image.resize((120, 120)))


def _plant_charts(tree: Tree, articles: Articles) -> None:
    article = articles.new("train")
    for place in range(CHARTS):
        data = jpeg(chart(PLANTED + place).image())
        name = articles.add(article, place, data, chart_caption(PLANTED + place))
        tree.place(chart(PLANTED + place), data, ARCHIVE, member=FOLDER + name, planted="chart")


LAYOUT = Layout("pmc_oa", lambda pool: pmc_oa(pool.own, pool.asked))
