"""The published MedMax evaluation set: ten benchmarks in one table (hub `mint-medmax/medmax_eval_data`, on request).

Quirks of the upstream, each met below: all columns are strings and `image_path` is the name of a tar member; options
of multiple-choice questions stand inside the prompt; `answer` of a visual chat is a Python dict in string form and no
JSON; captioning uses neither prompt nor answer, generation takes the caption for its prompt; rows have no id.

Rows of type `report` are MIMIC-CXR's and credentialed, whatever the gate of this repository says. A closed question
with another answer than yes or no, which the published scorer can only count as wrong, is asked as an open one; its
`answer_type` still says which benchmark and type it belongs to (`<task_name>/<question_type>`, as for every row here).
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from medmax_pipeline.errors import RowError
from medmax_pipeline.files import digest_of
from medmax_pipeline.records import IMAGE, Draft, Drop, Kind, Turn, picture
from medmax_pipeline.sources.choices import LETTERS, options_in
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, lines, need

TABLE: Final = "data/train-*.parquet"
PROMPT: Final = "Please describe this picture."
"""The captioning prompt of the published evaluation code."""
MAX_LITERAL_CHARS: Final = 64_000
"""Ours: a longer `answer` of a visual chat is refused unread; the longest of the 193 has some 10,000 characters."""
CREDENTIALED_TYPE: Final = "report"
DOMAINS: Final = ("chest_xray", "mri", "histology", "gross", "ct_scan")
"""In the order in which the published scorer looks for the first true one."""
QUESTION_EMPTY: Final = "question_empty"
ANSWER_EMPTY: Final = "answer_empty"
ANSWER_NOT_A_LETTER: Final = "answer_not_a_letter"
ANSWER_NOT_AN_OPTION: Final = "answer_not_an_option"
CAPTION_EMPTY: Final = "caption_empty"
IMAGE_NOT_NAMED: Final = "image_not_named"


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the one table."""
    for name in files.names(TABLE):
        yield from files.parquet(name)


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One item of one benchmark.

    Raises:
        RowError: a column is missing, task and type are none of the known pairs, or a chat's answer is no dict.
    """
    need(row, "prompt", "answer", "image_path", "task_name", "question_type")
    task, kind = clean(row["task_name"]).lower(), clean(row["question_type"]).lower()
    form = _FORMS.get((task, kind), _FORMS.get((task, "")))
    if form is None:
        raise RowError(f"task_name is {task[:80]!r} and question_type {kind[:80]!r}; no rule for this pair.")
    name = clean(row["image_path"])
    if not name:
        return Drop(IMAGE_NOT_NAMED, task)
    made = form(row)
    if isinstance(made, Drop):
        return made
    known = {"task_name": task, "question_type": kind, **made.pop("extra", {})}
    return Draft(
        key=digest_of([task, kind, lines(row["prompt"]), lines(row["answer"]), name])[:32],
        split="eval",
        images=(picture(name.removeprefix("./")),),
        answer_type=f"{task}/{kind}",
        extra=json.dumps(known),
        credentialed=kind == CREDENTIALED_TYPE,
        **made,
    )


Made = dict[str, Any] | Drop
"""Fields of a draft that depend on the task, or why there is none."""


def _said(prompt: str, reply: str) -> tuple[Turn, Turn]:
    return Turn("user", prompt), Turn("assistant", reply)


def _unmarked(row: Mapping[str, Any]) -> str:
    return lines(lines(row["prompt"]).replace(IMAGE, " "))


def _question(row: Mapping[str, Any]) -> Made:
    question, answer = _unmarked(row), clean(row["answer"]).replace(IMAGE, "").strip()
    if not question or not answer:
        return Drop(ANSWER_EMPTY if question else QUESTION_EMPTY)
    closed = clean(row["question_type"]).lower() == "closed" and answer.lower() in ("yes", "no")
    answer = answer.lower() if closed else answer
    kind: Kind = "vqa_closed" if closed else "vqa_open"
    return {"kind": kind, "turns": _said(f"{IMAGE}{question}", answer), "answer": answer}


def _choice(row: Mapping[str, Any]) -> Made:
    question, answer = _unmarked(row), clean(row["answer"]).upper()
    if not question:
        return Drop(QUESTION_EMPTY)
    if len(answer) != 1 or answer not in LETTERS:
        return Drop(ANSWER_NOT_A_LETTER, answer[:80])
    options = options_in(question)
    if options and answer not in LETTERS[: len(options)]:
        return Drop(ANSWER_NOT_AN_OPTION, answer)
    return {"kind": "vqa_mcq", "turns": _said(f"{IMAGE}{question}", answer), "answer": answer, "options": options}


def _captioning(row: Mapping[str, Any]) -> Made:
    """The reply is the reference where there is one; the published score needs none."""
    caption = lines(row["answer"]).replace(IMAGE, "")
    kind: Kind = "report_generation" if clean(row["question_type"]).lower() == CREDENTIALED_TYPE else "captioning"
    return {"kind": kind, "turns": _said(f"{IMAGE}{PROMPT}", caption), "answer": caption, "context": caption}


def _generation(row: Mapping[str, Any]) -> Made:
    caption = _unmarked(row)
    if not caption:
        return Drop(CAPTION_EMPTY)
    kind: Kind = "radiograph_generation" if clean(row["question_type"]).lower() == CREDENTIALED_TYPE else "generation"
    return {"kind": kind, "turns": _said(caption, IMAGE), "context": caption}


def _interleaved(row: Mapping[str, Any]) -> Made:
    """The place of the reference picture in the reference text is not published: behind it, unless marked once."""
    question, answer = _unmarked(row), lines(row["answer"])
    if not question or not answer.replace(IMAGE, "").strip():
        return Drop(ANSWER_EMPTY if question else QUESTION_EMPTY)
    text = answer.replace(IMAGE, "").strip()
    reply = answer if answer.count(IMAGE) == 1 else f"{text}\n{IMAGE}"
    return {"kind": "interleaved", "turns": _said(question, reply), "answer": text}


def _chat(row: Mapping[str, Any]) -> Made:
    prompt, words = lines(row["prompt"]), _unmarked(row)
    if not words:
        return Drop(QUESTION_EMPTY)
    marked = f"{words}{IMAGE}" if prompt.endswith(IMAGE) else f"{IMAGE}{words}"
    record = read_literal(row["answer"])
    answer = lines(record.get("gpt4_answer")).replace(IMAGE, "")
    if not answer:
        return Drop(ANSWER_EMPTY)
    domain = record.get("domain")
    domains = [name for name in DOMAINS if isinstance(domain, Mapping) and domain.get(name) is True]
    caption, mention = lines(record.get("fig_caption")), _mentioned(record.get("in_text_mention"))
    return {
        "kind": "visual_chat",
        "turns": _said(marked, answer),
        "answer": answer,
        "modality": domains[0] if domains else "",
        "context": "\n".join(part for part in (caption, mention) if part),
        "extra": {"fig_label": clean(record.get("fig_label")), "domains": domains},
    }


def _mentioned(value: Any) -> str:
    """What an article says of its figure: a text, or a list of texts or of `{tokens: text}`."""
    found = value if isinstance(value, list) else [value]
    return "\n".join(lines(item.get("tokens") if isinstance(item, Mapping) else item) for item in found)


def read_literal(text: Any) -> Mapping[str, Any]:
    """A dict in Python's notation, as `str(dict)` writes it; nothing is executed.

    Raises:
        RowError: it is no such text, too long, nested too deep, or holds halves of surrogate pairs.
    """
    if not isinstance(text, str) or len(text) > MAX_LITERAL_CHARS:
        found = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
        raise RowError(f"answer is {found}; expected a Python dict of at most {MAX_LITERAL_CHARS} characters.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd backslash is no reason to refuse a row
            value = ast.literal_eval(text.strip())
        if isinstance(value, dict):
            json.dumps(value, ensure_ascii=False, default=str).encode()
            return {str(key): item for key, item in value.items()}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise RowError(f"answer is no Python dict ({type(error).__name__}): {text[:80]!r}.") from error
    raise RowError(f"answer is a Python {type(value).__name__}; expected a dict.")


_FORMS: Final[Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Made]]] = MappingProxyType(
    {
        **{
            (task, kind): _question
            for task in ("vqa_rad", "slake", "pathvqa", "quilt_vqa")
            for kind in ("closed", "open")
        },
        **{(task, "mcq"): _choice for task in ("pmc_vqa", "omnimed_vqa", "path_mmu")},
        ("probmed", "closed"): _question,
        **{("image_captioning", kind): _captioning for kind in ("pmc_oa", "quilt", CREDENTIALED_TYPE)},
        **{("image_generation", kind): _generation for kind in ("pmc_oa", "quilt", CREDENTIALED_TYPE)},
        ("mm_out", ""): _interleaved,
        **{("visual_chat", kind): _chat for kind in ("conversation", "detailed_description")},
    }
)
"""By task_name and question_type; an empty type stands for any."""

SOURCE = Source(
    key="medmax_eval_data",
    title="MedMax evaluation data (the published set)",
    access=Access(
        kind="hub",
        page="https://huggingface.co/datasets/mint-medmax/medmax_eval_data",
        how="Ask for access on the page, wait for the authors' consent, and give a token that carries it. Its report "
        "rows are MIMIC-CXR's: PhysioNet's agreement binds whoever reads them.",
        repo="mint-medmax/medmax_eval_data",
        revision="main",
        gated=True,
    ),
    licence=Licence(
        "unstated",
        "https://huggingface.co/datasets/mint-medmax/medmax_eval_data",
        "2026-11-23, none on the card; each benchmark's own terms hold",
    ),
    credentialed=False,
    files=(
        ExpectedFile(TABLE, "prompt, answer, image_path, task_name, question_type: 1.08 MB"),
        ExpectedFile("images.tar.gz", "the pictures", pictures=True, group="pictures"),
        ExpectedFile("images/**", "the same, unpacked", pictures=True, group="pictures", by_hand=True),
    ),
    row_count=Count(9_470, "rounded; the hub's viewer"),
    image_count=Count(None, "not published; counted at ingest"),
    split_rule="all of it is eval",
    splits=("eval",),
    rows=rows,
    adapt=adapt,
    example={
        "task_name": "visual_chat",
        "question_type": "conversation",
        "prompt": f"What organ is this?\n{IMAGE}",
        "answer": "{'gpt4_answer': 'A lung.', 'fig_label': 'Fig 1', 'fig_caption': 'CT.', 'in_text_mention': None, "
        "'domain': {'chest_xray': False, 'mri': False, 'histology': False, 'gross': False, 'ct_scan': True}}",
        "image_path": "images/llava/1_F1.jpg",
    },
)
