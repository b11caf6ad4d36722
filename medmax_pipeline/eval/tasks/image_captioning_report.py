"""Chest radiographs of MIMIC-CXR's test split, to be reported on: credentialed.

The question is the one of captions, as in the published evaluation, and not the one that reports are trained with.
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
    question_type="report",
    rows={
        "mimic_cxr": of_kind("report_generation"),
        "medmax_eval_data": of_kind("report_generation", answer_type="image_captioning/report"),
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
