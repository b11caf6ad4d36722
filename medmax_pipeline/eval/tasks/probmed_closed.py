"""ProbMed's questions in pairs, a true one and an invented one; right or wrong by the row, not by the pair."""

from __future__ import annotations

from medmax_pipeline.eval.closed import METRICS, answer_closed
from medmax_pipeline.eval.compat import YES_NO
from medmax_pipeline.eval.prompts import chameleon_closed, lower_answer, sft
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind, of_row
from medmax_pipeline.records import Sample
from medmax_pipeline.sources.probmed import topic_of


def topic(sample: Sample) -> str:
    """What its publisher's scorer groups by; the published evaluation data do not say it."""
    return topic_of(sample.answer_type) if sample.source == "probmed" else ""


TASK = Task(
    task_name="probmed",
    question_type="closed",
    rows={"probmed": of_kind("vqa_closed"), "medmax_eval_data": of_row("probmed/closed")},
    prompt=sft,
    chameleon_prompt=chameleon_closed,
    reference=lower_answer,
    answer=answer_closed,
    options=YES_NO,
    decoding=Decoding(max_new_tokens=8),
    metrics=METRICS,
    published=Count(1_000, "inferred: published scores are multiples of 1/1000, as they are of other numbers too"),
    batch_size=64,
    version="2",
    group=topic,
)
