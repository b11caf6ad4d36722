"""PathMMU: multiple-choice questions on pathology, written by a model and checked by pathologists (gated hub).

Quirks of the upstream, each met below: `data.json` is lists inside category inside split; `No` is unique within one
category and split alone; `test_tiny` and `test` share no question, and together they are the paper's test; an option
opens with its letter and may hold a bracket later on; three options or four, five at most; a few answers are none of
their options; pictures of SocialPath, Atlas and PathCLS are not in the archive and must be rebuilt from their own
sources by hand, so rows without a picture are normal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, Turn, picture
from medmax_pipeline.sources.choices import LETTERS, find_letter, letter_before, lettered, read_option
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

QUESTIONS: Final = "data.json"
SPLITS: Final[Mapping[str, str]] = MappingProxyType(
    {"test": "", "test_tiny": "", "val": "split_validation", "train": "split_train"}
)
"""The publisher's splits, each with the reason for which its rows are left out."""
QUESTION_EMPTY: Final = "question_empty"
OPTIONS_TOO_FEW: Final = "options_too_few"
ANSWER_NOT_AN_OPTION: Final = "answer_not_an_option"
IMAGE_NOT_NAMED: Final = "image_not_named"
_KEPT_FOR_PEOPLE = ("source_img", "tw_id", "img_position", "ref_web")


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of every list, with `category` and `split` from where it lies."""
    for keys, row in files.json_lists(QUESTIONS):
        if row.fault:
            yield row
        elif len(keys) != 2:
            yield Row(row.file, row.number, {}, f"lies below {' / '.join(keys)}; expected category and split")
        else:
            yield row._replace(values={**row.values, "category": keys[0], "split": keys[1]})


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question with its options.

    Raises:
        RowError: a key is missing, the split is unknown, or options are no list lettered from A on.
    """
    category, split, number, name = need(row, "category", "split", "No", "img")
    question, answer, given = need(row, "question", "answer", "options")
    reason = SPLITS.get(clean(split))
    if reason is None:
        raise RowError(f"split is {split!r}; expected one of {', '.join(SPLITS)}.")
    if reason:
        return Drop(reason)
    key = f"{clean(category)}/{split}/{clean(number)}"
    text, image = clean(clean(question).replace(IMAGE, " ")), clean(name)
    if not text:
        return Drop(QUESTION_EMPTY, key)
    if not image:
        return Drop(IMAGE_NOT_NAMED, key)
    options = _options(given)
    if len(options) < 2:
        return Drop(OPTIONS_TOO_FEW, key)
    letter = _letter(answer, given, options)
    if not letter:
        return Drop(ANSWER_NOT_AN_OPTION, f"{key}: {clean(answer)[:80]}")
    return Draft(
        key=key,
        split="eval",
        kind="vqa_mcq",
        turns=(Turn("user", f"{IMAGE}{lettered(text, options)}"), Turn("assistant", letter)),
        images=(picture(image),),
        options=options,
        answer=letter,
        modality="histology",
        context=clean(row.get("explanation")),
        extra=json.dumps(
            {"category": clean(category), "split": split}
            | {known: clean(row[known]) for known in _KEPT_FOR_PEOPLE if isinstance(row.get(known), str | int)}
        ),
    )


def _options(given: Any) -> tuple[str, ...]:
    """The options without their letters."""
    if not isinstance(given, list) or len(given) > len(LETTERS):
        raise RowError(f"options are {str(given)[:80]!r}; expected a list of at most {len(LETTERS)}.")
    told = [letter_before(option) for option in given]
    if any(letter not in ("", expected) for letter, expected in zip(told, LETTERS, strict=False)):
        raise RowError(f"options are lettered {', '.join(told)}; expected {', '.join(LETTERS[: len(given)])}.")
    return tuple(
        read_option(option, letter).replace(IMAGE, " ") for option, letter in zip(given, LETTERS, strict=False)
    )


def _letter(answer: Any, given: list[Any], options: tuple[str, ...]) -> str:
    """The letter of the option that the answer is, else of the one that says the same; empty where there is none."""
    whole = find_letter(answer, [clean(option) for option in given])
    if whole or letter_before(answer):
        return whole
    return find_letter(answer, options)


SOURCE = Source(
    key="path_mmu",
    title="PathMMU",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/jamessyx/PathMMU",
        how="Fill in the form on the page and give a token that may read it. Pictures of SocialPath, Atlas and PathCLS "
        "are not in it: rebuild them as PathMMU-Benchmark/PathMMU says and place them below images/.",
        repo="jamessyx/PathMMU",
        revision="054e64e56e599e9636024f1471d49ecae4a2784f",
        gated=True,
    ),
    licence=Licence("CC-BY-ND-4.0", "https://huggingface.co/datasets/jamessyx/PathMMU", "2026-11-23, on the card"),
    credentialed=False,
    files=(
        ExpectedFile(QUESTIONS, "category, split, list of questions"),
        ExpectedFile("images.zip", "the pictures of PubMed and EduContent", pictures=True, bytes=1_931_564_255),
        ExpectedFile("images/**", "the rebuilt pictures", pictures=True, optional=True, by_hand=True),
    ),
    row_count=Count(33_428, "publisher: 23,041 train, 710 val, 9,677 test with test_tiny"),
    image_count=Count(24_067, "publisher; those of three categories are not in the archive"),
    split_rule="publisher's test and test_tiny are eval, train and val are left out",
    splits=("eval",),
    rows=rows,
    adapt=adapt,
    example={
        "No": 1,
        "img": "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9.jpg",
        "question": "What is shown?",
        "options": ["A) Mitosis", "B) Apoptosis (late)", "C) Necrosis", "D) Fibrosis"],
        "answer": "B) Apoptosis (late)",
        "explanation": "The nuclei are shrunken.",
        "category": "PubMed",
        "split": "test_tiny",
    },
)
