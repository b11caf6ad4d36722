"""What a source is: one frozen record that says what its publisher ships and how a row becomes a draft.

The facts about one data set belong to its own file in this folder; opening files and pictures belongs to `ingest/`,
which hands an opened landing folder to `Source.rows` as a `RowFiles`. No network and no file access here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from medmax_pipeline.records import Draft, Drop, Split

AccessKind = Literal["hub", "url", "manual"]
Adapted = Draft | Drop | Sequence[Draft | Drop]
"""What an adapter makes of one row."""


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms the rows and pictures may be used."""

    name: str
    """Short name, an SPDX identifier where there is one; it is written on every sample."""
    page: str
    """Where the terms stand."""
    read: str
    """Day on which they were read (YYYY-MM-DD), and in which form."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number with its origin; None where nobody published it."""

    value: int | None
    origin: str


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file, or a glob of files, of the landing folder that ingest reads."""

    path: str
    """Relative to the landing folder; `*` stands for any run of characters but the slash, `**` for any run at all."""
    note: str
    """What it holds."""
    pictures: bool = False
    """Whether it is a picture, an archive of pictures or a table with pictures in it; those that no row names are
    counted."""
    optional: bool = False
    """Its absence does not lock the source."""
    group: str = ""
    """Of the files of one group at least one must be there: the same content in another form (archive or folder)."""
    bytes: int | None = None
    """Published size of all it stands for; None where nobody published it."""
    by_hand: bool = False
    """Not to be fetched even where the source is: on request, or from another place; `Access.how` says how."""
    url: str = ""
    """`url` access: where it is served."""
    sha256: str = ""
    """`url` access: the pinned digest of its bytes."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the files come to the landing folder."""

    kind: AccessKind
    """`hub` and `url`: fetched; `manual`: by request or credentialed, the user places the files."""
    page: str
    """Where the publisher offers them."""
    how: str
    """What to do there, in one or two sentences: for terms to accept, files to ask for, folders to keep."""
    repo: str = ""
    """`hub`: owner/name."""
    repo_type: Literal["dataset", "model"] = "dataset"
    revision: str = ""
    """`hub`: a full commit, or the branch whose commit the first fetch pins (design: never fetched unpinned)."""
    gated: bool = False
    """`hub`: a token of somebody who accepted the terms is needed."""


class Publisher(Protocol):
    """What bringing files needs to know of a source, or of published weights."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def folder(self) -> str:
        """Its landing folder, relative to the landing root."""

    @property
    def access(self) -> Access:
        """How its files come."""

    @property
    def files(self) -> tuple[ExpectedFile, ...]:
        """The files that are read."""


class Row(NamedTuple):
    """One upstream row and where it stands."""

    file: str
    number: int
    """From 0, in the order of the file."""
    values: Mapping[str, Any]
    fault: str = ""
    """Why the row could not be read; `values` is empty then."""


class RowFiles(Protocol):
    """An opened landing folder, as far as reading rows goes. Every method streams; sizes are bounded.

    A *name* is a loose file (`train.json`) or a member of an archive (`data.zip::folder/train.json`).
    """

    def names(self, pattern: str) -> Sequence[str]:
        """Sorted names, loose and in archives, whose path is `pattern` or ends in `/` and `pattern`; globs as expected.

        Where an archive and its unpacked copy are both there, both are named.
        """

    def json_array(self, name: str) -> Iterator[Row]:
        """Rows of a file that holds one JSON array of objects."""

    def json_lists(self, name: str) -> Iterator[tuple[tuple[str, ...], Row]]:
        """Rows of a file that holds lists of objects inside objects, each with its keys from the root down."""

    def jsonl(self, name: str) -> Iterator[Row]:
        """Rows of a file with one JSON object a line."""

    def csv(self, name: str) -> Iterator[Row]:
        """Rows of a CSV file with a header (`.gz` too); every value is a string, nothing is taken for missing."""

    def parquet(self, name: str) -> Iterator[Row]:
        """Rows of a Parquet file; a picture embedded in it arrives as its `ImageRef`, bytes are not read."""

    def text(self, path: str) -> str | None:
        """A small text, loose or the one member whose path ends so; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set in the world."""

    key: str
    """Name of its file in this folder and of its assets."""
    title: str
    access: Access
    licence: Licence
    credentialed: bool
    """Whether rows and pictures may be seen by credentialed people only."""
    files: tuple[ExpectedFile, ...]
    row_count: Count
    image_count: Count
    split_rule: str
    """Where the split into train and eval comes from, for the sources table."""
    rows: Callable[[RowFiles], Iterator[Row]]
    adapt: Callable[[Mapping[str, Any]], Adapted]
    """Pure: one row's values to a draft, a drop, or several of them. An unforeseen shape is a `RowError`."""
    example: Mapping[str, Any]
    """One invented row in the upstream's shape, joined columns included."""
    splits: tuple[Split, ...] = ("train", "eval")
    """What its samples are for."""
    placeholder: str = ""
    """What the adapter says for the user where the publisher has no words; curation phrases it by its templates."""
    shared_folder: str = ""
    """Name of the landing folder where several sources are cut out of the same files; empty: the key."""
    variants: Mapping[str, Source] = field(default_factory=dict)
    """Other releases or choices of files, by the name that a build's file may ask for; each is a whole record."""

    @property
    def folder(self) -> str:
        """Name of its landing folder."""
        return self.shared_folder or self.key
