"""PubMedVision, instruction part: questions and answers about the figures that the alignment part describes.

Folder, quirks and the rule by which rows are read are those of `pubmedvision_alignment`. The published mixture has
504K rows of this part, which are those of one picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from medmax_pipeline.sources.pubmedvision_alignment import (
    FOLDER,
    IMAGES,
    LICENCE,
    MULTI_IMAGE,
    PICTURES,
    ROWS,
    access,
    adapt_chat,
)
from medmax_pipeline.sources.record import ExpectedFile, Row, RowFiles, Source

QUESTIONS: Final = "PubMedVision_InstructionTuning_VQA.json"


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the one JSON array."""
    return files.json_array(QUESTIONS)


ONE_IMAGE: Final = Source(
    key="pubmedvision_it",
    title="PubMedVision, instruction tuning",
    access=access(QUESTIONS),
    licence=LICENCE,
    credentialed=False,
    files=(ExpectedFile(QUESTIONS, "all chats, a JSON array; size by the hub's listing", bytes=721_722_204), *PICTURES),
    row_count=ROWS,
    image_count=IMAGES,
    split_rule="none: all train; the publisher has no split and both parts show the same figures",
    rows=rows,
    adapt=partial(adapt_chat, kind="visual_chat", several=False),
    example={
        "id": "Instruction-Tuning_12",
        "image": ["images/pmc_12_0.jpg"],
        "conversations": [
            {"from": "human", "value": "Which organ is in the middle of the image?"},
            {"from": "gpt", "value": "The heart, between both lungs."},
        ],
        "modality": "Computed Tomography",
        "body_part": "Chest",
    },
    splits=("train",),
    shared_folder=FOLDER,
)
SOURCE = replace(
    ONE_IMAGE,
    variants={MULTI_IMAGE: replace(ONE_IMAGE, adapt=partial(adapt_chat, kind="visual_chat", several=True))},
)
