"""Whatever a row holds, an adapter answers with drafts, drops or a named fault; a new file in sources/ is covered.

Rows are the record's example with columns gone, values of other types and torn strings, and wholly other objects; they
take the way of real ones, through the reader, so that what the reader refuses an adapter need not meet.
"""

from __future__ import annotations

import ast
import copy
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, Final, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medmax_pipeline.arrow import left_to_table, samples_to_table
from medmax_pipeline.ingest.rows import read_jsonl
from medmax_pipeline.ingest.samples import adapt_row
from medmax_pipeline.records import KINDS, Draft, Drop, ImageRef, Left, Origin, Role, Sample, Turn, sample_id
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.sources.record import Adapted, Row, Source
from tests.sources.test_sources import EACH

OTHER_SHAPES: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "medmax_eval_data": (
        {"task_name": "slake", "question_type": "closed", "prompt": "Is the lung healthy?", "answer": "no"},
        {"task_name": "pmc_vqa", "question_type": "mcq", "prompt": "What?\nA: Liver\nB: Lung\n", "answer": "B"},
        {"task_name": "image_captioning", "question_type": "report", "prompt": "", "answer": "No acute process."},
        {"task_name": "image_generation", "question_type": "quilt", "prompt": "A gland.", "answer": ""},
        {"task_name": "mm_out", "question_type": "pmc_oa", "prompt": "Show a knee.", "answer": "This is a knee."},
    ),
    "quilt_instruct": (
        {"conversations": [{"role": "User", "content": "What?<image>"}, {"role": "GPT", "content": "A gland."}]},
    ),
    "quilt_vqa": ({"answer_type": "OPEN", "answer": "A gland."},),
    "slake": ({"q_lang": "zh"}, {"answer": "Yes", "answer_type": "CLOSED"}),
}
"""Where one example cannot show all shapes of a source: what other rows have in its place."""
THOROUGH = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)

COUNTER: Final = count()
ODD_STRINGS: Final = (
    *("", " ", "\x00", "\u200b", "\u00a0", "\ufeff", "\u2028", "é", "e\u0301", "\U0001f642", "\ud83d", "\udc00x"),
    *("nan", "N/A", "None", "null", "NULL", "true", "yes", "No", "A", "B)", "C: ", "(d) ", "E.", "0", "-1", "1e999"),
    *("<image>", "<image><image>", "\n<image>\n", "<sep>", "..", "../../x", "/x", "a::b", "C:\\x", "x" * 5000),
    *("[]", "{}", "['a', 1]", "[" * 400, "{'a': " * 300, "'\\ud83d'", "{'a': '\\ud83d'}", "[nan]", "1" * 5000, "\\"),
    *("{'domain': 3}", "{'gpt4_answer': None}", "{'gpt4_answer': '\\udc00'}", "__import__('os')", "{1: {2}}", "b'x'"),
)
ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 1.5, 10**400, float("nan"), float("inf"), [], {}, [None], ["x"], [["x"]], [{}]),
    *({"x": "y"}, {"bytes": "x"}, "", "\x00", "N/A", "<image>", "..", "'", "x" * 5000),
)
STRINGS = st.sampled_from(ODD_STRINGS) | st.text(st.characters(exclude_categories=()), max_size=20)
NUMBERS = st.one_of(
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.sampled_from((2**63, -(2**64), 10**400, 10**4299)),
    st.floats(),
    st.sampled_from((float("nan"), float("inf"), -float("inf"), 1e308, -0.0)),
)
SCALARS = st.none() | NUMBERS | STRINGS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=6,
)


def torn(text: str) -> st.SearchStrategy[str]:
    """The string cut, doubled, with something put into it, in another case or between blanks."""
    place = st.integers(0, len(text))
    return st.one_of(
        place.map(lambda at: text[:at]),
        place.map(lambda at: text[at:]),
        st.tuples(place, STRINGS).map(lambda cut: text[: cut[0]] + cut[1] + text[cut[0] :]),
        st.sampled_from((text + text, text.upper(), text.lower(), f" \t{text}\r\n", text[::-1], f"'{text}'")),
    )


def changed(value: Any) -> st.SearchStrategy[Any]:
    """The value with something wrong in it, or another in its place."""
    if isinstance(value, str):
        if value.startswith(("{'", "['")):  # a Python literal
            return changed(ast.literal_eval(value)).map(repr) | torn(value)
        return torn(value) | VALUES
    if isinstance(value, Mapping) and value:
        return changed_once(value) | changed_somewhere(value) | VALUES
    if isinstance(value, list) and value:
        one = st.integers(0, len(value) - 1).flatmap(
            lambda at: changed(value[at]).map(lambda new: [*value[:at], new, *value[at + 1 :]])
        )
        shorter = st.integers(0, len(value)).map(lambda at: value[:at])
        return one | shorter | st.just(value + value) | st.just(value[::-1]) | VALUES
    return VALUES


def changed_somewhere(row: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The object without some of its keys, with changed values under others and perhaps a key that nobody knows."""
    names = st.sampled_from(sorted(row))

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        made = dict(row)
        for name in draw(st.sets(names, max_size=3)):
            made[name] = draw(changed(row[name]))
        for name in draw(st.sets(names, max_size=2)):
            del made[name]
        return made | draw(st.dictionaries(STRINGS, SCALARS, max_size=1))

    return build()


def changed_once(row: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The object with one changed value."""
    return st.sampled_from(sorted(row)).flatmap(
        lambda name: changed(row[name]).map(lambda value: {**row, name: value}),
    )


def like(record: Source) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of roughly the shape of the record's rows."""
    example = record.example
    others = [{**example, **other} for other in OTHER_SHAPES.get(record.key, ())]
    of_one_type = st.sampled_from(ODD_VALUES)
    return st.one_of(
        *[changed_once(example)] * 5,
        *map(changed_once, others),
        changed_somewhere(example),
        of_one_type.map(lambda value: dict.fromkeys(example, value)),
        st.fixed_dictionaries(dict.fromkeys(example, VALUES)),
        st.dictionaries(st.sampled_from(sorted(example)) | STRINGS, VALUES, max_size=4),
    )


def as_read(values: Mapping[str, Any]) -> Row:
    """The row that a reader gives of these values; pictures embedded in tables come as they are."""
    pictures = {name: value for name, value in values.items() if isinstance(value, ImageRef)}
    plain = {name: value for name, value in values.items() if name not in pictures}
    (row,) = read_jsonl(io.BytesIO(json.dumps(plain).encode()), "changed.jsonl")
    return row if row.fault else row._replace(values={**row.values, **pictures})


def sample_of(record: Source, draft: Draft) -> Sample:
    """The sample that a draft becomes once its pictures are found."""
    images = tuple("0" * 64 for _ in draft.images)
    return Sample(
        sample_id=sample_id(record.key, draft, images),
        source=record.key,
        split=draft.split,
        kind=draft.kind,
        turns=draft.turns,
        images=images,
        options=draft.options,
        answer=draft.answer,
        answer_type=draft.answer_type,
        modality=draft.modality,
        context=draft.context,
        licence=record.licence.name,
        credentialed=record.credentialed,
        origin=Origin("changed.jsonl", "0" * 64, 0),
        extra=draft.extra,
    )


def check_draft_can_be_published(record: Source, draft: Draft) -> None:
    """Names, types and encodings that every later station relies on."""
    assert draft.key
    assert draft.split in record.splits
    assert draft.kind in KINDS
    assert {turn.role for turn in draft.turns} <= set(get_args(Role))
    said = [turn.text for turn in draft.turns if turn.role == "user" or draft.split == "train"]
    assert all(text.strip() for text in said), "an evaluation may lack its reference, nothing else may be empty"
    assert isinstance(json.loads(draft.extra, parse_constant=pytest.fail), dict)
    for ref in draft.images:
        assert ref.member or ref.file
        f"{ref.file}::{ref.member}".encode()
    assert samples_to_table([sample_of(record, draft)]).num_rows == 1


def left_of(made: Any) -> Left:
    """The line of drops or quarantine that anything but a draft becomes."""
    assert re.fullmatch(r"[a-z0-9_]+", made.reason)
    return Left("changed.jsonl#0", made.reason, made.detail, "changed.jsonl", 0)


def answers(record: Source, row: Row) -> Iterator[Any]:
    """What the adapter makes of a row, after the checks that hold for every answer."""
    before = copy.deepcopy(row.values)
    first, second = ([unit.made for unit in adapt_row(record, row)] for _ in range(2))
    assert first
    assert repr(first) == repr(second)
    assert repr(row.values) == repr(before)
    yield from first


def check_any_row(record: Source) -> None:
    """Ask the adapter about each odd value in each column, then about many rows."""

    def check(values: dict[str, Any]) -> None:
        for made in answers(record, as_read(values)):
            if isinstance(made, Draft):
                check_draft_can_be_published(record, made)
            else:
                assert left_to_table([left_of(made)]).num_rows == 1

    for name in record.example:
        for value in ODD_VALUES:
            check({**record.example, name: value})
    THOROUGH(given(like(record))(check))()


@EACH
def test_any_row_becomes_drafts_drops_or_a_named_fault(record: Source) -> None:
    check_any_row(record)


def drafted(row: Mapping[str, Any], **changes: Any) -> Draft:
    """A draft for any row at all."""
    turns = (Turn("user", "What?"), Turn("assistant", "A knee."))
    return replace(Draft(key=str(sorted(row)), split="train", kind="vqa_open", turns=turns, images=()), **changes)


@pytest.mark.parametrize(
    "adapt",
    [
        lambda row: Drop("sloppy", row["question"].strip()),
        lambda row: Drop("", "without a reason"),
        lambda row: Drop("sloppy", row.get("question", "") + ""),
        lambda row: drafted(row, answer=row.get("answer", "")),
        lambda row: drafted(row, answer="\ud83d"),
        lambda row: drafted(row, extra=json.dumps({"answer": row.get("answer")})),
        lambda row: drafted(row, key=f"{id(row)}#{next(COUNTER)}"),
        lambda row: drafted(row, key=str(row.setdefault("seen", "yes"))),
    ],
    ids=["attribute", "reason", "type", "column", "surrogate", "nan in extra", "not the same twice", "changes its row"],
)
def test_a_sloppy_adapter_is_found_out(adapt: Callable[[Mapping[str, Any]], Adapted]) -> None:
    with pytest.raises((AssertionError, AttributeError, KeyError, TypeError, ValueError, pytest.fail.Exception)):
        check_any_row(replace(SOURCES["vqa_rad"], adapt=adapt))


@EACH
def test_the_example_itself_can_be_published(record: Source) -> None:
    drafts = [made for made in answers(record, as_read(record.example)) if isinstance(made, Draft)]
    assert drafts
    for draft in drafts:
        check_draft_can_be_published(record, draft)


def test_other_shapes_are_of_sources_that_there_are() -> None:
    for key, others in OTHER_SHAPES.items():
        for other in others:
            assert other.keys() <= SOURCES[key].example.keys()
