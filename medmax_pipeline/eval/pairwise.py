"""Answers set beside a reference answer by the build's judge: what visual chat and multimodal generation share.

A figure is the candidate's score in percent of the reference's, as the paper gives it; it may pass 100. Strict: the
mean of both orders. Compat: the reference first, and once. What a judge is asked is `judge_prompts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medmax_pipeline.eval.records import ItemRecord, scored
from medmax_pipeline.eval.task import Metric
from medmax_pipeline.records import IMAGE, Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.judge import Judge, JudgedPair, Verdict

STRICT = "relative_score"
COMPAT = "relative_score_compat"
COMPAT_UNREAD = "judge_compat_unread"
"""Reason of a compat figure where the judge's only reply could not be read by the reference implementation's rule."""

METRICS = (
    Metric(
        name=STRICT,
        by="judge",
        meaning="the judge's score of the answer in percent of its score of the reference answer, mean of both orders",
        share=False,
        headline=True,
    ),
    Metric(
        name=COMPAT,
        by="judge",
        meaning="the same by the reference implementation's rules: reference first, one order, its prompts and its "
        "repetition penalty of 1.2",
        share=False,
    ),
)


def unmarked(text: str) -> str:
    """A text without the marks of pictures."""
    return text.replace(IMAGE, " ").strip()


def pair(sample: Sample, record: ItemRecord, question: str, candidate: str) -> JudgedPair:
    """An answer beside the record's reference, with the sample's context."""
    from medmax_pipeline.eval.judge import JudgedPair

    return JudgedPair(
        item_id=record.item_id,
        question=question,
        context=sample.context,
        reference=record.reference,
        candidate=candidate,
        credentialed=record.credentialed,
    )


def with_scores(
    judge: Judge, records: Sequence[ItemRecord], strict: Sequence[JudgedPair], compat: Sequence[JudgedPair]
) -> list[ItemRecord]:
    """The records with both figures, and the judge's replies: the strict answer's first.

    Args:
        judge: asked for all of them at once.
        records: of items that were asked.
        strict: each record's answer beside its reference.
        compat: the same as the reference implementation asks it.
    """
    both = zip(records, judge.compare(strict, True), judge.compare(compat, False), strict=True)
    return [_with_score(record, mine, theirs) for record, mine, theirs in both]


def _with_score(record: ItemRecord, mine: Verdict, theirs: Verdict) -> ItemRecord:
    reasons = [mine.reason if mine.value is None else ""]
    if theirs.compat is None:
        reasons.append(COMPAT_UNREAD if theirs.replies else theirs.reason)
    return scored(
        record,
        {STRICT: mine.value, COMPAT: theirs.compat},
        unscored=" ".join(reasons),
        verdicts=(*mine.replies, *theirs.replies),
    )
