"""PMC-VQA: multiple-choice questions about figures of articles in PubMed Central (hub `RadGenome/PMC-VQA`,
once `xmcmic/PMC-VQA`).

Two versions, whose splits are aligned neither with each other nor with PMC-OA. The first, about whole (compound)
figures, is the default: it has 176,948 training rows, and the published mixture about 178K, where the second has
152,603. Of its test files `test_clean.csv`, 2,000 rows checked by hand, is eval; `test.csv`, 50,000 unchecked ones, is
neither expected nor read. The variant `v2` is about sub-figures, `train_2.csv` and `test_2.csv`, with their captions.

Quirks of the upstream, each met below: the first version gives the answer as text and its letter in `Answer_label`, the
second gives the letter as `Answer`; an early release wrote `Anwser`; `Answer_label` is sometimes a quotation mark, and
the answer's text finds the letter then; real answers are `N/A`; choices carry their letter, with or without a blank,
sometimes another one or none; choices repeat; questions are wrapped in quotation marks; blanks of every width.
Archives unpack to folders of various names, so rows and pictures join by base name. Rows have no id that lasts.

A letter before a choice must be that of its column: elsewhere nobody knows which one the answer's letter means.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Split, Turn, picture
from medmax_pipeline.sources.choices import find_letter, letter_before, lettered, read_option
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

SPLITS: Final[Mapping[str, Split]] = {"train": "train", "test": "eval"}
LETTERS: Final = "ABCD"
V2: Final = "v2"
QUESTION_EMPTY: Final = "question_empty"
OPTION_EMPTY: Final = "option_empty"
OPTION_LETTER_MISSING: Final = "option_letter_missing"
OPTION_LETTER_WRONG: Final = "option_letter_wrong"
OPTIONS_REPEAT: Final = "options_repeat"
LABEL_UNREADABLE: Final = "label_unreadable"
ANSWER_DISAGREES: Final = "answer_disagrees_with_label"
IMAGE_NOT_NAMED: Final = "image_not_named"
_WRAPPED = re.compile(r'["“”]+([^"“”]*)["“”]+')
_ARTICLE = re.compile(r"PMC\d+")


def rows(files: RowFiles, *, train: str, test: str) -> Iterator[Row]:
    """Rows of both tables, each with the split that its file says."""
    for split, name in (("train", train), ("test", test)):
        for row in files.csv(name):
            yield row if row.fault else row._replace(values={**row.values, "split": split})


def read_options(row: Mapping[str, Any]) -> tuple[str, ...] | Drop:
    """The four choices without their letters, or why they cannot be used.

    Raises:
        RowError: a column is missing or holds no text.
    """
    options: list[str] = []
    for letter, value in zip(LETTERS, need(row, *(f"Choice {letter}" for letter in LETTERS)), strict=True):
        text, option = clean(value), read_option(value, letter)
        if not option.strip(". "):
            return Drop(OPTION_EMPTY, f"choice {letter}")
        if option == text:
            return Drop(OPTION_LETTER_MISSING, f"choice {letter}: {text[:80]}")
        if letter_before(text) != letter:
            return Drop(OPTION_LETTER_WRONG, f"choice {letter}: {text[:80]}")
        options.append(option)
    if any(find_letter(option, options) != letter for letter, option in zip(LETTERS, options, strict=True)):
        return Drop(OPTIONS_REPEAT, " | ".join(options)[:200])
    return tuple(options)


def right_letter(row: Mapping[str, Any], options: Sequence[str]) -> str | Drop:
    """The letter of the right choice: as published, else that of the choice that the answer's text names.

    Raises:
        RowError: there is no answer, under either spelling.
    """
    answer = row["Anwser"] if "Anwser" in row else need(row, "Answer")[0]
    named = clean(row.get("Answer_label", answer)).upper()
    label = named if len(named) == 1 and named in LETTERS else ""
    said = find_letter(answer, options) or find_letter(read_option(answer, ""), options)
    if not label:
        return said or Drop(LABEL_UNREADABLE, f"label {named[:20]!r}, answer {clean(answer)[:80]!r}")
    if "Answer_label" in row and said not in ("", label):
        return Drop(ANSWER_DISAGREES, f"label {label}, answer {clean(answer)[:80]!r} is choice {said}")
    return label


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question with its four choices; the answer is a letter.

    Raises:
        RowError: a column is missing, the split is unknown, or a value is no text.
    """
    figure, question = need(row, "Figure_path", "Question")
    split = row.get("split")
    if not isinstance(split, str) or split not in SPLITS:
        raise RowError(f"split is {split!r}; expected one of {', '.join(SPLITS)}.")
    if not isinstance(figure, str):
        raise RowError(f"Figure_path is {type(figure).__name__}; expected the name of a picture.")
    name = PurePosixPath(figure.strip()).name
    wrapped = _WRAPPED.fullmatch(clean(question))
    question = wrapped.group(1).strip() if wrapped else clean(question)
    if not name:
        return Drop(IMAGE_NOT_NAMED)
    if not question:
        return Drop(QUESTION_EMPTY, name)
    options = read_options(row)
    if isinstance(options, Drop):
        return options
    letter = right_letter(row, options)
    if isinstance(letter, Drop):
        return letter
    asked = json.dumps([question, *options])
    article = _ARTICLE.match(name)
    return Draft(
        key=f"{split}/{name}#{hashlib.sha256(asked.encode()).hexdigest()[:16]}",
        split=SPLITS[split],
        kind="vqa_mcq",
        turns=(Turn("user", IMAGE + lettered(question, options)), Turn("assistant", letter)),
        images=(picture(name),),
        options=options,
        answer=letter,
        context=clean(row.get("Caption")),
        extra=json.dumps({"pmcid": article.group() if article else ""}),
    )


PAGE: Final = "https://huggingface.co/datasets/RadGenome/PMC-VQA"
REVISION: Final = "b56ae594f794867893143b337b4118a835794647"
V1: Final = Source(
    key="pmc_vqa",
    title="PMC-VQA",
    access=Access(
        kind="hub",
        page=PAGE,
        how="Download train.csv, test_clean.csv and images.zip (18.9 GB) and leave the archive packed.",
        repo="RadGenome/PMC-VQA",
        revision=REVISION,
    ),
    licence=Licence(
        "CC-BY-SA", PAGE, "2026-11-23, in quotations of the card, which names no version; its header has no tag"
    ),
    credentialed=False,
    files=(
        ExpectedFile("train.csv", "training questions; size by the hub's listing, rounded", bytes=38_100_000),
        ExpectedFile(
            "test_clean.csv", "2,000 questions checked by hand; size by the hub's listing, rounded", bytes=419_000
        ),
        ExpectedFile(
            "images.zip",
            "the figures; size as a public project measured it",
            pictures=True,
            group="pictures",
            bytes=18_945_102_275,
        ),
        ExpectedFile("images/**", "the figures, unpacked", pictures=True, group="pictures", by_hand=True),
    ),
    row_count=Count(
        178_948, "the hub's page and cards of re-exports: 176,948 train (another count: 176,946), 2,000 test"
    ),
    image_count=Count(None, "not published apart from the rows; counted at ingest"),
    split_rule="publisher's: train.csv is train, test_clean.csv is eval",
    rows=partial(rows, train="train.csv", test="test_clean.csv"),
    adapt=adapt,
    example={
        "Figure_path": "PMC0000001_Fig1_HTML.jpg",
        "Question": " What uptake pattern is shown? ",
        "Answer": " Diffuse ",
        "Choice A": " A:Diffuse ",
        "Choice B": " B:Focal ",
        "Choice C": " C:Patchy ",
        "Choice D": " D:None ",
        "Answer_label": "A",
        "split": "train",
    },
)
SUB_FIGURES: Final = replace(
    V1,
    title="PMC-VQA, second version",
    access=replace(
        V1.access, how="Download train_2.csv, test_2.csv and images_2.zip (2.21 GB) and leave the archive packed."
    ),
    files=(
        ExpectedFile("train_2.csv", "training questions; size by the hub's listing", bytes=56_703_454),
        ExpectedFile("test_2.csv", "test questions; size by the hub's listing", bytes=12_446_345),
        ExpectedFile(
            "images_2.zip",
            "the sub-figures; size by the hub's listing",
            pictures=True,
            group="pictures",
            bytes=2_206_255_503,
        ),
        ExpectedFile("images_2/**", "the sub-figures, unpacked", pictures=True, group="pictures", by_hand=True),
        ExpectedFile("figures/**", "the sub-figures, unpacked in place", pictures=True, group="pictures", by_hand=True),
    ),
    row_count=Count(186_033, "cards of public re-exports: 152,603 train, 33,430 test"),
    image_count=Count(164_360, "a public project's count: 135,339 train, 29,021 test"),
    split_rule="publisher's: train_2.csv is train, test_2.csv is eval",
    rows=partial(rows, train="train_2.csv", test="test_2.csv"),
    example={
        "index": "0",
        "Figure_path": "PMC0000002_Fig4_11.jpg",
        "Caption": "Green stain in the cortex.",
        "Question": "What colour is the stain?",
        "Choice A": " A: Green ",
        "Choice B": " B: Red ",
        "Choice C": " C: Blue ",
        "Choice D": " D: Black ",
        "Answer": "A",
        "split": "train",
    },
)
SOURCE = replace(V1, variants={V2: SUB_FIGURES})
