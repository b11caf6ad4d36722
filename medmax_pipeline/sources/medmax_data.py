"""The published MedMax training set itself: finished instructions with their token ids (hub `mint-medmax/medmax_data`).

Quirks of the upstream, each met below: prompt and response stand in one `text`, divided by the separator's vocabulary
name; a row has one picture, and were it marked twice, the same codes would stand in both places; credentialed rows
come without `image_path` and `tokens` (absent, null or empty); `credential` is yes or no in any case; rows have no id;
many rows share a picture; pictures lie in one gzipped tar cut into 17 pieces, SLAKE's in a tar of its own.

Texts are kept to the letter, since the published ids are of these very letters; whether our ids are the same is told by
`tokens/published.py`. Not published: the exact words of `task` and `source` (the card's names are accepted in any
case), and how chats of several turns are written; separators between all their turns are taken for granted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Literal

from medmax_pipeline.errors import RowError
from medmax_pipeline.files import digest_of
from medmax_pipeline.records import IMAGE, Draft, Drop, Kind, Turn, picture
from medmax_pipeline.sources.choices import LETTERS, letter_before, options_in
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

SPLITS: Final[Mapping[str, str]] = MappingProxyType({"train.jsonl": "train", "validation.jsonl": "validation"})
SEPARATOR: Final = "<reserved08706>"
"""Between prompt and response in `text`: the separator's name in the published vocabulary."""
CREDENTIALS: Final[Mapping[str, bool]] = MappingProxyType({"yes": True, "no": False})
SPLIT_VALIDATION: Final = "split_validation"
CREDENTIALED_PICTURE: Final = "credentialed_picture_not_shipped"
IMAGE_NOT_NAMED: Final = "image_not_named"
IMAGE_NOT_MARKED: Final = "image_not_marked"
IMAGE_PLACE: Final = "image_in_unexpected_place"
TURN_EMPTY: Final = "turn_empty"
Place = Literal["prompt", "response"]
TASKS: Final[Mapping[str, Mapping[Place, Kind]]] = MappingProxyType(
    {
        "visual chat": {"prompt": "visual_chat"},
        "vqa": {"prompt": "vqa_open"},
        "image captioning": {"prompt": "captioning"},
        "image generation": {"response": "generation"},
        "multimodal generation": {"prompt": "interleaved", "response": "interleaved"},
        "report understanding": {"prompt": "report_generation", "response": "radiograph_generation"},
    }
)
"""The card's task names in lower case, and the kind by where the picture stands."""


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of both splits, with `split` from the file's name."""
    for name, split in SPLITS.items():
        for row in files.jsonl(name):
            yield row if row.fault else row._replace(values={**row.values, "split": split})


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One instruction of the published set.

    Raises:
        RowError: a key is missing, `credential` is neither yes nor no, the task is unknown, or `text` is not prompt and
            response (in turn) around separators.
    """
    text, credential, task, split = need(row, "text", "credential", "task", "split")
    if split not in SPLITS.values():
        raise RowError(f"split is {split!r}; expected one of {', '.join(SPLITS.values())}.")
    if split != "train":
        return Drop(SPLIT_VALIDATION)
    credentialed = CREDENTIALS.get(clean(credential).lower())
    if credentialed is None:
        raise RowError(f"credential is {credential!r}; expected yes or no.")
    name = row.get("image_path")
    if name is None or name == "":
        return Drop(CREDENTIALED_PICTURE if credentialed else IMAGE_NOT_NAMED)
    if not isinstance(name, str):
        raise RowError(f"image_path is {type(name).__name__}; expected the name of a member.")
    turns = split_turns(text)
    if not all(turn.text.strip() for turn in turns):
        return Drop(TURN_EMPTY)
    kind = _kind(clean(task), turns)
    if isinstance(kind, Drop):
        return kind
    draft = Draft(
        key=digest_of([text, name])[:32],
        split="train",
        kind=kind,
        turns=turns,
        images=(picture(name.removeprefix("./")),) * sum(turn.text.count(IMAGE) for turn in turns),
        answer=turns[-1].text.replace(IMAGE, "").strip(),
        extra=json.dumps({"task": clean(task), "source": clean(row.get("source"))}),
        credentialed=credentialed,
    )
    return _answered(draft) if kind == "vqa_open" else draft


def split_turns(text: Any) -> tuple[Turn, ...]:
    """Prompt and response, to the letter; of a chat, each question and each reply.

    Raises:
        RowError: it is no text, or holds no separator or an even number of them.
    """
    if not isinstance(text, str):
        raise RowError(f"text is {type(text).__name__}; expected a string.")
    parts = text.split(SEPARATOR)
    if len(parts) % 2:
        known = sorted(set(re.findall(r"</?[a-z][\w:]{0,30}>", text)))
        raise RowError(
            f"text holds {len(parts) - 1} times the separator {SEPARATOR}, expected it between prompt and response; "
            f"marks in it: {', '.join(known[:8]) or 'none'}. Is it written otherwise in this release?"
        )
    return tuple(Turn("assistant" if place % 2 else "user", part) for place, part in enumerate(parts))


def _kind(task: str, turns: tuple[Turn, ...]) -> Kind | Drop:
    """The kind of a task by where its picture stands."""
    kinds = TASKS.get(" ".join(task.lower().replace("_", " ").replace("-", " ").split()))
    if kinds is None:
        raise RowError(f"task is {task[:80]!r}; expected one of {', '.join(TASKS)}.")
    marked: set[Place] = {"prompt" if turn.role == "user" else "response" for turn in turns if IMAGE in turn.text}
    if not marked:
        return Drop(IMAGE_NOT_MARKED)
    if len(marked) > 1 or not marked <= kinds.keys():
        return Drop(IMAGE_PLACE, f"{task}: in {' and '.join(sorted(marked))}")
    return kinds[marked.pop()]


def _answered(draft: Draft) -> Draft:
    """A question as open, closed or multiple choice, by its answer."""
    answer = clean(draft.answer)
    if answer.lower().rstrip(".") in ("yes", "no"):
        return replace(draft, kind="vqa_closed", answer=answer.lower().rstrip("."))
    options = options_in(draft.turns[-2].text)
    chosen = answer if len(answer) == 1 else letter_before(answer)
    if not chosen or chosen not in LETTERS[: len(options)]:
        return replace(draft, answer=answer)
    return replace(draft, kind="vqa_mcq", options=options, answer=chosen)


SOURCE = Source(
    key="medmax_data",
    title="MedMax (the published set)",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/mint-medmax/medmax_data",
        how="Open to everybody; about 91 GB. By hand: download both .jsonl files and every piece of images.tar.gz, and "
        "leave the pieces as they are.",
        repo="mint-medmax/medmax_data",
        revision="72b3b8e4018034d345686c3598399c90066e2c5c",
    ),
    licence=Licence(
        "Apache-2.0",
        "https://huggingface.co/datasets/mint-medmax/medmax_data",
        "2026-11-23, on the card; the terms of the data sets it was made of are stricter for many rows: their names "
        "are in each sample's extra",
    ),
    credentialed=False,
    files=(
        ExpectedFile("train.jsonl", "one JSON object a line: text, tokens, image_path, task, source, credential"),
        ExpectedFile("validation.jsonl", "the same, left out by name"),
        ExpectedFile("images.tar.gz.*", "one gzipped tar in 17 pieces, aa to aq", pictures=True, group="pictures"),
        ExpectedFile("images.tar.gz", "the same in one piece", pictures=True, group="pictures", by_hand=True),
        ExpectedFile("slake.tar.gz", "the pictures of SLAKE", pictures=True, optional=True),
    ),
    row_count=Count(1_470_000, "rounded; the paper's 1.47M instances, both splits and credentialed rows together"),
    image_count=Count(725_000, "rounded; a summary of the paper, credentialed pictures included"),
    split_rule="publisher's train is train, validation is left out",
    splits=("train",),
    rows=rows,
    adapt=adapt,
    example={
        "text": f"{IMAGE}Is there a fracture?{SEPARATOR}No.",
        "tokens": [0, 8197, 17, 8196, 345, 8710, 912, 2],
        "image_path": "images/vqa_rad/synpic00001.jpg",
        "task": "VQA",
        "source": "VQA-RAD",
        "credential": "no",
        "split": "train",
    },
)
