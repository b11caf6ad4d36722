"""Pictures of held-out PMC-OA articles, to be described."""

from __future__ import annotations

from medmax_pipeline.eval.captioning import METRICS, PROMPT, answer_captioning
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind
from medmax_pipeline.records import IMAGE, Sample


def prompt(sample: Sample) -> str:
    """The picture and the reference's fixed text."""
    return IMAGE + PROMPT


def reference(sample: Sample) -> str:
    """The article's caption."""
    return sample.answer


TASK = Task(
    task_name="image_captioning",
    question_type="pmc_oa",
    rows={"pmc_oa": of_kind("captioning")},
    prompt=prompt,
    reference=reference,
    answer=answer_captioning,
    decoding=Decoding(max_new_tokens=64),
    metrics=METRICS,
    published=Count(None, "not published; paper, section 5"),
    batch_size=32,
    version="1",
)
