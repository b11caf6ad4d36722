"""OmniMedVQA: multiple-choice questions made of 73 classification sets (hub `foreverbeliever/OmniMedVQA`).

One archive holds pictures and questions alike; both are read where they lie. Quirks of the upstream, each met below:
the questions of the restricted sets are shipped without their pictures, so those rows are dropped by name; the right
choice is given as text and not as a letter, with a final dot or in other case, and the first choice that says the same
is the label, since choices repeat; choices C and D may be missing; one row has `modality` in place of `modality_type`;
paths hold blanks and parentheses and are relative to `OmniMedVQA/`.

There is no official split. Ours holds out whole pictures, by their path: a picture has several questions. Some
paths hold equal pictures (33 of the 382 of Chest CT Scan, as a public project counted), which `curation/leakage.py`
sees to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import ArchiveError, RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Split, Turn, picture
from medmax_pipeline.sources.choices import find_letter, lettered
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.splits import hash_split
from medmax_pipeline.sources.text import clean, need

KEY: Final = "omnimed_vqa"
OPEN: Final = "Open-access"
RESTRICTED: Final = "Restricted-access"
LETTERS: Final = "ABCD"
LEAST_OPTIONS: Final = 2
HELD_OUT_PERCENT: Final = 9
"""Share of the pictures held out for evaluation. The paper trains on about 81K of the 88,996 open questions, 91 %;
which ones is not published."""
RESTRICTED_IMAGES: Final = "restricted_images_not_shipped"
QUESTION_EMPTY: Final = "question_empty"
OPTION_EMPTY: Final = "option_empty"
ANSWER_NOT_AN_OPTION: Final = "answer_not_an_option"
_KEPT_FOR_PEOPLE = ("dataset", "question_type")


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of all files of questions, each with the part of the set (its folder) that it lies in.

    Raises:
        ArchiveError: there are no questions to the open part.
    """
    names = {part: files.names(f"QA_information/{part}/*.json") for part in (OPEN, RESTRICTED)}
    if not names[OPEN]:
        raise ArchiveError(f"omnimed_vqa: no QA_information/{OPEN}/*.json; expected 42. Is the download complete?")
    for part, found in names.items():
        for name in found:
            for row in files.json_array(name):
                yield row if row.fault else row._replace(values={**row.values, "part": part})


def split_of(path: str) -> Split:
    """The split of a picture, from its path alone."""
    return hash_split(KEY, path, HELD_OUT_PERCENT)


def read_options(row: Mapping[str, Any]) -> tuple[str, ...] | Drop:
    """Two to four choices; those after the last that says something are not there.

    Raises:
        RowError: the first two are missing, or one is no text.
    """
    need(row, "option_A", "option_B")
    options = [clean(row.get(f"option_{letter}")) for letter in LETTERS]
    while options and not options[-1]:
        options.pop()
    if len(options) < LEAST_OPTIONS or not all(options):
        return Drop(OPTION_EMPTY, " | ".join(options)[:200])
    return tuple(options)


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question with its choices; the answer is a letter.

    Raises:
        RowError: a key is missing or holds no text, or the part is unknown.
    """
    part = row.get("part")
    if part == RESTRICTED:
        return Drop(RESTRICTED_IMAGES)
    if part != OPEN:
        raise RowError(f"the row is of part {part!r}; expected {OPEN} or {RESTRICTED}.")
    question_id, path, question, right = need(row, "question_id", "image_path", "question", "gt_answer")
    key, question = clean(question_id), clean(question)
    if not key or not isinstance(path, str) or not path.strip("/ "):
        raise RowError(f"question_id is {question_id!r} and image_path {path!r}; expected an id and Images/….")
    if not question:
        return Drop(QUESTION_EMPTY, key)
    options = read_options(row)
    if isinstance(options, Drop):
        return options
    letter = find_letter(right, options)
    if not letter:
        return Drop(ANSWER_NOT_AN_OPTION, f"{key}: {clean(right)[:80]!r} is none of {' | '.join(options)[:200]}")
    return Draft(
        key=f"{clean(row.get('dataset'))}/{key}",
        split=split_of(path),
        kind="vqa_mcq",
        turns=(Turn("user", IMAGE + lettered(question, options)), Turn("assistant", letter)),
        images=(picture(path),),
        options=options,
        answer=letter,
        modality=clean(row.get("modality_type", row.get("modality"))),
        extra=json.dumps({name: clean(row[name]) for name in _KEPT_FOR_PEOPLE if name in row}),
    )


SOURCE = Source(
    key=KEY,
    title="OmniMedVQA",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/foreverbeliever/OmniMedVQA",
        how="Download OmniMedVQA.zip (10.7 GB) and leave it packed. Pictures of the restricted sets are with "
        "their owners and are not asked for.",
        repo="foreverbeliever/OmniMedVQA",
        revision="1ba51c28fc0773bdf7efb8396e5bcfd4227e22da",
    ),
    licence=Licence(
        "Mixed, as each set it is made of",
        "https://github.com/OpenGVLab/Multi-Modality-Arena",
        "2026-11-23, in a summary of the publisher's pages: no terms of its own, those of each set hold",
    ),
    credentialed=False,
    files=(
        ExpectedFile(
            "OmniMedVQA.zip",
            "questions and pictures; size as a public project measured it",
            pictures=True,
            group="all",
            bytes=10_698_178_715,
        ),
        ExpectedFile("OmniMedVQA/Images/**", "the pictures, unpacked", pictures=True, group="all", by_hand=True),
        ExpectedFile("OmniMedVQA/QA_information/**", "the questions, unpacked", group="all", by_hand=True),
    ),
    row_count=Count(127_995, "Awesome-Medical-Dataset's page: 88,996 open, the rest restricted"),
    image_count=Count(82_059, "Awesome-Medical-Dataset's page: of the open questions"),
    split_rule=f"ours: {HELD_OUT_PERCENT} % of the pictures, by the hash of their path, are eval",
    rows=rows,
    adapt=adapt,
    example={
        "dataset": "Chest CT Scan",
        "question_id": "Chest CT Scan_0000",
        "question_type": "Modality Recognition",
        "question": "What imaging technique was used?",
        "gt_answer": "CT scan",
        "image_path": "Images/Chest CT Scan/test/normal/7 (6).png",
        "option_A": "MRI",
        "option_B": "CT scan",
        "option_C": "Ultrasound",
        "option_D": "X-ray",
        "modality_type": "CT(Computed Tomography)",
        "part": OPEN,
    },
)
