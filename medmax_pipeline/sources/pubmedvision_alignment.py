"""PubMedVision, alignment part: figures of PubMed articles, each described in answer to one question.

Hub `FreedomIntelligence/PubMedVision`. Its other part, `pubmedvision_it`, asks about the same figures, lies in the same
folder and is read by the same rule, `adapt_chat`, which stands here.

Quirks of the upstream, each met below: `image` is a list (one string is tolerated), and about 22 % of the rows name
several pictures; the text marks none of them, so marks go before the question; pictures lie in twenty archives below
folders that the publisher tells people to throw away while unpacking, so rows and members join by base name; some rows
name pictures that no archive holds (`pmc_9_0.jpg`); `modality` and `body_part` came later and may be missing, and a
model predicted them. Ids are the natural keys: `Alignment_VQA_<n>` and `Instruction-Tuning_<n>` of equal n show the
same figure, and pictures are called `pmc_<n>_<k>.jpg`. There is no split: everything is for training, so that no
figure can land on both sides.

The published mixture kept rows of one picture only: 504,501 of the instruction part, counted in a public re-export.
So do we; the variant `multi_image` keeps the others too, one mark a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources.conversation import read_turns
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

REPO: Final = "FreedomIntelligence/PubMedVision"
PAGE: Final = f"https://huggingface.co/datasets/{REPO}"
REVISION: Final = "3c84e04b38bceb5341419b9a4f8ca37ba790cb84"
FOLDER: Final = "pubmedvision"
QUESTIONS: Final = "PubMedVision_Alignment_VQA.json"
MULTI_IMAGE: Final = "multi_image"
SEVERAL_IMAGES: Final = "several_images"
SEVERAL_EXCHANGES: Final = "several_exchanges"
IMAGE_NOT_NAMED: Final = "image_not_named"
ROWS: Final = Count(647_031, "the publisher's README; each of the two parts has as many")
IMAGES: Final = Count(None, "not published apart from the rows; counted at ingest")
LICENCE: Final = Licence("Apache-2.0", PAGE, "2026-11-23, in a stored copy of the card's header")
PICTURES: Final = (
    ExpectedFile(
        "images_*.zip",
        "the pictures, images_0.zip to images_19.zip; about 2.86 GB each by the hub's listing, rounded",
        pictures=True,
        group="pictures",
        bytes=20 * 2_860_000_000,
    ),
    ExpectedFile("images/**", "the pictures, unpacked", pictures=True, group="pictures", by_hand=True),
)
"""What both parts read their pictures from."""


def access(questions: str) -> Access:
    """How one part comes to the landing folder: its file of questions and the archives that both share."""
    return Access(
        kind="hub",
        page=PAGE,
        how=f"Download {questions} and images_0.zip to images_19.zip (57 GB in all) and leave the archives packed.",
        repo=REPO,
        revision=REVISION,
    )


def names_of(value: Any) -> list[str]:
    """Base names of the pictures that a row names.

    Raises:
        RowError: it is neither a name nor a list of names.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list):
        raise RowError(f"image is {type(value).__name__}; expected a list of paths.")
    bare = [PurePosixPath(name).name if isinstance(name, str) else "" for name in names]
    if not all(bare):
        raise RowError(f"image holds {names[bare.index('')]!r}; expected paths such as images/pmc_12_0.jpg.")
    return bare


def adapt_chat(row: Mapping[str, Any], *, kind: Literal["captioning", "visual_chat"], several: bool) -> Adapted:
    """One row of either part.

    Args:
        row: its values.
        kind: what the part teaches; captioning is one exchange, whose reply is the answer.
        several: whether rows of several pictures are kept.

    Raises:
        RowError: a key is missing or its value is of another shape.
    """
    key, image, conversation = need(row, "id", "image", "conversations")
    names = names_of(image)
    if not names:
        return Drop(IMAGE_NOT_NAMED, clean(key))
    if len(names) > 1 and not several:
        return Drop(SEVERAL_IMAGES, f"{clean(key)}: {len(names)} pictures")
    turns = read_turns(conversation, len(names))
    if isinstance(turns, Drop):
        return turns
    if kind == "captioning" and len(turns) > 2:
        return Drop(SEVERAL_EXCHANGES, clean(key))
    if not clean(key):
        raise RowError("id is empty; expected Alignment_VQA_<n> or Instruction-Tuning_<n>.")
    caption = turns[-1].text if kind == "captioning" else ""
    return Draft(
        key=clean(key),
        split="train",
        kind=kind,
        turns=turns,
        images=tuple(picture(name) for name in names),
        answer=caption,
        modality=clean(row.get("modality")),
        context=caption,
        extra=json.dumps({"body_part": clean(row.get("body_part"))}),
    )


def part(
    *,
    key: str,
    title: str,
    questions: ExpectedFile,
    kind: Literal["captioning", "visual_chat"],
    example: dict[str, Any],
) -> Source:
    """The record of one part; the variant `multi_image` keeps rows of several pictures too."""

    def rows(files: RowFiles) -> Iterator[Row]:
        return files.json_array(questions.path)

    one_image = Source(
        key=key,
        title=title,
        access=access(questions.path),
        licence=LICENCE,
        credentialed=False,
        files=(questions, *PICTURES),
        row_count=ROWS,
        image_count=IMAGES,
        split_rule="none: all train; the publisher has no split and both parts show the same figures",
        rows=rows,
        adapt=partial(adapt_chat, kind=kind, several=False),
        example=example,
        splits=("train",),
        shared_folder=FOLDER,
    )
    several = replace(one_image, adapt=partial(adapt_chat, kind=kind, several=True))
    return replace(one_image, variants={MULTI_IMAGE: several})


SOURCE = part(
    key="pubmedvision_alignment",
    title="PubMedVision, alignment",
    questions=ExpectedFile(QUESTIONS, "all descriptions, a JSON array; size by the hub's listing", bytes=710_163_963),
    kind="captioning",
    example={
        "id": "Alignment_VQA_12",
        "image": ["images/pmc_12_0.jpg"],
        "conversations": [
            {"from": "human", "value": "Describe the image."},
            {"from": "gpt", "value": "An axial CT slice of the chest."},
        ],
        "modality": "Computed Tomography",
        "body_part": "Chest",
    },
)
