"""Visual chat: questions about one picture, answered freely and set beside GPT-4's answers by a judge that reads what
the article says of the figure.

Each item is answered and judged twice. Strict: the model and the judge get the same question, the judge without the
picture's mark, in both orders; greedy text. Compat, by the reference implementation's rules (medmax
`evaluation/visual_chat.py`): the model gets one fixed request for every detailed description, under a repetition
penalty of 1.2, while the judge reads the question of the data, mark and all, with the reference answer first. One of
its faults cannot be kept: it hands the judge the printed dictionary of the answer, with run names in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medmax_pipeline.eval.asking import ask, fitted, record_of
from medmax_pipeline.eval.compat import REPETITION_PENALTY
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.pairwise import METRICS as PAIRWISE
from medmax_pipeline.eval.pairwise import pair, unmarked, with_scores
from medmax_pipeline.eval.records import Answered, ItemRecord
from medmax_pipeline.eval.task import Decoding, Metric, Task
from medmax_pipeline.eval.text_metrics import token_f1
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import IMAGE, Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine
    from medmax_pipeline.eval.scorers import Scorers

DESCRIPTION = "detailed_description"
DESCRIPTION_PROMPT = "Analyze the image in a comprehensive and detailed manner."
"""What the reference implementation asks in place of every detailed description's own question (paper, section 5)."""
DECODING = Decoding(max_new_tokens=1024)
"""Ours: longer than any reference answer. The reference lets a text go on to the end of the model's 4,096 positions."""
COMPAT_TEXT = "compat_text"
"""Where the predictions of a record that was asked hold the compat answer."""

METRICS = (
    *PAIRWISE,
    Metric(
        name="token_f1",
        scorer="word_overlap",
        meaning="F1 of the words of reply and reference answer; needs no judge, and knows no synonym",
    ),
)


def question_type(sample: Sample) -> str:
    """`conversation` or `detailed_description`; the published evaluation data writes its task in front."""
    return sample.answer_type.rpartition("/")[2]


def prompt(sample: Sample) -> str:
    """The question, the picture where its mark is."""
    return sample.turns[0].text


def compat_prompt(sample: Sample) -> str:
    """What the reference implementation asks; the picture stays on its side of the text."""
    asked = prompt(sample)
    if question_type(sample) != DESCRIPTION:
        return asked
    return f"{DESCRIPTION_PROMPT}{IMAGE}" if asked.endswith(IMAGE) else f"{IMAGE}{DESCRIPTION_PROMPT}"


def reference(sample: Sample) -> str:
    """GPT-4's answer, which it wrote from the article's words."""
    return sample.answer


def answer_chat(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: the greedy answer, and the reference implementation's beside it. An item that cannot be asked
    in one of the two forms is asked in neither."""
    task = fitted(engine, task)
    published = ask(engine, replace(task, prompt=compat_prompt), items)
    asked = ask(engine, task, published.items)
    length = task.decoding.max_new_tokens
    texts = engine.replies(asked.prompts, length)
    prompts = {item.sample.sample_id: ids for item, ids in zip(published.items, published.prompts, strict=True)}
    penalised = engine.replies([prompts[item.sample.sample_id] for item in asked.items], length, REPETITION_PENALTY)
    answered = {
        item.sample.sample_id: record_of(
            task,
            item,
            generated_text=text,
            predictions={COMPAT_TEXT: other},
            metrics={"token_f1": token_f1(text, task.reference(item.sample))},
        )
        for item, text, other in zip(asked.items, texts, penalised, strict=True)
    }
    everything = replace(published, reasons={**published.reasons, **asked.reasons})
    return Answered(everything.in_order(task, answered))


def score_chat(
    scorers: Scorers, task: Task, samples: Sequence[Sample], records: Sequence[ItemRecord]
) -> list[ItemRecord]:
    """The judge's scores of both answers, in percent of the reference answer's."""
    if isinstance(scorers.judge, Lock):
        return list(records)
    both = [(sample, each) for sample, each in zip(samples, records, strict=True) if COMPAT_TEXT in each.predictions]
    judged = with_scores(
        scorers.judge,
        [record for _, record in both],
        [pair(sample, record, unmarked(prompt(sample)), record.generated_text) for sample, record in both],
        [pair(sample, record, prompt(sample), record.predictions[COMPAT_TEXT] or "") for sample, record in both],
    )
    by_id = {record.item_id: record for record in judged}
    return [by_id.get(record.item_id, record) for record in records]
