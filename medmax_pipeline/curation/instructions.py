"""The form in which a kept sample teaches: some captions and reports become requests for a picture.

A caption pair teaches one way only: describe the picture, or draw it. Which way is decided by the sample id alone, so
that it survives any change of order, number of workers or of other samples. The sample id stays that of the pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from medmax_pipeline.records import IMAGE, Kind, Sample, Turn


class Turned(NamedTuple):
    """What a kind becomes when it is turned round, and for which share of its samples."""

    kind: Kind
    share: float


def forms(generation_share: float, radiograph_share: float) -> Mapping[Kind, Turned]:
    """The kinds that may be turned round.

    Args:
        generation_share: share of captioning samples, 0 to 1, that become generation.
        radiograph_share: share of report_generation samples, 0 to 1, that become radiograph_generation.
    """
    return {
        "captioning": Turned("generation", generation_share),
        "report_generation": Turned("radiograph_generation", radiograph_share),
    }


SALT: Final = "instruction-form"


def position(sample_id: str) -> float:
    """A number from 0 (included) to 1 (excluded) that belongs to a sample id for good."""
    return int(hashlib.sha256(f"{SALT}:{sample_id}".encode()).hexdigest()[:13], 16) / 16**13


def put_into_form(sample: Sample, turned: Mapping[Kind, Turned]) -> Sample:
    """The sample as it will be trained on: unchanged, or its text asking for its picture."""
    form = turned.get(sample.kind)
    if form is None or position(sample.sample_id) >= form.share:
        return sample
    said = sample.turns[-1].text
    return replace(sample, kind=form.kind, turns=(Turn("user", said), Turn("assistant", IMAGE)), answer="")
