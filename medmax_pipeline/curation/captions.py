"""Weak captions out: a language model says of each caption whether it tells anything of a picture.

The paper filters so with GPT-4o-mini; its prompt is not published, so the one in `prompts/` is ours. The model sees the
caption and no picture, so it cannot know whether the caption is true. Captions are those of training samples that every
other decision keeps: what leaves anyway is neither shown to anybody nor paid for, what people withdrew least of all.

A caption stays only where a reply says so. One that says to drop it names a reason of the prompt; one that cannot be
read is asked for once more, then the sample is quarantined as `caption_unreadable`, and one that the endpoint would not
answer under that refusal's name (`caption_credentialed_not_admitted`, `caption_model_refused`, ...): it leaves training
too, since nobody judged it. Where the endpoint as a whole fails or its budget is spent, the step ends with an error and
publishes nothing; what was answered is kept, and the next build goes on from there. What is asked and how replies are
read is `caption_prompt.py`, inputs and parameters are `caption_step.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa

from medmax_pipeline.arrow import left_to_table, read_samples
from medmax_pipeline.curation.caption_prompt import (
    KEEP,
    CaptionPrompt,
    Unreadable,
    Verdict,
    messages,
    read_verdict,
)
from medmax_pipeline.curation.columns import SAMPLES
from medmax_pipeline.files import Json, write_table
from medmax_pipeline.ingest.tables import open_table
from medmax_pipeline.models.endpoint import Chat, Message, Refused, Reply, Request
from medmax_pipeline.records import Counts, Drop, Kind, Left, Sample
from medmax_pipeline.steps import Outcome, Run

UNREADABLE: Final = "caption_unreadable"
CUT: Final = "caption_reply_cut"
CAPTIONED: Final[tuple[Kind, ...]] = ("captioning", "generation")
"""Kinds whose samples are a picture and its caption, whichever way they are turned."""
AT_ONCE: Final = 1024
"""Captions whose replies are in memory together."""
VERDICT_SCHEMA: Final = pa.schema([("sample_id", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
"""One line a sample that leaves."""

Decide = Callable[[Sample], Drop | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose captions are judged: a source's published samples, and the decisions that come first."""

    samples: Path
    before: Sequence[Decide]

    def all(self) -> Iterator[Sample]:
        """The samples in their order."""
        for sample in read_samples(self.samples / SAMPLES):
            if sample.kind in CAPTIONED and not any(decide(sample) for decide in self.before):
                yield sample


@dataclass(slots=True)
class Tally:
    """What became of the captions so far."""

    taken: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)


class CaptionJudge:
    """An endpoint with the prompt for captions."""

    def __init__(self, chat: Chat, prompt: CaptionPrompt, rounds: int = 1) -> None:
        """Bring both together.

        Args:
            chat: who is asked.
            prompt: what.
            rounds: times that a caption is asked about, each with a reminder where the reply cannot be read;
                `medmax retry` gives one more.
        """
        self.chat = chat
        self.prompt = prompt
        self._rounds = rounds

    def request(self, sample: Sample, attempt: int = 0) -> Request:
        """What is asked about a sample's caption."""
        return Request(messages(self.prompt, caption_of(sample)), sample.credentialed, attempt)

    def judge(self, samples: Sequence[Sample]) -> list[Verdict | Left]:
        """A verdict a sample, or why there is none; in their order.

        Raises:
            EndpointError: the endpoint is out of order, or its budget is spent.
        """
        found = self._round(samples, 0)
        for number in range(1, self._rounds):
            unread = [place for place, one in enumerate(found) if isinstance(one, Left)]
            for place, one in zip(unread, self._round([samples[place] for place in unread], number), strict=True):
                found[place] = one
        return found

    def _round(self, samples: Sequence[Sample], number: int) -> list[Verdict | Left]:
        """Ask once, and remind of the form where a reply cannot be read."""
        first = [self.request(sample, 2 * number) for sample in samples]
        said = self.chat.ask_all(first)
        found = [self._read(sample, one) for sample, one in zip(samples, said, strict=True)]
        odd = [place for place, one in enumerate(said) if isinstance(one, Reply) and isinstance(found[place], Left)]
        reminders = [self._reminder(first[place], said[place]) for place in odd]
        for place, one in zip(odd, self.chat.ask_all(reminders), strict=True):
            found[place] = self._read(samples[place], one)
        return found

    def _reminder(self, first: Request, said: Reply | Refused) -> Request:
        assert isinstance(said, Reply)
        more = (Message("assistant", said.text), Message("user", self.prompt.again))
        return Request((*first.messages, *more), first.credentialed, first.attempt + 1)

    def _read(self, sample: Sample, said: Reply | Refused) -> Verdict | Left:
        if isinstance(said, Refused):
            return _left(sample, f"caption_{said.reason}", said.detail)
        if not said.complete:
            return _left(sample, CUT, f"after {len(said.text)} characters")
        verdict = read_verdict(said.text, self.prompt)
        return _left(sample, UNREADABLE, verdict.detail) if isinstance(verdict, Unreadable) else verdict


def caption_of(sample: Sample) -> str:
    """What the publisher says of the picture."""
    return sample.context or sample.answer


def _left(sample: Sample, reason: str, detail: str) -> Left:
    return Left(sample.sample_id, reason, detail[:200], sample.origin.file, sample.origin.row)


def make_captions(ctx: Run, sources: Sequence[str], asked: Mapping[str, Asked], judge: CaptionJudge | None) -> Outcome:
    """Judge the captions and publish one part a source, and what could not be judged.

    Args:
        ctx: where to.
        sources: that get a part, empty where nothing is asked of them.
        asked: whose captions are judged.
        judge: None: the decision is off.

    Raises:
        EndpointError: the endpoint is out of order, or its budget is spent; nothing is published.
    """
    tally, parts = Tally(), {}
    if judge is not None:
        judge.chat.announce(judge.request(sample) for one in asked.values() for sample in one.all())
    with open_table(ctx.out / "quarantine.parquet", left_to_table) as bad:
        for source in sources:
            rows: list[dict[str, str]] = []
            for sample, found in _judged(asked[source].all(), judge) if judge and source in asked else ():
                tally.taken += 1
                if isinstance(found, Left):
                    tally.quarantined[found.reason] += 1
                    bad.add(found)
                    rows.append({"sample_id": sample.sample_id, "reason": found.reason, "detail": found.detail})
                elif found.reason != KEEP:
                    reason = f"caption_{found.reason}"
                    tally.dropped[reason] += 1
                    detail = f"{judge.chat.name}, prompt {judge.prompt.name}" if judge else ""
                    rows.append({"sample_id": sample.sample_id, "reason": reason, "detail": detail})
            write_table(ctx.out / f"{source}.parquet", pa.Table.from_pylist(rows, schema=VERDICT_SCHEMA))
            parts[source] = [f"{source}.parquet"]
            ctx.log(f"captions: {source}, {tally.taken:,} judged so far")
    gone = tally.dropped.total() + tally.quarantined.total()
    return Outcome(
        counts=Counts(
            tally.taken,
            tally.taken - gone,
            dict(sorted(tally.dropped.items())),
            dict(sorted(tally.quarantined.items())),
        ),
        parts=parts,
        summary=_summary(sources, asked, judge),
    )


def _summary(sources: Sequence[str], asked: Mapping[str, Asked], judge: CaptionJudge | None) -> dict[str, Json]:
    told: dict[str, Json] = {
        "mode": "off" if judge is None else "model",
        "not_looked_at": ", ".join(source for source in sources if source not in asked),
    }
    if judge is not None:
        told |= {"model": judge.chat.name, "prompt": judge.prompt.name, **judge.chat.summary()}
    return told


def _judged(samples: Iterable[Sample], judge: CaptionJudge) -> Iterator[tuple[Sample, Verdict | Left]]:
    waiting = iter(samples)
    while some := list(islice(waiting, AT_ONCE)):
        yield from zip(some, judge.judge(some), strict=True)
