"""Captions of held-out PMC-OA articles, to be drawn."""

from __future__ import annotations

from medmax_pipeline.eval.generation import METRICS, SAMPLING, answer_generation
from medmax_pipeline.eval.task import Count, Task, of_kind
from medmax_pipeline.records import Sample


def prompt(sample: Sample) -> str:
    """The caption alone, without its picture."""
    return sample.answer


def reference(sample: Sample) -> str:
    """The article's caption: what the picture is meant to show."""
    return sample.answer


TASK = Task(
    task_name="image_generation",
    question_type="pmc_oa",
    rows={"pmc_oa": of_kind("captioning")},
    prompt=prompt,
    reference=reference,
    answer=answer_generation,
    decoding=SAMPLING,
    metrics=METRICS,
    published=Count(100, "the released code scores the first 100 of each source; the set's size is not published"),
    batch_size=8,
    version="1",
)
