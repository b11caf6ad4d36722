"""Questions answered in free words: a judge's verdict, and overlap with the reference that needs no judge.

The model is decoded twice: plainly, for every figure of ours, and under the reference implementation's repetition
penalty, for the one that is comparable with its table. The judge is asked about either text, in lower case for the
latter, as the reference asks. A verdict that cannot be read leaves the item unscored in both; what differs is which
replies can be read. No rule of words decides what is right: `exact_match` and its like keep their own names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.asking import ask, record_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.judge_prompts import UNREADABLE
from medmax_pipeline.eval.prompts import question
from medmax_pipeline.eval.records import Answered, ItemRecord, scored
from medmax_pipeline.eval.task import Metric, Task
from medmax_pipeline.eval.text_metrics import token_f1, words
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine
    from medmax_pipeline.eval.judge import JudgedAnswer, Verdict
    from medmax_pipeline.eval.scorers import Scorers

JUDGED: Final = "judge_correct"
JUDGED_COMPAT: Final = "judge_correct_compat"
COMPAT_TEXT: Final = "compat_text"

METRICS = (
    Metric(
        name=JUDGED,
        by="judge",
        meaning="share of the judged answers that the judge calls right; replies with no single verdict are unscored",
        headline=True,
    ),
    Metric(
        name=JUDGED_COMPAT,
        by="judge",
        meaning="the reference implementation's way: repetition penalty 1.2, answer in lower case, first substring "
        "that reads as a verdict; other replies are in no mean",
    ),
    Metric(
        name="exact_match",
        scorer="same_words",
        meaning="share of answers with the reference's words in its order, but for case and punctuation",
    ),
    Metric(
        name="token_f1",
        scorer="word_overlap",
        meaning="F1 of the words of answer and reference",
    ),
    Metric(
        name="token_recall",
        scorer="word_overlap",
        meaning="share of the reference's words that are in the answer",
    ),
)


def exact_match(reply: str, reference: str) -> float:
    """1.0 where both have the same words in the same order; where the reference has none (`+`), the same text."""
    mine, theirs = words(reply), words(reference)
    return float(mine == theirs if theirs else reply.strip().casefold() == reference.strip().casefold())


def token_recall(reply: str, reference: str) -> float:
    """Share of the reference's words, with their numbers of times, that the reply has; `exact_match` where it has none.

    The recall of open questions in "LLaVA-Med" (arXiv 2306.00890, section 5), over words.
    """
    mine, theirs = Counter(words(reply)), Counter(words(reference))
    return (mine & theirs).total() / theirs.total() if theirs else exact_match(reply, reference)


def overlap_of(reply: str, reference: str) -> dict[str, float]:
    """The figures that need no judge, each 0 to 1."""
    return {
        "exact_match": exact_match(reply, reference),
        "token_f1": token_f1(reply, reference),
        "token_recall": token_recall(reply, reference),
    }


def answer_open(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: the greedy answer, the reference implementation's, and the figures that need no judge."""
    asked = ask(engine, task, items)
    replies = engine.replies(asked.prompts, task.decoding.max_new_tokens)
    penalised = engine.replies(asked.prompts, compat.OPEN_TOKENS, compat.REPETITION_PENALTY)
    judged = {
        item.sample.sample_id: record_of(
            task,
            item,
            generated_text=reply,
            predictions={COMPAT_TEXT: compat.candidate(other)},
            metrics=overlap_of(reply, task.reference(item.sample)),
        )
        for item, reply, other in zip(asked.items, replies, penalised, strict=True)
    }
    return Answered(asked.in_order(task, judged))


def score_open(
    scorers: Scorers, task: Task, samples: Sequence[Sample], records: Sequence[ItemRecord]
) -> list[ItemRecord]:
    """The records with the judge's verdicts; as they are where there is no judge."""
    if isinstance(scorers.judge, Lock):
        return list(records)
    said = [place for place, record in enumerate(records) if COMPAT_TEXT in record.predictions]
    strict = [_judged(samples[place], records[place], records[place].generated_text) for place in said]
    published = [
        _judged(samples[place], records[place], records[place].predictions[COMPAT_TEXT] or "") for place in said
    ]
    verdicts = scorers.judge.correct([*strict, *published])
    by_place = {place: (verdicts[n], verdicts[n + len(said)]) for n, place in enumerate(said)}
    nothing = {JUDGED: None, JUDGED_COMPAT: None}
    return [
        _ruled(record, *by_place[place]) if place in by_place else scored(record, nothing)
        for place, record in enumerate(records)
    ]


def _judged(sample: Sample, record: ItemRecord, candidate: str) -> JudgedAnswer:
    from medmax_pipeline.eval.judge import JudgedAnswer

    return JudgedAnswer(
        item_id=record.item_id,
        question=question(sample),
        reference=record.reference,
        candidate=candidate,
        credentialed=record.credentialed,
    )


def _ruled(record: ItemRecord, ours: Verdict, published: Verdict) -> ItemRecord:
    """A record with both verdicts; what is unknown is named."""
    reasons = [] if ours.value is not None else [ours.reason]
    if published.compat is None:
        reasons.append(f"{published.reason or UNREADABLE}_compat")
    return scored(
        record,
        {JUDGED: ours.value, JUDGED_COMPAT: published.compat},
        unscored=" ".join(reasons),
        verdicts=(*ours.replies, *published.replies),
        correct_strict=None if ours.value is None else ours.value == 1.0,
        correct_compat=None if published.compat is None else published.compat == 1.0,
    )
