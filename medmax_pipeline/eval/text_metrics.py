"""How alike two short texts are, by words they share. No weights, no stemming, no stop words.

A word is a run of letters or digits, lower-cased. These measure overlap with the one reference caption and say nothing
of truth beyond it; similarity by a trained network (BiomedCLIP) is another metric and keeps its own name.
"""

from __future__ import annotations

import re
from collections import Counter

WORD = re.compile(r"[^\W_]+")
MAX_WORDS = 2000
"""A reply is cut here, so that the table of `rouge_l` stays small; longer than any caption."""


def words(text: str) -> list[str]:
    """The text's words, lower-cased, at most 2,000."""
    return WORD.findall(text.lower())[:MAX_WORDS]


def token_f1(reply: str, reference: str) -> float:
    """F1 over the two bags of words, 0 to 1 (Rajpurkar et al., arXiv 1606.05250, without dropping articles).

    Two texts without any word agree (1.0); one without words against one with some scores 0.0.
    """
    mine, theirs = Counter(words(reply)), Counter(words(reference))
    return _f1((mine & theirs).total(), mine.total(), theirs.total())


def rouge_l(reply: str, reference: str) -> float:
    """ROUGE-L, 0 to 1: F1 over the longest common subsequence of words (Lin, ACL workshop 2004, beta = 1)."""
    mine, theirs = words(reply), words(reference)
    row = [0] * (len(theirs) + 1)
    for word in mine:
        before = 0
        for place, other in enumerate(theirs, start=1):
            above = row[place]
            row[place] = before + 1 if word == other else max(above, row[place - 1])
            before = above
    return _f1(row[-1], len(mine), len(theirs))


def _f1(shared: int, mine: int, theirs: int) -> float:
    """2PR / (P + R) with P = shared / mine and R = shared / theirs."""
    return 2 * shared / (mine + theirs) if mine + theirs else 1.0
