"""The form in which a kept sample teaches: which way a pair is turned, in whose words it is asked for, how it answers.

A caption or report pair teaches one way only: describe the picture, or draw it. Where the source asks in words of its
own, they stay; where it has none, or where a pair was turned round, a template set has them (`phrases.py`). Which way
and which phrase is decided by the sample id alone, so that both survive any change of order, number of workers or of
other samples. The sample id stays that of the pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from medmax_pipeline.curation.phrases import TEXT, Templates
from medmax_pipeline.records import IMAGE, Kind, Sample, Turn
from medmax_pipeline.sources.choices import LETTERS

McqAnswer = Literal["letter", "option"]
SALT: Final = "instruction-form"


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


def position(sample_id: str) -> float:
    """A number from 0 (included) to 1 (excluded) that belongs to a sample id for good."""
    return int(hashlib.sha256(f"{SALT}:{sample_id}".encode()).hexdigest()[:13], 16) / 16**13


@dataclass(frozen=True, slots=True)
class Formatter:
    """Puts the samples of one source into their form."""

    turned: Mapping[Kind, Turned]
    templates: Templates
    asked_share: float
    """Share of the samples with a phrase of ours that are asked as the evaluation asks."""
    mcq_answer: McqAnswer = "letter"
    placeholder: str = ""
    """What the adapter says for the user where the publisher says nothing; empty: the source asks for itself."""

    def __call__(self, sample: Sample) -> Sample:
        """The sample as it will be trained on."""
        form = self.turned.get(sample.kind)
        if form is not None and position(sample.sample_id) < form.share:
            words = self._phrase(form.kind, sample).replace(TEXT, sample.turns[-1].text)
            return replace(sample, kind=form.kind, turns=(Turn("user", words), Turn("assistant", IMAGE)), answer="")
        if sample.kind in ("captioning", "report_generation"):
            return self._described(sample)
        if sample.kind in ("vqa_closed", "vqa_open", "vqa_mcq"):
            return self._asked(sample)
        return sample

    def _phrase(self, kind: Kind, sample: Sample) -> str:
        return self.templates.phrase(kind, sample.sample_id, self.asked_share)

    def _described(self, sample: Sample) -> Sample:
        if not self.placeholder or sample.turns[0].text != IMAGE + self.placeholder:
            return sample
        return replace(sample, turns=(Turn("user", IMAGE + self._phrase(sample.kind, sample)), *sample.turns[1:]))

    def _asked(self, sample: Sample) -> Sample:
        question = self._phrase(sample.kind, sample).replace(TEXT, sample.turns[0].text)
        turns = (replace(sample.turns[0], text=question), *sample.turns[1:])
        option = dict(zip(LETTERS, sample.options, strict=False)).get(sample.turns[-1].text)
        if sample.kind == "vqa_mcq" and self.mcq_answer == "option" and option is not None:
            turns = (*turns[:-1], Turn("assistant", f"{sample.turns[-1].text}: {option}"))
        return replace(sample, turns=turns)
