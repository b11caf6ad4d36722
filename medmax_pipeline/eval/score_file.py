"""Stored outputs of anybody's model, scored line by line: what `medmax eval score` does. No model, no network.

A line is a JSON object with `task_name`, `question_type`, `answer` and `generated_text`, named as in the published
evaluation data; it may have `options` (texts without letters) or `prompt` (options stand in it), `image_path` (what
items share) and `judge_reply`. The file is untrusted: a line that cannot be used is told of, with its number, and
counted. Rules are `compat.py` and `reading.py`; a row that needs a judge, and has no reply of one, stays unscored.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import stdev
from typing import IO, Any, Final, Literal, get_args

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.eval import compat
from medmax_pipeline.eval.choosing import NOT_AN_OPTION
from medmax_pipeline.eval.compat import RIGHT, WRONG, YES_NO, Ruling
from medmax_pipeline.eval.judge_prompts import read_correct
from medmax_pipeline.eval.open import overlap_of
from medmax_pipeline.eval.reading import LETTERS, Reading, read_choice, read_yes_no
from medmax_pipeline.eval.statistics import estimate, majority, sums
from medmax_pipeline.eval.tasks import TASKS
from medmax_pipeline.files import Json

Mode = Literal["compat", "strict"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
MAX_LINE_BYTES: Final = 1 << 20
"""Longer than any reply with its question; a longer line is told of and not held."""
MAX_LINES: Final = 200_000
"""Twenty times the published set; more are to be split by the one who knows what they are."""
FIELDS: Final = ("task_name", "question_type", "answer", "generated_text")
ALSO_TEXT: Final = ("prompt", "image_path", "judge_reply")

LINE_TOO_LONG: Final = "line_too_long"
NO_JSON_OBJECT: Final = "no_json_object"
FIELD_MISSING: Final = "field_missing"
FIELD_NOT_TEXT: Final = "field_not_text"
OPTIONS_UNUSABLE: Final = "options_unusable"
UNKNOWN_ROW: Final = "unknown_row"
NO_RULE_OF_TEXT: Final = "needs_judge_or_similarity"
NO_JUDGE_REPLY: Final = "no_judge_reply"

Told = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Output:
    """One usable line."""

    task_name: str
    question_type: str
    answer: str
    text: str
    options: tuple[str, ...]
    """Texts of the options; empty where they are not known."""
    cluster: str
    judge_reply: str | None

    @property
    def row(self) -> str:
        """Key of the row; of the suite or not."""
        return f"{self.task_name}/{self.question_type}"


@dataclass(slots=True)
class Tally:
    """What is known of one row so far."""

    rulings: list[Ruling] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)
    overlaps: list[Mapping[str, float]] = field(default_factory=list)


class _Unusable(Exception):
    """Why a line is none: a name, and what was found."""


def score_lines(handle: IO[bytes], mode: Mode) -> Iterator[Told]:
    """One object a line in its order, `correct` true, false or null for unscored; last `{"summary": …}`.

    Raises:
        ConfigError: there are more than `MAX_LINES` lines.
    """
    tallies: dict[str, Tally] = {}
    unusable: Counter[str] = Counter()
    blank = 0
    number = 0
    for number, data in _lines(handle):
        if number > MAX_LINES:
            raise ConfigError(f"line {number}: expected at most {MAX_LINES} lines; split the file.")
        if data is not None and not data.strip():
            blank += 1
            continue
        try:
            output = _output(data, number)
        except _Unusable as fault:
            reason, found = fault.args
            unusable[reason] += 1
            yield {"line": number, "correct": None, "reason": reason, "found": found}
            continue
        ruling = rule(output, mode)
        overlap = overlap_of(output.text, output.answer) if output.question_type == "open" else {}
        name = output.row if ruling.reason != UNKNOWN_ROW else UNKNOWN_ROW
        _count(tallies.setdefault(name, Tally()), output, ruling, overlap)
        about: Told = {"line": number, "task_name": output.task_name, "question_type": output.question_type}
        yield {**about, "correct": ruling.correct, "reason": ruling.reason, **overlap}
    rows: dict[str, Json] = {name: _row(tallies[name], mode) for name in sorted(tallies)}
    yield {
        "summary": {
            "mode": mode,
            "lines": number,
            "blank": blank,
            "unusable": {**unusable},
            "rows": rows,
            **_average(rows),
        }
    }


def score_file(path: str, mode: Mode, tell: Callable[[Told], None]) -> int:
    """Score a file, `-` for standard input; how many of its lines could not be used.

    Raises:
        ConfigError: there is no such file, or it is too long.
    """
    unusable = 0
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as handle:
            for told in score_lines(handle, mode):
                unusable += "found" in told
                tell(told)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Give a file of JSON lines, or -.") from error
    return unusable


def rule(output: Output, mode: Mode) -> Ruling:
    """The verdict on one output."""
    if output.row in TASKS and output.question_type in _RULES:
        return _RULES[output.question_type](output, mode)
    known = any(task.task_name == output.task_name and task.question_type not in _RULES for task in TASKS.values())
    return Ruling(None, NO_RULE_OF_TEXT if known else UNKNOWN_ROW)


def _closed(output: Output, mode: Mode) -> Ruling:
    if mode == "compat":
        return compat.rule_closed(output.answer, output.text)
    answer = output.answer.strip().lower()
    return _against(answer, read_yes_no(output.text)) if answer in YES_NO else Ruling(None, NOT_AN_OPTION)


def _choice(output: Output, mode: Mode) -> Ruling:
    if mode == "compat":
        return compat.rule_choice(output.answer, output.text)
    answer, letters = output.answer.strip().upper(), LETTERS[: len(output.options)] or LETTERS
    known = answer in tuple(letters)
    return _against(answer, read_choice(output.text, output.options)) if known else Ruling(None, NOT_AN_OPTION)


def _open(output: Output, mode: Mode) -> Ruling:
    """By its judge's reply and nothing else: no rule of words says what is right."""
    if output.judge_reply is None:
        return Ruling(None, NO_JUDGE_REPLY)
    if mode == "compat":
        return compat.rule_open(output.judge_reply)
    said = read_correct(output.judge_reply)
    return Ruling(None, said) if isinstance(said, str) else Ruling(said == 1.0, RIGHT if said == 1.0 else WRONG)


_RULES: Final[Mapping[str, Callable[[Output, Mode], Ruling]]] = {"closed": _closed, "mcq": _choice, "open": _open}


def _against(answer: str, reading: Reading) -> Ruling:
    """Right or wrong by what was read; what cannot be read is wrong, with its own reason."""
    if reading.said is None:
        return Ruling(False, reading.reason)
    return Ruling(reading.said == answer, RIGHT if reading.said == answer else WRONG)


def _lines(handle: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers from 1; None for one that is too long, of which no more is held than the limit."""
    number = 0
    while data := handle.readline(MAX_LINE_BYTES + 1):
        number += 1
        whole = data
        while len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):
            data = handle.readline(MAX_LINE_BYTES + 1)
            whole = b""
        yield number, whole if whole and len(whole) <= MAX_LINE_BYTES else None


def _output(data: bytes | None, number: int) -> Output:
    if data is None:
        raise _Unusable(LINE_TOO_LONG, f"more than {MAX_LINE_BYTES} bytes")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _Unusable(NO_JSON_OBJECT, f"{type(error).__name__}: {error}"[:200]) from error
    if not isinstance(value, dict):
        raise _Unusable(NO_JSON_OBJECT, type(value).__name__)
    missing = [name for name in FIELDS if name not in value]
    if missing:
        raise _Unusable(FIELD_MISSING, ", ".join(missing))
    odd = [name for name in FIELDS if not isinstance(value[name], str)]
    odd += [name for name in ALSO_TEXT if not isinstance(value.get(name), str | None)]
    if odd:
        raise _Unusable(FIELD_NOT_TEXT, ", ".join(f"{name}: {type(value[name]).__name__}" for name in odd))
    return Output(
        task_name=value["task_name"],
        question_type=value["question_type"],
        answer=value["answer"],
        text=value["generated_text"],
        options=_options(value),
        cluster=value.get("image_path") or f"line {number}",
        judge_reply=value.get("judge_reply"),
    )


def _options(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The options as given, else as they stand in the prompt."""
    from medmax_pipeline.sources.choices import options_in

    given = value.get("options")
    if given is None:
        return options_in(value.get("prompt") or "")
    texts = isinstance(given, list) and all(isinstance(option, str) for option in given)
    if not texts or not 2 <= len(given) <= len(LETTERS):
        raise _Unusable(OPTIONS_UNUSABLE, f"expected 2 to {len(LETTERS)} texts, found {str(given)[:80]}")
    return tuple(given)


def _count(tally: Tally, output: Output, ruling: Ruling, overlap: Mapping[str, float]) -> None:
    tally.rulings.append(ruling)
    tally.clusters.append(output.cluster)
    tally.answers.append(output.answer.strip().casefold())
    tally.overlaps.append(overlap)
    if output.question_type == "closed" or output.options:
        tally.chances.append(1 / (len(output.options) or len(YES_NO)))


def _average(rows: Mapping[str, Json]) -> Told:
    """The unweighted mean over the rows that have an accuracy."""
    given = [row["accuracy"] for row in rows.values() if isinstance(row, dict)]
    found = [value for value in given if isinstance(value, float)]
    return {"average_of_rows": _mean(found) if found else None, "rows_averaged": len(found)}


def _row(tally: Tally, mode: Mode) -> Told:
    """Figures of one row; None where nothing was scored."""
    kept = [place for place, ruling in enumerate(tally.rulings) if ruling.correct is not None]
    told: Told = {
        "n": len(tally.rulings),
        "scored": len(kept),
        "unscored": {**Counter(ruling.reason for ruling in tally.rulings if ruling.correct is None)},
        "wrong": {**Counter(ruling.reason for ruling in tally.rulings if ruling.correct is False)},
        "accuracy": None,
    }
    if kept:
        values = [float(bool(tally.rulings[place].correct)) for place in kept]
        clusters, answers = [tally.clusters[place] for place in kept], [tally.answers[place] for place in kept]
        whole = estimate(sums(values, clusters), 0)
        told |= {"accuracy": whole.value, "low": whole.low, "high": whole.high, "clusters": whole.clusters}
    if kept and tally.chances:
        told |= {
            "balanced_accuracy": sums(values, clusters, answers).value(),
            "majority": majority(answers),
            "chance": _mean(tally.chances),
        }
    if mode == "compat" and len(kept) > 1:
        told["std_err"] = stdev(values) / len(kept) ** 0.5  # over items as if none shared a picture, as published
    names = tally.overlaps[0] if tally.overlaps else {}
    return told | {name: _mean([overlap[name] for overlap in tally.overlaps]) for name in names}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
