"""Questions answered with text and a picture in one reply: the text judged beside a reference text, the picture by its
similarity to a reference picture.

Each item is answered twice, like each kind of text: plainly, and under the reference implementation's repetition
penalty of 1.2, which also decides where a picture begins (medmax `evaluation/mm_out.py`). A reply holds one picture at
most, as every reference does. Strict counts a reply without a picture as 0; compat leaves it out of the mean, as the
reference implementation does, so a model that seldom draws loses nothing by it: read `drawn` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medmax_pipeline.eval.asking import ask, fitted, record_of
from medmax_pipeline.eval.compat import REPETITION_PENALTY
from medmax_pipeline.eval.generation import SAMPLING, png
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.pairwise import METRICS as PAIRWISE
from medmax_pipeline.eval.pairwise import pair, unmarked, with_scores
from medmax_pipeline.eval.picture_text import PICTURE_UNREAD, Space, space_of
from medmax_pipeline.eval.records import Answered, ItemRecord, scored
from medmax_pipeline.eval.task import Metric, Task
from medmax_pipeline.eval.text_metrics import token_f1
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import IMAGE, Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine, Interleaved
    from medmax_pipeline.eval.judge import JudgedPair
    from medmax_pipeline.eval.scorers import Scorers

DECODING = replace(SAMPLING, max_new_tokens=1024, max_images=1)
"""1,024 text tokens as the reference allows a segment; here for the whole reply."""
CHAMELEON_SUFFIX = " Answer the question with one picture."
"""What the reference implementation adds for models that were not tuned (paper, section 5)."""
NOT_DRAWN = "no_picture_drawn"
COMPAT_TEXT = "compat_text"
"""Where the predictions of a record that was asked hold the compat answer."""

METRICS = (
    *PAIRWISE,
    Metric(
        name="image_similarity",
        by="similarity",
        meaning="cosine of the drawn and the reference picture; 0 for a reply without a picture",
        share=False,
    ),
    Metric(
        name="image_similarity_compat",
        by="similarity",
        meaning="the same by the reference implementation's rules: its repetition penalty of 1.2, and replies without "
        "a picture left out of the mean",
        share=False,
    ),
    Metric(name="drawn", scorer="reply_parts", meaning="share of replies that hold a picture"),
    Metric(
        name="drawn_compat",
        scorer="reply_parts",
        meaning="share of replies under the reference implementation's repetition penalty that hold a picture",
    ),
    Metric(
        name="token_f1",
        scorer="word_overlap",
        meaning="F1 of the words of the reply's text and of the reference text; needs no judge, and knows no synonym",
    ),
)


def prompt(sample: Sample) -> str:
    """The question; it shows no picture."""
    return sample.turns[0].text


def chameleon_prompt(sample: Sample) -> str:
    """The question, with a request for a picture."""
    return prompt(sample) + CHAMELEON_SUFFIX


def reference(sample: Sample) -> str:
    """The reference reply's text; its picture is the sample's."""
    return sample.answer


def answer_mm_out(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: the reply's text with a mark where its picture is, and the picture; both for compat too."""
    task = fitted(engine, task)
    told = [replace(item, codes=()) for item in items]  # the sample's picture is the reference's, and not shown
    asked = ask(engine, task, told)
    seeds = [item.seed for item in asked.items]
    strict = engine.interleaved(asked.prompts, seeds, task.decoding)
    compat = engine.interleaved(asked.prompts, seeds, task.decoding, REPETITION_PENALTY)
    answered: dict[str, ItemRecord] = {}
    pictures: dict[str, bytes] = {}
    for item, mine, theirs in zip(asked.items, strict, compat, strict=True):
        (text, picture), (other_text, other_picture) = _laid_out(engine, mine), _laid_out(engine, theirs)
        drawn = {sha256_bytes(data): data for data in (picture, other_picture) if data}
        pictures |= drawn
        answered[item.sample.sample_id] = record_of(
            task,
            item,
            generated_text=text,
            predictions={COMPAT_TEXT: other_text},
            metrics={
                "drawn": float(bool(picture)),
                "drawn_compat": float(bool(other_picture)),
                "token_f1": token_f1(unmarked(text), task.reference(item.sample)),
            },
            generated_image=sha256_bytes(picture) if picture else "",
            compat_image=sha256_bytes(other_picture) if other_picture else "",
            seed=item.seed,
        )
    return Answered(asked.in_order(task, answered), pictures)


def _laid_out(engine: Engine, reply: Interleaved) -> tuple[str, bytes]:
    """A reply's text with marks, and its first picture as PNG; empty where there is none."""
    text = "".join(part if isinstance(part, str) else IMAGE for part in reply.parts)
    for part in reply.parts:
        if not isinstance(part, str):
            return text, png(engine.pixels(part[None])[0])
    return text, b""


def score_mm_out(
    scorers: Scorers, task: Task, samples: Sequence[Sample], records: Sequence[ItemRecord]
) -> list[ItemRecord]:
    """The judge's scores of the texts, and the similarity of the pictures with the reference's."""
    found = {record.item_id: record for record in records if COMPAT_TEXT in record.predictions}
    if not isinstance(scorers.judge, Lock):
        by_id = {sample.sample_id: sample for sample in samples}
        both = [(by_id[name], record) for name, record in found.items()]
        judged = with_scores(
            scorers.judge,
            [record for _, record in both],
            [pair(sample, record, prompt(sample), unmarked(record.generated_text)) for sample, record in both],
            [
                pair(sample, record, prompt(sample), unmarked(record.predictions[COMPAT_TEXT] or ""))
                for sample, record in both
            ],
        )
        found = {record.item_id: record for record in judged}
    space = space_of(scorers)
    if space is not None:
        found = {name: _with_similarity(record, space) for name, record in found.items()}
    return [found.get(record.item_id, record) for record in records]


def _pair(sample: Sample, record: ItemRecord, text: str) -> JudgedPair:
    return pair(sample, record, prompt(sample), unmarked(text))


def _with_similarity(record: ItemRecord, space: Space) -> ItemRecord:
    drawn = [space.drawn(name) if name else None for name in (record.generated_image, record.compat_image)]
    found = space.source_beside(record.image_ids[0], *(row for row in drawn if row is not None))
    if found is None:
        names = ("image_similarity", "image_similarity_compat")
        return scored(record, dict.fromkeys(names), unscored=PICTURE_UNREAD)
    cosines = iter(found)
    strict, compat = (None if row is None else next(cosines) for row in drawn)
    return scored(
        record,
        {"image_similarity": strict or 0.0, "image_similarity_compat": compat},
        unscored=NOT_DRAWN if compat is None else "",
    )
