"""LLaVA-Med-IT: chats about figures of PubMed Central that GPT-4 wrote from captions, never having seen the pictures.

The publisher's files overlap: `10k` and `60k` were written from captions, `60k_inline_mention` ("60K-IM") from captions
and the sentences of the article that mention the figure. Ids are those of the figures, so the same id stands in several
files with another chat each, and a sample's key names its file.

Which of them the paper's 76K examples are is not published. Ours, by default: 60K-IM and 10K, about 67,000 to 70,000
rows together; each file alone, and 60K, are variants. Quirks of records as in `llava_med_pmc.py`. Not mended: odd
capitals and torn sentences where phrases such as "the caption says" were cut out, and diagrams among the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources.conversation import read_turns
from medmax_pipeline.sources.llava_med_pmc import (
    FOLDER,
    HOW_PICTURES,
    IMAGE_NOT_NAMED,
    LICENCE,
    PAGE,
    PICTURES,
    domains_of,
    kept_for_people,
    served,
    turns_of,
)
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

FILES: Final[Mapping[str, ExpectedFile]] = {
    "60k_im": served(
        "data/instruct/llava_med_instruct_60k_inline_mention.json",
        "chats written from captions and mentions, a JSON array",
        87_669_379,
        "b3649f4193a51215aee4519b44d8436a4200e182d6a78a3cb78672d97bea948a",
    ),
    "60k": served(
        "data/instruct/llava_med_instruct_60k.json",
        "chats written from captions, a JSON array",
        88_758_916,
        "cf84c82fb58e391d6cf198e2657b6fc8584a180509b8813c3604ce46f6275c19",
    ),
    "10k": served(
        "data/instruct/llava_med_instruct_10k.json",
        "the smaller set of chats, a JSON array",
        20_176_754,
        "84f75c2b83404fe7dd1631212b4ad73228a0dad77bb819ab29c511a535a279c8",
    ),
}
"""The instruction files by the names of their variants."""


def rows(chosen: Sequence[str], files: RowFiles) -> Iterator[Row]:
    """Rows of the chosen files, each with `file`, the name of its file among `FILES`."""
    for name in chosen:
        for row in files.json_array(FILES[name].path):
            yield row if row.fault else row._replace(values={**row.values, "file": name})


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One chat about one figure.

    Raises:
        RowError: a key is missing, or the chat is no list of turns.
    """
    pair_id, image, file = map(clean, need(row, "id", "image", "file"))
    if not pair_id:
        raise RowError("id is empty; expected <PubMed id>_<figure>.")
    if not image:
        return Drop(IMAGE_NOT_NAMED, pair_id)
    turns = read_turns(turns_of(row), 1)
    if isinstance(turns, Drop):
        return turns
    return Draft(
        key=f"{file}/{pair_id}",
        split="train",
        kind="visual_chat",
        turns=turns,
        images=(picture(image),),
        modality=next(iter(domains_of(row)), ""),
        extra=kept_for_people(row, file=file),
    )


def _record(chosen: tuple[str, ...], row_count: Count, variants: Mapping[str, Source]) -> Source:
    return Source(
        key="llava_med_it",
        title="LLaVA-Med-IT",
        shared_folder=FOLDER,
        access=Access(kind="url", page=PAGE, how=f"The chats are fetched from the repository. {HOW_PICTURES}"),
        licence=LICENCE,
        credentialed=False,
        files=(*(FILES[name] for name in chosen), *PICTURES),
        row_count=row_count,
        image_count=Count(None, "not published; counted at ingest"),
        split_rule="none published; all of it is train",
        splits=("train",),
        rows=partial(rows, chosen),
        adapt=adapt,
        example={
            "id": "12345678_F2",
            "image": "12345678_F2.jpg",
            "domain": {"chest_xray": True, "mri": False, "ct_scan": False, "histology": False, "gross": False},
            "conversations": [
                {"from": "human", "value": "<image>\nWhat modality is used?"},
                {"from": "gpt", "value": "A chest X-ray."},
                {"from": "human", "value": "Is the heart enlarged?"},
                {"from": "gpt", "value": "Yes, mildly."},
            ],
            "file": chosen[0],
        },
        variants=variants,
    )


SOURCE = _record(
    ("60k_im", "10k"),
    Count(None, "not published; about 67,000 to 70,000, from memory of the two files' sizes"),
    {
        "60k_im": _record(("60k_im",), Count(56_708, "from memory, unverified"), {}),
        "60k": _record(("60k",), Count(None, "not published; about 60,000 by its name"), {}),
        "10k": _record(("10k",), Count(None, "not published; about 10,000 by its name"), {}),
    },
)
