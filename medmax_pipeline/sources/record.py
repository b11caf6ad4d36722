"""What a source is: one frozen record that says what its publisher ships and how a row becomes a draft.

The facts about one data set belong to its own file in this folder; opening files and pictures belongs to `ingest/`,
which hands an opened landing folder to `Source.rows` as a `RowFiles`. No network and no file access here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from medmax_pipeline.records import Draft, Drop

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
    """Relative to the landing folder; `*` stands for any run of characters but the slash."""
    note: str
    """What it holds."""
    pictures: bool = False
    """Whether it is a picture or an archive of pictures; those that no row names are counted."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the files come to the landing folder."""

    kind: Literal["hub", "url", "manual"]
    """`manual`: by request or credentialed, the user places the files."""
    page: str
    """Where the publisher offers them."""
    how: str
    """What to do there, in one or two sentences."""
    repo: str = ""
    revision: str = ""
    """`hub`: full commit; `url`: sha256 of the file."""


class Row(NamedTuple):
    """One upstream row and where it stands."""

    file: str
    number: int
    """From 0, in the order of the file."""
    values: Mapping[str, Any]
    fault: str = ""
    """Why the row could not be read; `values` is empty then."""


class RowFiles(Protocol):
    """An opened landing folder, as far as reading rows goes. Every method streams; sizes are bounded."""

    def files(self, pattern: str) -> Sequence[str]:
        """Sorted names of the files that match an expected path."""

    def json_array(self, file: str) -> Iterator[Row]:
        """Rows of a file that holds one JSON array of objects."""

    def jsonl(self, file: str) -> Iterator[Row]:
        """Rows of a file with one JSON object a line."""

    def csv(self, file: str) -> Iterator[Row]:
        """Rows of a CSV file with a header (`.gz` too); every value is a string, nothing is taken for missing."""

    def text(self, file: str) -> str | None:
        """A small text file; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set in the world."""

    key: str
    """Name of its file in this folder, of its landing folder and of its assets."""
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
