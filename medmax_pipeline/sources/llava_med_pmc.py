"""LLaVA-Med-PMC: 500,000 figures of PubMed Central with their captions, and what the other LLaVA-Med sources share.

Quirks of the upstream, each met below: the turns' key is misspelt `conversatons` in some files and right in others;
`domain` is absent from some records and may say yes to several domains; the mark of the picture stands before or after
the question; a clone without Git LFS holds pointers (the source is locked then); every picture is called `.jpg`
whatever it is; a record without a picture and a picture without a record are both normal. The list of article
archives (`llava_med_image_urls.jsonl`) is needed by whoever fetches the pictures and not here: `image` is its `pair_id`
and `.jpg`, so pictures join by their name, and a line of the list without a record, or the other way round, changes
nothing.

The instruction stays the publisher's; the caption is the one reply. There is no official split, all of it is train.
Not mended: compound figures, charts and diagrams.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources.conversation import read_turns
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

FOLDER: Final = "llava_med"
"""Landing folder of the three LLaVA-Med sources."""
RECORDS: Final = "data/alignment/llava_med_alignment_500k.json"
PAGE: Final = "https://github.com/microsoft/LLaVA-Med"
COMMIT: Final = "d406e3fc7c3d1e4c797a7676de18cbfd070b6d2c"
"""The repository's commit whose Git LFS pointers give the sizes and digests of the data files."""
SERVED: Final = f"https://media.githubusercontent.com/media/microsoft/LLaVA-Med/{COMMIT}/"
LICENCE: Final = Licence(
    "CC-BY-NC-4.0",
    PAGE,
    "2026-11-23, in the repository's README; research only, and the terms of LLaMA, Vicuna and GPT-4 besides",
)
TURNS: Final = ("conversations", "conversatons")
"""Both spellings of the turns' key; either may stand in any file."""
DOMAINS: Final = ("chest_xray", "mri", "histology", "gross", "ct_scan")
"""The five domains in the order of the published scorer: where several are true, the first one counts."""
IMAGE_NOT_NAMED: Final = "image_not_named"
PICTURES: Final = tuple(
    ExpectedFile(path, note, pictures=True, group="pictures", by_hand=True)
    for path, note in (
        ("images/**", "the figures, <pair_id>.jpg in one flat folder"),
        ("images*.zip", "the figures in zip archives"),
        ("images*.tar*", "the figures in tar archives, packed, split or plain"),
    )
)
HOW_PICTURES: Final = (
    "The figures are not served with it: the repository's download_images.py collects them from PubMed Central's "
    "archives by the list of URLs; place its folder images/, or archives images*.zip or images*.tar*, beside data/."
)


def served(path: str, note: str, size: int, sha256: str, *, optional: bool = False) -> ExpectedFile:
    """A data file of the repository, at its path there, served by its digest."""
    return ExpectedFile(path, note, optional=optional, bytes=size, url=SERVED + path, sha256=sha256)


def turns_of(row: Mapping[str, Any]) -> Any:
    """A record's turns, under whichever spelling.

    Raises:
        RowError: it has neither.
    """
    found = [name for name in TURNS if name in row]
    if not found:
        need(row, TURNS[0])
    return row[found[0]]


def domains_of(row: Mapping[str, Any]) -> list[str]:
    """The domains that a record says yes to, in the scorer's order; none where it has no `domain`.

    Raises:
        RowError: `domain` is no object.
    """
    domain = row.get("domain")
    if domain is None:
        return []
    if not isinstance(domain, Mapping):
        raise RowError(f"domain is {type(domain).__name__}; expected an object of {', '.join(DOMAINS)}, or none.")
    return [name for name in DOMAINS if domain.get(name) is True]


def kept_for_people(row: Mapping[str, Any], **more: str) -> str:
    """The `extra` of a sample: its article's PubMed id, and all its domains where there are several."""
    pmid, _, figure = clean(row.get("id", row.get("pair_id"))).partition("_")
    domains = domains_of(row)
    several = {"domains": domains} if len(domains) > 1 else {}
    return json.dumps({**more, "pmid": pmid, "figure": figure, **several})


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the one JSON array."""
    return files.json_array(RECORDS)


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One figure with its caption, asked for in the publisher's words.

    Raises:
        RowError: a key is missing, or it is no single question with its reply.
    """
    pair_id, image = map(clean, need(row, "id", "image"))
    if not pair_id:
        raise RowError("id is empty; expected <PubMed id>_<figure>.")
    if not image:
        return Drop(IMAGE_NOT_NAMED, pair_id)
    turns = read_turns(turns_of(row), 1)
    if isinstance(turns, Drop):
        return turns
    if len(turns) != 2:
        raise RowError(f"{len(turns)} turns; an alignment record is one instruction and its caption.")
    caption = turns[1].text
    return Draft(
        key=pair_id,
        split="train",
        kind="captioning",
        turns=turns,
        images=(picture(image),),
        answer=caption,
        modality=next(iter(domains_of(row)), ""),
        context=caption,
        extra=kept_for_people(row),
    )


SOURCE = Source(
    key="llava_med_pmc",
    title="LLaVA-Med-PMC",
    shared_folder=FOLDER,
    access=Access(kind="url", page=PAGE, how=f"The captions are fetched from the repository. {HOW_PICTURES}"),
    licence=LICENCE,
    credentialed=False,
    files=(
        served(
            RECORDS,
            "a JSON array of captioned figures",
            358_112_840,
            "007456f3d6c2091466b3fb6cd0573f61a63fd0c937e568f44113d5a1f23e8b93",
        ),
        served(
            "data/llava_med_image_urls.jsonl",
            "where the figures lie in PubMed Central; not read",
            128_785_989,
            "2604441ec3d1f6324d21846cfd44f92eab29454beed1da42a98d943b41731e44",
            optional=True,
        ),
        *PICTURES,
    ),
    row_count=Count(467_710, "from memory, unverified; the name says 500K, the paper 600K"),
    image_count=Count(None, "not published; the list of URLs has 721,154 lines, of which many are dead"),
    split_rule="none published; all of it is train",
    splits=("train",),
    rows=rows,
    adapt=adapt,
    example={
        "id": "12345678_F1",
        "image": "12345678_F1.jpg",
        "domain": {"chest_xray": False, "mri": False, "ct_scan": True, "histology": False, "gross": False},
        "conversatons": [
            {"from": "human", "value": "Summarize the visual content of the image.\n<image>"},
            {"from": "gpt", "value": "Axial CT showing a nodule in the left lobe."},
        ],
    },
)
