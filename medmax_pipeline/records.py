"""The words everything else speaks: samples, drops, quarantined units. As Arrow tables: `arrow.py`.

A *row* is the upstream's unit in its own shape and has no type here. An adapter turns a row into a `Draft` (a sample
whose pictures are still names in the source's files) or a `Drop`; ingest opens the pictures and turns the draft into a
`Sample`, whose pictures are image ids. How a station decides belongs to that station.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from medmax_pipeline.errors import RowError
from medmax_pipeline.files import digest_of

Role = Literal["user", "assistant"]
Split = Literal["train", "eval"]
Kind = Literal[
    "captioning",
    "generation",
    "visual_chat",
    "vqa_closed",
    "vqa_open",
    "vqa_mcq",
    "report_generation",
    "radiograph_generation",
    "interleaved",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
IMAGE = "<image>"
"""Marks a picture's place inside a turn's text."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance; `<image>` in `text` marks the place of the next picture."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture as a row names it, among the files of the source's landing folder.

    `file` empty: wherever among the source's pictures, loose or in an archive. `member` without a slash is a base name,
    with one it is the end of a path (`xmlab1/source.jpg`); exactly one picture must answer to it. `file` given: a loose
    file (no member), or that archive's or table's member.
    """

    file: str
    member: str = ""


def picture(name: str) -> ImageRef:
    """The picture that a row calls `name`, wherever it lies."""
    return ImageRef("", name)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from: file of the landing folder, its sha256, and the row's number in it (from 0)."""

    file: str
    digest: str
    row: int


@dataclass(frozen=True, slots=True)
class Draft:
    """An adapted row before its pictures are opened. Fields as in `Sample`."""

    key: str
    """Natural key: unique within the source, stable over releases where the publisher's ids are."""
    split: Split
    kind: Kind
    turns: tuple[Turn, ...]
    images: tuple[ImageRef, ...]
    options: tuple[str, ...] = ()
    answer: str = ""
    answer_type: str = ""
    modality: str = ""
    context: str = ""
    extra: str = "{}"
    credentialed: bool = False
    """Whether this row is, in a source that as a whole is not: rows of a credentialed data set published again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One instruction example. The columns of design section 5."""

    sample_id: str
    """32 hex digits: digest of source, natural key and content."""
    source: str
    split: Split
    kind: Kind
    turns: tuple[Turn, ...]
    images: tuple[str, ...]
    """Image ids (sha256 of the image file's bytes, 64 hex digits), in the order of their marks."""
    options: tuple[str, ...]
    answer: str
    answer_type: str
    modality: str
    context: str
    licence: str
    credentialed: bool
    origin: Origin
    extra: str
    """JSON; kept for people, never read by a later station."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A row or sample left out by a decision."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """One line of `drops.parquet` or `quarantine.parquet`: what was left out, why, and where it came from."""

    unit: str
    """Natural key, sample id or file member."""
    reason: str
    detail: str = ""
    file: str = ""
    row: int = -1


@dataclass(frozen=True)
class Counts:
    """in = kept + dropped + quarantined, in units of the step (rows, samples, images)."""

    taken: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost and nothing invented."""
        return self.taken == self.kept + sum(self.dropped.values()) + sum(self.quarantined.values())


def sample_id(source: str, draft: Draft, images: tuple[str, ...]) -> str:
    """The stable id of a sample: 32 hex digits over source, natural key and content."""
    turns = [[turn.role, turn.text] for turn in draft.turns]
    content = [
        source,
        draft.key,
        draft.split,
        draft.kind,
        turns,
        list(images),
        list(draft.options),
        draft.answer,
    ]
    return digest_of(content)[:32]


def check_draft(draft: Draft) -> None:
    """Refuse a draft whose marks and pictures disagree or whose turns do not alternate from the user on.

    Raises:
        RowError: naming what was found.
    """
    marks = sum(turn.text.count(IMAGE) for turn in draft.turns)
    if marks != len(draft.images):
        raise RowError(f"{draft.key}: {marks} {IMAGE} marks for {len(draft.images)} pictures; the adapter must agree.")
    roles = [turn.role for turn in draft.turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise RowError(f"{draft.key}: turns are {roles}; expected user and assistant in turn, user first.")
