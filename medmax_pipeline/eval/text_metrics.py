"""How alike two texts are by what they share: words counted here, n-grams and subsequences by the field's libraries.

They measure overlap with the one reference caption or report and say nothing of truth beyond it. BLEU and chrF are
sacrebleu's, ROUGE-L is rouge-score's, so that a figure can be compared with other papers'; where a library is absent
its figures are locked, and nothing stands in. Similarity by a trained network is `picture_text.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec

from medmax_pipeline.eval.task import Metric
from medmax_pipeline.manifest import Lock

WORD = re.compile(r"[^\W_]+")
MAX_WORDS = 2000
"""A reply is cut here; longer than any report."""
MAX_OVERLAP_WORDS = 600
"""The libraries see no more of a text than this many words, so that a runaway reply costs them no more than a fraction
of a second; longer than all but a few reports."""
MAX_OVERLAP_CHARS = 8_000
LIBRARY_ABSENT = "library_absent"


def words(text: str) -> list[str]:
    """The text's runs of letters or digits, lower-cased, at most 2,000. No stemming, no stop words."""
    return WORD.findall(text.lower())[:MAX_WORDS]


def token_f1(reply: str, reference: str) -> float:
    """F1 over the two bags of words, 0 to 1 (Rajpurkar et al., arXiv 1606.05250, without dropping articles).

    Two texts without any word agree (1.0); one without words against one with some scores 0.0.
    """
    mine, theirs = Counter(words(reply)), Counter(words(reference))
    shared, total = (mine & theirs).total(), mine.total() + theirs.total()
    return 2 * shared / total if total else 1.0


def library_lock(package: str) -> Lock | None:
    """Why a library's figures cannot be computed; None where it is installed."""
    module = package.replace("-", "_")
    if find_spec(module) is not None:
        return None
    return Lock(f"The library {package} is not installed where records are scored.", f"pip install {package}")


def _metric(name: str, package: str, scorer: str, meaning: str) -> Metric:
    return Metric(name=name, scorer=scorer, meaning=meaning, lock=library_lock(package))


OVERLAP = (
    _metric(
        "rouge_l",
        "rouge-score",
        "rouge_score rougeL, no stemmer",
        "F1 of the longest common subsequence of words of the reply and the reference (ROUGE-L)",
    ),
    _metric(
        "bleu",
        "sacrebleu",
        "sacrebleu BLEU nrefs:1|case:lc|eff:yes|tok:13a|smooth:exp",
        "BLEU-4 of the reply against the reference, sentence by sentence and averaged; not the corpus figure",
    ),
    _metric(
        "chrf",
        "sacrebleu",
        "sacrebleu chrF2 nrefs:1|case:lc|eff:yes|nc:6|nw:0|space:no",
        "F2 of the character n-grams of the reply and the reference, averaged over items",
    ),
)
"""Metrics beyond the paper's, whose own saturates: generated captions score above the references."""


def overlap(reply: str, reference: str) -> dict[str, float | None]:
    """Every metric of `OVERLAP`, 0 to 1; None for those whose library is absent.

    Args:
        reply: the generated text, untrusted and of any length.
        reference: a text that is not empty.
    """
    mine, theirs = (" ".join(text[:MAX_OVERLAP_CHARS].split()[:MAX_OVERLAP_WORDS]) for text in (reply, reference))
    return {metric.name: None if metric.lock else _measures()[metric.name](mine, theirs) for metric in OVERLAP}


def overlap_unscored(values: Mapping[str, float | None]) -> str:
    """Reasons why figures of `overlap` are None, by names with spaces between."""
    return " ".join(f"{LIBRARY_ABSENT}:{name}" for name, value in values.items() if value is None)


@cache
def _measures() -> Mapping[str, Callable[[str, str], float]]:
    """The libraries that are there, loaded once."""
    found: dict[str, Callable[[str, str], float]] = {}
    if library_lock("sacrebleu") is None:
        from sacrebleu.metrics import BLEU, CHRF

        bleu, chrf = BLEU(lowercase=True, effective_order=True), CHRF(lowercase=True)
        found["bleu"] = lambda reply, reference: float(bleu.sentence_score(reply, [reference]).score) / 100
        found["chrf"] = lambda reply, reference: float(chrf.sentence_score(reply, [reference]).score) / 100
    if library_lock("rouge-score") is None:
        from rouge_score.rouge_scorer import RougeScorer

        rouge = RougeScorer(["rougeL"], use_stemmer=False)
        found["rouge_l"] = lambda reply, reference: float(rouge.score(reference, reply)["rougeL"].fmeasure)
    return found
