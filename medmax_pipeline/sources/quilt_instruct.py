"""Quilt-Instruct: 107,131 questions and answers on histology frames that GPT-4 wrote from what narrators say (gated).

Quirks of the upstream, each met below: `id` repeats over the four kinds of prompt, so a sample's key is its picture and
a digest of its chat; the mark of the picture stands before or after the first question; one of the builders writes
`role/content` with `User` and `GPT` in place of `from/value` with `human` and `gpt`. Its pictures are *not* those of
Quilt-1M, although they are named alike, and come by a form of their own.

There is no official split: all of it is train, and Quilt-VQA is the matching test. Both were cut out of the same family
of videos, so the same slide may stand on both sides in other frames. That leak is not closed by comparing pictures;
the video's id is in `extra` of both sources so that it can be measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources.conversation import read_turns
from medmax_pipeline.sources.quilt_1m import IMAGE_NOT_NAMED, video_of
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

REPO: Final = "wisdomik/QUILT-LLaVA-Instruct-107K"
PAGE: Final = f"https://huggingface.co/datasets/{REPO}"
CHATS: Final = "quilt_instruct_107k.json"
SUBSETS: Final[Mapping[str, str]] = {
    "ablation_40k": "quilt_instruct_ablation_40k.json",
    "complex_abductive": "quilt_instruct_complex_abductive.json",
    "conv_desc": "quilt_instruct_conv_desc.json",
}
"""The publisher's subsets for ablations, by the names of their variants."""
LICENCE: Final = Licence(
    "CC-BY-NC-ND-3.0",
    PAGE,
    "2026-11-23, as the header of the publisher's page, stored, shows it; an agreement besides",
)


def rows(chats: str, files: RowFiles) -> Iterator[Row]:
    """Rows of the one JSON array."""
    return files.json_array(chats)


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One chat about one picture.

    Raises:
        RowError: a key is missing, or the chat is no list of turns.
    """
    name, conversation = need(row, "image", "conversations")
    image = clean(name)
    if not image:
        return Drop(IMAGE_NOT_NAMED, clean(row.get("id")))
    turns = read_turns(conversation, 1)
    if isinstance(turns, Drop):
        return turns
    said = json.dumps([turn.text for turn in turns])
    return Draft(
        key=f"{image}#{hashlib.sha256(said.encode()).hexdigest()[:16]}",
        split="train",
        kind="visual_chat",
        turns=turns,
        images=(picture(image),),
        modality="histology",
        extra=json.dumps({"id": clean(row.get("id")), "video": video_of(image)}),
    )


def _record(chats: str, row_count: Count, variants: Mapping[str, Source]) -> Source:
    return Source(
        key="quilt_instruct",
        title="Quilt-Instruct",
        access=Access(
            kind="hub",
            page=PAGE,
            how="Accept the terms on its page and set a token. The pictures come by the form that the page names: "
            "place quilt_instruct.zip (25 GiB), packed, or its folder quilt_instruct/.",
            repo=REPO,
            revision="main",
            gated=True,
        ),
        licence=LICENCE,
        credentialed=False,
        files=(
            ExpectedFile(chats, "a JSON array of chats"),
            ExpectedFile("quilt_instruct.zip", "the pictures", pictures=True, group="pictures", by_hand=True),
            ExpectedFile("quilt_instruct/**", "the pictures, unpacked", pictures=True, group="pictures", by_hand=True),
        ),
        row_count=row_count,
        image_count=Count(None, "not published; counted at ingest"),
        split_rule="none published; all of it is train",
        splits=("train",),
        rows=partial(rows, chats),
        adapt=adapt,
        example={
            "id": "AbCdEfGhIjK_12",
            "image": "AbCdEfGhIjK_roi_0000aaaa-1111-2222-3333-444455556666.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat pattern is seen?"},
                {"from": "gpt", "value": "A cribriform pattern."},
            ],
        },
        variants=variants,
    )


SOURCE = _record(
    CHATS,
    Count(107_131, "the publisher's README, which counts questions and answers"),
    {name: _record(file, Count(None, "not published; counted at ingest"), {}) for name, file in SUBSETS.items()},
)
