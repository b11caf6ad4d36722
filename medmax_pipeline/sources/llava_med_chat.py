"""The visual-chat evaluation of LLaVA-Med: 193 questions about 50 figures, with GPT-4's replies as reference.

Each question carries what a judge may read: the figure's caption and the sentences of the article that mention it; the
replies were written from those and not from the picture. Quirks of the upstream, each met below: every question ends
in the mark of its picture; `in_text_mention` is a list of objects with `tokens`, or of strings, or null (14 rows); two
domains are true in 8 rows, of which the published scorer takes the first in its own order; the pictures are *not* in
`llava_med_image_urls.jsonl`, they had a list of their own. Judging the replies belongs to `eval/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources.conversation import read_turns
from medmax_pipeline.sources.llava_med_pmc import (
    FOLDER,
    IMAGE_NOT_NAMED,
    LICENCE,
    PAGE,
    PICTURES,
    domains_of,
    kept_for_people,
    served,
)
from medmax_pipeline.sources.record import Access, Adapted, Count, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

QUESTIONS: Final = "data/eval/llava_med_eval_qa50_qa.jsonl"
TYPES: Final = ("conversation", "detailed_description")


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the file of JSON lines."""
    return files.jsonl(QUESTIONS)


def mentions_of(value: Any) -> list[str]:
    """The sentences that mention the figure.

    Args:
        value: list of `{tokens: ...}` or of strings; null where the article never mentions it.

    Raises:
        RowError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError(f"in_text_mention is {type(value).__name__}; expected a list, or null.")
    sentences = []
    for item in value:
        text = need(item, "tokens")[0] if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            raise RowError(f"a mention is {type(text).__name__}; expected a string, or an object with tokens.")
        sentences.append(clean(text))
    return [sentence for sentence in sentences if sentence]


def context_of(row: Mapping[str, Any]) -> str:
    """What a judge may read: caption behind the figure's label, and the mentions, one a line."""
    label, caption = clean(row.get("fig_label")), clean(row["fig_caption"])
    mentions = mentions_of(row.get("in_text_mention"))
    opening = f"{label}: {caption}" if label and caption else caption or label
    told = ["Mentioned in the text:", *(f"- {sentence}" for sentence in mentions)] if mentions else []
    return "\n".join(filter(None, [opening, *told]))


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One question with the reference reply.

    Raises:
        RowError: a key is missing, or `type` is none of the two known values.
    """
    number, image, text, reply, _, form = need(
        row, "question_id", "image", "text", "gpt4_answer", "fig_caption", "type"
    )
    key, name, form = clean(number), clean(image), clean(form)
    if not key:
        raise RowError("question_id is empty; expected a number.")
    if form not in TYPES:
        raise RowError(f"type is {form!r}; expected one of {', '.join(TYPES)}.")
    if not name:
        return Drop(IMAGE_NOT_NAMED, key)
    turns = read_turns([{"from": "human", "value": text}, {"from": "gpt", "value": reply}], 1)
    if isinstance(turns, Drop):
        return turns
    return Draft(
        key=key,
        split="eval",
        kind="visual_chat",
        turns=turns,
        images=(picture(name),),
        answer=turns[1].text,
        answer_type=form,
        modality=next(iter(domains_of(row)), ""),
        context=context_of(row),
        extra=kept_for_people({**row, "id": row.get("pair_id", name)}),
    )


SOURCE = Source(
    key="llava_med_chat",
    title="LLaVA-Med visual chat",
    shared_folder=FOLDER,
    access=Access(
        kind="url",
        page=PAGE,
        how="The questions are fetched from the repository. Its 50 pictures are not served with it: the documents of "
        "its v1.0.0 name their list, llava_med_test_image_urls.jsonl; place them with the other figures, in images/, "
        "images*.zip or images*.tar*, beside data/.",
    ),
    licence=LICENCE,
    credentialed=False,
    files=(
        served(
            QUESTIONS,
            "one question a line, with caption, mentions and GPT-4's reply",
            262_328,
            "48c6b680a962dbf8caf63e3ded2bef7770dccf9c2602f32e5f05f4b907266f25",
        ),
        *PICTURES,
    ),
    row_count=Count(193, "counted in the published file: 143 conversation, 50 detailed_description"),
    image_count=Count(50, "counted in the published file"),
    split_rule="publisher's: all of it is eval",
    splits=("eval",),
    rows=rows,
    adapt=adapt,
    example={
        "question_id": 0,
        "image": "12345678_F3.jpg",
        "pair_id": "12345678_F3",
        "text": "What organ is shown?\n<image>",
        "gpt4_answer": "The organ is the lung.",
        "fig_caption": "Lung section (H & E).",
        "in_text_mention": [
            {
                "tokens": "As seen in Fig 3 ...",
                "entities": [{"type": "figure", "entity_id": "F3", "start_tok": 3, "end_tok": 5}],
            }
        ],
        "domain": {"chest_xray": False, "mri": False, "ct_scan": False, "histology": True, "gross": False},
        "type": "conversation",
        "fig_label": "Fig 3",
    },
)
