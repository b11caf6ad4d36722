"""Evaluation rows never train.

Which side a row is on is settled before curation, so that `leakage` knows every evaluation image: by the publisher's
split or the source's own rule, and, for sources that have neither, by the share of images that a build holds out
(`sources/splits.py`). Here it is enforced and named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.records import Drop, Sample
from medmax_pipeline.sources.record import Source

EVALUATION_ROW: Final = "evaluation_row"
HELD_OUT: Final = "held_out"


def held_out_share(hold_out: Mapping[str, float], record: Source) -> float:
    """The share of a source's images that the build holds out, 0 where it holds out none.

    Raises:
        ConfigError: the source has a split of its own, which wins, or the share is not between 0 and 1.
    """
    share = hold_out.get(record.key, 0.0)
    if record.key in hold_out and "eval" in record.splits:
        raise ConfigError(
            f"curation.hold_out names {record.key}, which has a split ({record.split_rule}); that one wins."
        )
    if not 0 <= share < 1:
        raise ConfigError(f"curation.hold_out of {record.key} is {share}; expected 0 to below 1.")
    return share


def decide(sample: Sample, held_out: float) -> Drop | None:
    """A drop for evaluation rows.

    Args:
        sample: any sample of a source.
        held_out: share of the source's images that the build holds out; above 0 no other rule made evaluation rows.
    """
    if sample.split == "train":
        return None
    return Drop(HELD_OUT if held_out else EVALUATION_ROW)
