"""Overlap of words, worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from medmax_pipeline.eval.text_metrics import MAX_WORDS, OVERLAP, library_lock, overlap, token_f1, words


def test_words_are_lower_case_runs_of_letters_and_digits() -> None:
    assert words("T2-weighted MRI, axial.") == ["t2", "weighted", "mri", "axial"]


@pytest.mark.parametrize(
    ("reply", "reference", "f1"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("sat cat the", "the cat sat", 1.0),
        ("a chest ct", "chest ct of the lung", 0.5),  # 2 shared of 3 and 5: 4/8
        ("yes yes yes", "yes", 0.5),  # one shared, however often it is said
        ("", "a caption", 0.0),
        ("...", "", 1.0),
    ],
)
def test_token_f1_forgets_the_order(reply: str, reference: str, f1: float) -> None:
    assert token_f1(reply, reference) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("reply", "reference", "rouge_l"),
    [
        ("the cat sat", "The cat sat.", 1.0),
        ("sat cat the", "the cat sat", 1 / 3),
        ("a chest ct", "chest ct of the lung", 0.5),
        ("", "a caption", 0.0),
    ],
)
def test_rouge_l_follows_the_order(reply: str, reference: str, rouge_l: float) -> None:
    assert overlap(reply, reference)["rouge_l"] == pytest.approx(rouge_l)


def test_bleu_is_the_geometric_mean_of_the_precisions_of_one_to_four_words() -> None:
    found = overlap("the lungs are clear today", "The lungs are clear")["bleu"]
    assert found == pytest.approx(math.prod([4 / 5, 3 / 4, 2 / 3, 1 / 2]) ** 0.25)


def test_bleu_of_a_short_reply_is_cut_by_its_brevity() -> None:
    assert overlap("clear lungs", "clear lungs and no effusion")["bleu"] == pytest.approx(math.exp(1 - 5 / 2))


def test_chrf_rewards_a_word_in_another_form() -> None:
    near, far = (overlap(reply, "pneumonias")["chrf"] for reply in ("pneumonia", "fracture"))
    assert near is not None
    assert far is not None
    assert near > 0.7 > 0.1 > far


@pytest.mark.parametrize(
    "reply",
    ["", " \n", "<image>", "\x00\ud7ff", "a " * 50_000],
    ids=["empty", "blank", "mark", "controls", "runaway"],
)
def test_any_reply_gets_shares(reply: str) -> None:
    assert all(value is not None and 0 <= value <= 1 for value in overlap(reply, "no acute process").values())


def test_a_runaway_reply_is_cut() -> None:
    assert len(words("a " * (MAX_WORDS + 5))) == MAX_WORDS


def test_an_absent_library_locks_its_figures_and_says_how_to_get_it() -> None:
    assert all(metric.lock is None for metric in OVERLAP)
    lock = library_lock("no-such-library")
    assert lock is not None
    assert lock.cure == "pip install no-such-library"


def test_without_the_libraries_the_module_loads_and_their_figures_are_unknown() -> None:
    program = (
        "import sys, importlib.util\n"
        "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]\n"
        "from medmax_pipeline.eval.text_metrics import OVERLAP, overlap\n"
        "assert all(metric.lock for metric in OVERLAP)\n"
        "print(overlap('a', 'b'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "{'rouge_l': None, 'bleu': None, 'chrf': None}", ran.stderr
