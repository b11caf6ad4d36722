"""PMC-OA: captioned sub-figures of open-access articles in PubMed Central (hub `axiong/pmc_oa`).

Quirks of the upstream, each met below: the row's `image` is a bare name while the archive's members sit in a folder, so
rows and members join by base name; captions may be NaN or empty; rows without a member and members without a row are
normal; files called `.jpg` may hold another format, palettes included; one picture may have several rows. There is no
official split any more. Sub-figures of one article are near duplicates, so whole articles are held out for evaluation.

Not mended here: caption pieces that belong to another panel, captions that start with "A.", charts and diagrams.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Split, Turn, picture
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.splits import hash_split
from medmax_pipeline.sources.text import is_missing, need

CAPTIONS: Final = "pmc_oa.jsonl"
WHOLE_CAPTIONS: Final = "pmc_oa_beta.jsonl"
ARCHIVE: Final = "images.zip"
PROMPT: Final = "Please describe this picture."
"""The captioning prompt of the published evaluation code."""
HELD_OUT_PERCENT: Final = 20
"""Ours: share of articles held out for evaluation; the publisher has no split and the paper's is not published."""
CAPTION_EMPTY: Final = "caption_empty"
CAPTION_NOT_TEXT: Final = "caption_nan"
_ARTICLE = re.compile(r"(PMC[0-9]+)_[^/\\\0]+")


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the caption file."""
    return files.jsonl(CAPTIONS)


def rows_of_figures(files: RowFiles) -> Iterator[Row]:
    """Rows of the file of whole captions, which speak of a figure's other panels too."""
    return files.jsonl(WHOLE_CAPTIONS)


def split_of(pmcid: str) -> Split:
    """The split of a whole article, from its id alone."""
    return hash_split("pmc_oa", pmcid, HELD_OUT_PERCENT)


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One sub-figure with its caption.

    Raises:
        RowError: `image` or `caption` is missing, the caption is no text, or the name is not that of a sub-figure.
    """
    image, caption = need(row, "image", "caption")
    article = _ARTICLE.fullmatch(image) if isinstance(image, str) else None
    if article is None:
        raise RowError(f"image is {image!r}; expected PMC<id>_<figure>_<subfigure>.jpg.")
    if is_missing(caption):
        return Drop(CAPTION_NOT_TEXT, image)
    if not isinstance(caption, str | int | float):
        raise RowError(f"caption is {type(caption).__name__}; expected a text.")
    caption = str(caption).strip()
    if not caption:
        return Drop(CAPTION_EMPTY, image)
    pmcid = article.group(1)
    return Draft(
        key=f"{image}#{hashlib.sha256(caption.encode()).hexdigest()[:16]}",  # a picture may have several captions
        split=split_of(pmcid),
        kind="captioning",
        turns=(Turn("user", f"{IMAGE}{PROMPT}"), Turn("assistant", caption)),
        images=(picture(image),),
        answer=caption,
        context=caption,
        extra=json.dumps({"pmcid": pmcid}),
    )


_PART = Source(
    key="pmc_oa",
    title="PMC-OA",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/axiong/pmc_oa",
        how=f"Open to everybody. By hand: download {CAPTIONS} and {ARCHIVE} (22.7 GB) and leave the archive packed.",
        repo="axiong/pmc_oa",
        revision="1d2296e9c022a24e82a47e524d53f0915b98c926",
    ),
    licence=Licence(
        "unstated",
        "https://huggingface.co/datasets/axiong/pmc_oa",
        "2026-11-23, none on the card; the articles are of PMC's commercial-use subset",
    ),
    credentialed=False,
    files=(
        ExpectedFile(CAPTIONS, "one JSON object a line: image, caption", bytes=454_568_741),
        ExpectedFile(
            ARCHIVE,
            "the sub-figures, below caption_T060_filtered_top4_sep_v0_subfigures/",
            pictures=True,
            bytes=22_746_087_463,
        ),
    ),
    row_count=Count(1_650_000, "rounded; Awesome-Medical-Dataset's PMC-OA page"),
    image_count=Count(None, "not published apart from the rows; counted at ingest"),
    split_rule=f"ours: {HELD_OUT_PERCENT} % of the articles, by the hash of the PMC id, are eval",
    rows=rows,
    adapt=adapt,
    placeholder=PROMPT,
    example={"image": "PMC0000001_Fig3_4.jpg", "caption": "A. Axial T2-weighted image of the knee."},
)
_BETA = replace(
    _PART,
    files=(
        ExpectedFile(
            WHOLE_CAPTIONS, "one JSON object a line: pmcid, url_name, image, and the caption of the whole figure"
        ),
        *_PART.files[1:],
    ),
    row_count=Count(None, "not published for this file; counted at ingest"),
    rows=rows_of_figures,
    example={
        "pmcid": "PMC0000001",
        "url_name": "0001_f3.jpg",
        "image": "PMC0000001_Fig3_4.jpg",
        "caption": "(A) Axial image. (B) Coronal image.",
    },
)
SOURCE = replace(_PART, variants={"beta": _BETA})
