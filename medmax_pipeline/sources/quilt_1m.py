"""Quilt-1M: captioned histology frames of teaching videos, and pairs from articles, tweets and the web (by request).

Quirks of the upstream, each met below: pictures and captions are many to many, so a sample's key is both; the columns
`single_wsi` and `not_histology` came later and may be absent; list columns hold the text of Python lists, or nothing;
captions are empty or, in copies that went through a table of floats, the word `nan`; a caption `N/A` is a caption.
Rows without a picture and (4) pictures without a row are normal. Archives unpack to `quilt_1m/`, resized or in full
size: rows and pictures join by base name, so keep one of the two sizes only, or every picture is ambiguous.

`val` is the only hold-out that the publisher has; whether the paper's caption test comes of it is not known. The
frames of one video look alike and videos are not kept apart by `val`; the video's id is in `extra`, for looking.
Not mended: presenters, desktop windows, arrows and slides in the frames. `noisy_text` and `corrected_text`, of which
the caption was made, are not kept.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Split, Turn, picture
from medmax_pipeline.sources.pmc_oa import PROMPT
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

TABLE: Final = "quilt_1M_lookup.csv"
SPLITS: Final[Mapping[str, Split]] = {"train": "train", "val": "eval"}
SUBSETS: Final = ("quilt", "openpath", "pubmed", "laion")
CAPTION_EMPTY: Final = "caption_empty"
CAPTION_NAN: Final = "caption_nan"
IMAGE_NOT_NAMED: Final = "image_not_named"
LIST_COLUMNS: Final = ("pathology", "roi_text", "med_umls_ids")
WORD_COLUMNS: Final = ("magnification", "height", "width", "single_wsi", "not_histology")
"""Kept as they stand, under their own names."""
NOT_HISTOLOGY: Final = ("1", "1.0", "True")
"""What a flag is called that is set, in whole numbers, floats or words."""
MAX_LIST_CHARS: Final = 50_000
"""Ours: a longer list column is kept as text and not parsed."""
MAX_LIST_DEPTH: Final = 4
"""Ours: published lists are two deep."""
LARGEST: Final = 1e15
"""Ours: numbers in lists are counts and shares."""
_VIDEO = re.compile(r"([A-Za-z0-9_-]{11})_(?:image|roi)_")
_NO_ESCAPE_OF_PYTHON = re.compile(r"\\[^\\'\"abfnrtvxuUN0-7\n]")
"""What no list that Python wrote holds, and what its parser warns of."""


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the table."""
    return files.csv(TABLE)


def video_of(image: str) -> str:
    """The id of the video that a picture's name begins with; empty for pictures that come of none."""
    found = _VIDEO.match(image)
    return found.group(1) if found else ""


def read_list(text: str) -> list[Any] | str:
    """A column that holds the text of a Python list: the list, or the text as it stands where it is none."""
    if not text.startswith("[") or len(text) > MAX_LIST_CHARS or _NO_ESCAPE_OF_PYTHON.search(text):
        return text
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, list) and _is_plain(found, MAX_LIST_DEPTH) else text


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON can hold a value: a text, a number of everyday size, nothing, or a shallow list of such."""
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    return value is None or isinstance(value, str) or (isinstance(value, int | float) and abs(value) < LARGEST)


def _kept_for_people(row: Mapping[str, Any], image: str, subset: str) -> str:
    kept: dict[str, Any] = {"subset": subset, "video": video_of(image)}
    kept |= {name: read_list(clean(row[name])) for name in LIST_COLUMNS if name in row}
    kept |= {name: clean(row[name]) for name in WORD_COLUMNS if name in row}
    return json.dumps({name: value for name, value in kept.items() if value})


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One picture with one of its captions.

    Raises:
        RowError: a column is missing, or `split` or `subset` is none of the known values.
    """
    image, caption, subset, part = map(clean, need(row, "image_path", "caption", "subset", "split"))
    if part not in SPLITS:
        raise RowError(f"split is {part!r}; expected one of {', '.join(SPLITS)}.")
    if subset not in SUBSETS:
        raise RowError(f"subset is {subset!r}; expected one of {', '.join(SUBSETS)}.")
    if not image:
        return Drop(IMAGE_NOT_NAMED)
    if not caption:
        return Drop(CAPTION_EMPTY, image)
    if caption.lower() == "nan":
        return Drop(CAPTION_NAN, image)
    return Draft(
        key=f"{image}#{hashlib.sha256(caption.encode()).hexdigest()[:16]}",
        split=SPLITS[part],
        kind="captioning",
        turns=(Turn("user", f"{IMAGE}{PROMPT}"), Turn("assistant", caption)),
        images=(picture(image),),
        answer=caption,
        modality="" if clean(row.get("not_histology")) in NOT_HISTOLOGY else "histology",
        context=caption,
        extra=_kept_for_people(row, image, subset),
    )


SOURCE = Source(
    key="quilt_1m",
    title="Quilt-1M",
    access=Access(
        kind="manual",
        page="https://github.com/wisdomikezogwo/quilt1m",
        how=f"Ask for access as its README says (a form, or Zenodo record 8239942); place {TABLE} and the archives "
        "images_part_N_resized.zip (36 GB) or images_part_N.zip (110 GB), packed, or their folder quilt_1m/.",
    ),
    licence=Licence(
        "Quilt-1M data use agreement",
        "https://github.com/wisdomikezogwo/quilt1m",
        "2026-11-23, in a summary of the publisher's README: academic research only; the code is MIT",
    ),
    credentialed=False,
    files=(
        ExpectedFile(TABLE, "one pair of picture and caption a row"),
        ExpectedFile("images_part_*.zip", "the pictures in 10 archives, of one size", pictures=True, group="pictures"),
        ExpectedFile("quilt_1m/**", "the pictures, unpacked", pictures=True, group="pictures"),
    ),
    row_count=Count(1_017_712, "public loaders"),
    image_count=Count(650_000, "rounded; the publisher's issue 21"),
    split_rule="publisher's: split val is eval, by row",
    rows=rows,
    adapt=adapt,
    placeholder=PROMPT,
    example={
        "": "0",
        "caption": "Here we see glands with mild atypia.",
        "image_path": "AbCdEfGhIjK_image_0000aaaa-1111-2222-3333-444455556666.jpg",
        "subset": "quilt",
        "split": "train",
        "pathology": "['Gastrointestinal']",
        "roi_text": "['glands']",
        "noisy_text": "['here we see glands']",
        "corrected_text": "['here we see glands']",
        "med_umls_ids": "[['C0000001']]",
        "magnification": "1.0",
        "height": "720",
        "width": "1280",
        "single_wsi": "0",
        "not_histology": "0",
    },
)
