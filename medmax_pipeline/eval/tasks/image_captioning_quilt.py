"""Histology frames of Quilt-1M's validation split, to be described.

Whether the published rows come out of that split is not known; it is the only hold-out that the publisher has.
"""

from __future__ import annotations

from medmax_pipeline.eval.captioning import (
    DECODING,
    METRICS,
    answer_captioning,
    prompt,
    reference,
    score_captioning,
)
from medmax_pipeline.eval.task import Count, Task, of_kind

TASK = Task(
    task_name="image_captioning",
    question_type="quilt",
    rows={
        "quilt_1m": of_kind("captioning"),
        "medmax_eval_data": of_kind("captioning", answer_type="image_captioning/quilt"),
    },
    prompt=prompt,
    reference=reference,
    answer=answer_captioning,
    score=score_captioning,
    decoding=DECODING,
    metrics=METRICS,
    published=Count(None, "not published; paper, section 5"),
    batch_size=32,
    version="1",
)
