"""LLaVA-Med's questions about 50 figures: conversations and detailed descriptions, by modality."""

from __future__ import annotations

from medmax_pipeline.eval.chat import (
    DECODING,
    METRICS,
    answer_chat,
    prompt,
    question_type,
    reference,
    score_chat,
)
from medmax_pipeline.eval.task import Count, Task, of_kind

TASK = Task(
    task_name="visual_chat",
    question_type="",
    item_type=question_type,
    rows={"llava_med_chat": of_kind("visual_chat"), "medmax_eval_data": of_kind("visual_chat")},
    prompt=prompt,
    reference=reference,
    answer=answer_chat,
    score=score_chat,
    decoding=DECODING,
    metrics=METRICS,
    published=Count(193, "counted in LLaVA-Med's file: 143 conversation, 50 detailed_description, about 50 figures"),
    batch_size=64,
    version="1",
)
