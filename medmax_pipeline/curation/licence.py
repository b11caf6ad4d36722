"""Training samples under a licence that the build does not admit.

The licence is the one on the sample, as its source's record names it. A name means those words and no reading of
ours; only `commercial` is a reading, and `COMMERCIAL` is all of it. No legal advice: terms stand on the publishers'
pages, which `docs/sources.md` lists.

A sample that was dropped as the duplicate of one that goes for its licence goes too: its content was published under
terms that the build does not admit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.records import Drop, Sample

NOT_ADMITTED: Final = "licence_not_admitted"
COMMERCIAL_SET: Final = "commercial"
COMMERCIAL: Final = frozenset({"Apache-2.0", "CC-BY-4.0", "CC-BY-SA", "CC0-1.0", "MIT"})
"""Names on our records that allow commercial use and changed copies. Terms that nobody stated, that forbid either, or
that mix those of other sets are not among them."""


def admitted(names: Iterable[str], known: Iterable[str]) -> frozenset[str] | None:
    """The licences that stay; None: any.

    Args:
        names: as the build's file says: names of licences, or `commercial`.
        known: licences on the records of the build's sources.

    Raises:
        ConfigError: a name is no licence of the build's sources.
    """
    asked, there = {*names}, {*known}
    strange = sorted(asked - there - {COMMERCIAL_SET} - COMMERCIAL)
    if strange:
        expected = ", ".join(sorted({*there, COMMERCIAL_SET}))
        raise ConfigError(f"curation.licences names {strange}, which no source of the build has; they have {expected}.")
    if not asked:
        return None
    return frozenset(asked - {COMMERCIAL_SET}) | (COMMERCIAL if COMMERCIAL_SET in asked else frozenset())


def decide(sample: Sample, stay: frozenset[str] | None) -> Drop | None:
    """A drop where the sample's licence is not among those that stay."""
    if stay is None or sample.licence in stay:
        return None
    return Drop(NOT_ADMITTED, sample.licence)
