"""Stored outputs scored line by line, by either mode; lines that cannot be used."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline import cli
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.eval import score_file
from medmax_pipeline.eval.score_file import MODES, Mode, score_lines
from tests.eval.odd_replies import ODD, Odd

NAMES = {"closed": "slake", "mcq": "pmc_vqa", "open": "vqa_rad"}
VERDICTS = {True: "right", False: "wrong", None: "-"}


def line(**more: object) -> dict[str, object]:
    return {"task_name": "slake", "question_type": "closed", "answer": "yes", "generated_text": "yes"} | more


def as_line(odd: Odd) -> dict[str, object]:
    said = {"judge_reply": odd.reply} if odd.question_type == "open" else {"generated_text": odd.reply}
    options = {"options": list(odd.options)} if odd.options else {}
    kind = odd.question_type
    return line(task_name=NAMES[kind], question_type=kind, answer=odd.answer) | said | options


def scored(mode: Mode, *lines: object) -> list[dict[str, Any]]:
    data = b"".join(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n" for item in lines)
    return list(score_lines(io.BytesIO(data), mode))


@pytest.mark.parametrize("mode", MODES)
def test_every_odd_reply_has_the_verdict_worked_out_by_hand(mode: Mode) -> None:
    *told, _ = scored(mode, *map(as_line, ODD))
    found = [(odd, VERDICTS[one["correct"]]) for odd, one in zip(ODD, told, strict=True)]
    assert found == [(odd, getattr(odd, mode)) for odd in ODD]
    assert all(one["reason"] for one in told)


def test_an_open_answer_without_a_judges_reply_is_unscored_whatever_its_words() -> None:
    told, last = scored(
        "strict", line(task_name="vqa_rad", question_type="open", answer="Left lung", generated_text="left lung.")
    )
    assert (told["correct"], told["reason"]) == (None, "no_judge_reply")
    assert (told["exact_match"], told["token_f1"], told["token_recall"]) == (1.0, 1.0, 1.0)
    row = last["summary"]["rows"]["vqa_rad/open"]
    assert (row["n"], row["scored"], row["accuracy"], row["exact_match"]) == (1, 0, None, 1.0)


def test_options_that_stand_in_the_prompt_are_read() -> None:
    prompt = "What is shown?\nA: Liver\nB: Lung\n"
    told, last = scored(
        "strict", line(task_name="pmc_vqa", question_type="mcq", answer="B", generated_text="lung", prompt=prompt)
    )
    assert told["correct"] is True
    assert last["summary"]["rows"]["pmc_vqa/mcq"]["chance"] == 0.5


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{\n", "no_json_object"),
        (b"[1, 2]\n", "no_json_object"),
        (b"\xff\xfe\n", "no_json_object"),
        (b"[" * 100_000 + b"\n", "no_json_object"),
        (b'{"task_name": ' + b"9" * 5_000 + b"}\n", "no_json_object"),
        (b'"' + b"x" * (2 << 20) + b'"\n', "line_too_long"),
        ({"task_name": "slake"}, "field_missing"),
        (line(answer=1), "field_not_text"),
        (line(generated_text=None), "field_not_text"),
        (line(judge_reply=["Correctness: 1"]), "field_not_text"),
        (line(options="A, B"), "options_unusable"),
        (line(options=["x"] * 11), "options_unusable"),
    ],
    ids=str,
)
def test_a_line_that_cannot_be_used_is_told_of_and_the_others_count(bad: object, reason: str) -> None:
    first, second, third, last = scored("compat", line(), bad, line(generated_text="no"))
    assert (first["correct"], third["correct"]) == (True, False)
    assert (second["line"], second["correct"], second["reason"]) == (2, None, reason)
    assert len(json.dumps(second)) < 1_000
    assert last["summary"]["unusable"] == {reason: 1}
    assert (last["summary"]["lines"], last["summary"]["rows"]["slake/closed"]["n"]) == (3, 2)


def test_blank_lines_are_counted_and_numbers_stay_those_of_the_file() -> None:
    first, second, last = scored("strict", line(), b"\n", b"  \n", line())
    assert (first["line"], second["line"], last["summary"]["blank"], last["summary"]["lines"]) == (1, 4, 2, 4)


@pytest.mark.parametrize(
    ("task", "kind", "reason"),
    [
        ("visual_chat", "conversation", "needs_judge_or_similarity"),
        ("image_captioning", "quilt", "needs_judge_or_similarity"),
        ("slake", "mcq", "unknown_row"),
        ("trivia", "closed", "unknown_row"),
        ("slake/closed", "closed", "unknown_row"),
    ],
)
def test_rows_without_a_rule_of_words_stay_unscored(task: str, kind: str, reason: str) -> None:
    told, last = scored("compat", line(task_name=task, question_type=kind))
    assert (told["correct"], told["reason"]) == (None, reason)
    assert last["summary"]["average_of_rows"] is None


def test_the_summary_has_each_row_and_their_unweighted_mean() -> None:
    right, wrong = line(image_path="a.jpg"), line(image_path="b.jpg", generated_text="normal", answer="no")
    single = line(task_name="pathvqa")
    last = scored("strict", right, right, right, wrong, single)[-1]["summary"]
    slake = last["rows"]["slake/closed"]
    assert (slake["n"], slake["scored"], slake["accuracy"], slake["clusters"]) == (4, 4, 0.75, 2)
    assert (slake["balanced_accuracy"], slake["majority"], slake["chance"]) == (0.5, 0.75, 0.5)
    assert slake["low"] < 0.75 < slake["high"]
    assert slake["wrong"] == {"unreadable": 1}
    assert (last["average_of_rows"], last["rows_averaged"]) == (0.875, 2)


def test_compat_gives_the_published_standard_error() -> None:
    row = scored("compat", line(), line(), line(generated_text="no"))[-1]["summary"]["rows"]["slake/closed"]
    assert row["std_err"] == pytest.approx((1 / 3) ** 0.5 / 3**0.5)


def test_an_unreadable_verdict_leaves_the_published_mean() -> None:
    judged = {"task_name": "vqa_rad", "question_type": "open"}
    lines = [line(**judged, judge_reply=reply) for reply in ("Correctness: 1", "Correctness: 0", "hm")]
    row = scored("compat", *lines)[-1]["summary"]["rows"]["vqa_rad/open"]
    assert (row["n"], row["scored"], row["accuracy"], row["unscored"]) == (3, 2, 0.5, {"judge_unreadable": 1})


def test_more_lines_than_anybody_means_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_file, "MAX_LINES", 2)
    with pytest.raises(ConfigError, match="line 3: expected at most 2"):
        scored("strict", line(), line(), line())


def test_the_command_prints_json_lines_and_says_by_its_code_whether_all_could_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(line(generated_text="not \ud800")) + "\n", encoding="utf-8")
    assert cli.main(["eval", "score", str(path), "--mode", "compat"]) == 0
    told, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["correct"], told["reason"], last["summary"]["mode"]) == (False, "wrong", "compat")
    path.write_text("nonsense\n", encoding="utf-8")
    assert cli.main(["eval", "score", str(path), "--mode", "strict"]) == 1


def test_a_file_that_is_not_there_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "score", str(tmp_path / "none"), "--mode", "strict"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def examples(page: str) -> list[dict[str, str]]:
    """The rows of the page's table of examples."""
    names = ("question_type", "options", "answer", "reply", "strict", "compat")
    lines = [text for text in page.splitlines() if text.startswith(("| closed |", "| mcq |", "| open |"))]
    return [dict(zip(names, map(str.strip, text.strip("|").split("|")), strict=True)) for text in lines]


@pytest.mark.parametrize("mode", MODES)
def test_the_examples_of_the_page_are_true(mode: Mode) -> None:
    shown = examples((Path(__file__).parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8"))
    odd = [
        Odd(
            row["question_type"],
            row["answer"],
            row["reply"].strip("`"),
            "",
            "",
            tuple(filter(None, row["options"].split(", "))),
        )
        for row in shown
    ]
    *told, _ = scored(mode, *map(as_line, odd))
    assert len(shown) > 20
    assert [VERDICTS[one["correct"]].replace("-", "unscored") for one in told] == [row[mode] for row in shown]
