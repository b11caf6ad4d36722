"""What a free reply says, read strictly: yes, no, or the letter of an option; else why it cannot be read.

Every rule is a row of `docs/scoring.md`, which a test reads. A reply that commits itself to nothing, or to two things,
is not read for either: it is wrong where the metric says so, never guessed. The reference's own rules are `compat.py`;
likelihoods, which need no reading, are the families'.

Not covered: a sentence that negates a question which negates (`Is nothing seen?`, "It is not empty").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

LETTERS: Final = "ABCDEFGHIJ"
"""Of options, in their order."""
MAX_CHARS: Final = 4_000
"""A reply is read up to here; an answer that comes later is no answer to a choice."""

EMPTY: Final = "empty_reply"
UNREADABLE: Final = "unreadable"
AMBIGUOUS: Final = "ambiguous"
OUT_OF_RANGE: Final = "letter_out_of_range"

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_PREAMBLE = re.compile("the|correct|right|final|my|best|answer|response|is|are|would|should|be|i|think|say|believe")
"""Words before an answer that say nothing of it."""
_NEGATION = re.compile(r"no|not|none|nothing|never|neither|without|absent|negative|cannot|\w+n't")
_HEDGE = re.compile(
    r"\b(?:un(?:sure|certain|clear|known)|maybe|perhaps|possibly|might|impossible|no idea"
    r"|not (?:sure|clear|certain|possible)|(?:do not|don't) know"
    r"|(?:cannot|can't|can not|could not|couldn't|unable to) (?:be )?"
    r"(?:tell|told|say|said|see if|determined?|answer(?:ed)?|assess(?:ed)?))\b"
)
_STATED_YES_NO = re.compile(r"\banswer\b\W*(?:(?:is|would be|should be)\W*)?(yes|no)\b")

_BARE = re.compile(r"[\W_]*([A-Za-z])[\W_]*")
_LEADING = re.compile(r"[\W_]*(?:([A-Ja-j])\s*[:.)\]](?=[\s*\"'(]|[^\W\d_]{2}|$)|([A-J])[ \t]*[,\n])")
_OPENING = re.compile(r"[\W_]*([A-J])\b[\W_]*(?=\S)")
_STATED = re.compile(
    r"\b(?:[Aa]nswer|[Oo]ption|[Cc]hoice|ANSWER|OPTION|CHOICE)\b(?:\s+(?:is|would be|should be)\b)?[\s:=*\"'(\[]*"
    r"(?:([A-J])\b|([a-j])(?=[\s)\].!*\"']*$)|\(([a-j])\))"
)
_SEVERAL = re.compile(r"\b([A-J])\b[)\].]*\s*(?:,|/|&|\b(?i:or|and)\b)\s*(?i:or|and)?\s*[(\[]*\b([A-J])\b")
_STANDING = re.compile(r"(?<![\w'-])([B-HJ]|A(?!\s+[a-z]))(?![\w'-])")
"""A capital on its own; not `I`, and not `A` before a word, which is an article."""


class Reading(NamedTuple):
    """What a reply was read as."""

    said: str | None
    """`yes`, `no` or a letter in upper case; None where it cannot be read."""
    reason: str = ""
    """Why not, by name."""


def read_yes_no(reply: str) -> Reading:
    """The answer to a yes-or-no question: by its first word, by a statement, or by being one negation."""
    text = _folded(reply)
    spoken = _WORD.findall(text)
    if not spoken:
        return Reading(None, EMPTY)
    first = next((word for word in spoken if not _PREAMBLE.fullmatch(word)), "")
    opening = {first} & {"yes", "no"}
    stated = set(_STATED_YES_NO.findall(text)) | opening
    if len(stated) > 1:
        return Reading(None, AMBIGUOUS)
    if stated:
        return _opening(first, spoken) if opening else Reading(stated.pop())
    if _HEDGE.search(text):
        return Reading(None, UNREADABLE)
    negations = sum(bool(_NEGATION.fullmatch(word)) for word in spoken)
    if "yes" in spoken:
        return Reading(None, AMBIGUOUS) if negations else Reading("yes")
    if negations:
        return Reading("no") if negations == 1 else Reading(None, AMBIGUOUS)
    return Reading(None, UNREADABLE)


def _opening(first: str, spoken: list[str]) -> Reading:
    """A reply that opens with yes or no: `yes` may go on with "there is no …", but not with the other word at once."""
    rest = [word for word in spoken[spoken.index(first) + 1 :] if word not in ("and", "or", "but")]
    torn = rest[:1] == ["no"] if first == "yes" else "yes" in rest
    return Reading(None, AMBIGUOUS) if torn else Reading(first)


def read_choice(reply: str, options: Sequence[str] = ()) -> Reading:
    """The letter that a reply to a multiple-choice question chooses: by letter, or by the text of one option.

    Args:
        reply: what was said.
        options: texts without letters, in their order; none where they are not known, and any letter may then be said.
    """
    text = _straight(reply)
    letters = LETTERS[: len(options)] if options else LETTERS
    if not _WORD.search(text):
        return Reading(None, EMPTY)
    same = [letter for letter, option in zip(letters, options, strict=False) if _words(option) == _words(text)]
    bare = _BARE.fullmatch(text)
    if bare:
        return _one({bare.group(1).upper(), *same}, letters)
    if same:
        return _one(set(same), letters)
    opening = [(match.group(1), match.end()) for match in [_OPENING.match(text)] if match]
    whole = [letter for letter, end in _named(text) or opening if _says(text[end:], letter, options)]
    if whole:
        return _one(set(whole), letters)
    if any(first != second for first, second in _SEVERAL.findall(text if len(text) > 16 else text.upper())):
        return Reading(None, AMBIGUOUS)
    return _by_letter(text, letters, options) or _by_text(text, letters, options)


def _named(text: str) -> list[tuple[str, int]]:
    """Letters in statements, else before the text, with the places where they end."""
    stated = [(next(filter(None, match.groups())).upper(), match.end()) for match in _STATED.finditer(text)]
    leading = _LEADING.match(text)
    return stated or ([((leading.group(1) or leading.group(2)).upper(), leading.end())] if leading else [])


def _by_letter(text: str, letters: str, options: Sequence[str]) -> Reading | None:
    """The letter named in a statement, else before the text, else standing alone; None where there is none."""
    found = _named(text)
    alone = [] if found else [(match.group(1), match.end()) for match in _STANDING.finditer(text)]
    if not found and not alone:
        return None
    said = {letter for letter, _ in found or alone}
    for letter, end in found or alone:
        begun = _begun(text[end:], letters, options)
        if begun and letter not in begun:
            return Reading(None, AMBIGUOUS)  # the letter of one option before the text of another
    texts = _meant(_words(text), letters, options) if alone else _begun(text, letters, options)
    if texts and not said & texts:
        return Reading(None, AMBIGUOUS)  # `C. difficile` is no choice of C
    if alone and any(map(_NEGATION.fullmatch, _words(text))):
        return Reading(None, UNREADABLE)
    return _one(said, letters)


def _by_text(text: str, letters: str, options: Sequence[str]) -> Reading:
    """The one option whose words stand in the reply, unless something else is negated."""
    spoken = _words(text)
    meant = _meant(spoken, letters, options)
    chosen = {word for letter in meant for word in _words(options[letters.index(letter)])}
    if not meant or any(_NEGATION.fullmatch(word) for word in spoken if word not in chosen):
        return Reading(None, UNREADABLE)
    return _one(meant, letters)


def _meant(spoken: list[str], letters: str, options: Sequence[str]) -> set[str]:
    """Letters of the options whose words stand in the reply; of one inside another that does too, the longer."""
    inside = [(letter, _words(option)) for letter, option in zip(letters, options, strict=False)]
    there = [(letter, option) for letter, option in inside if option and _holds(spoken, option)]
    return {
        letter
        for letter, option in there
        if not any(len(longer) > len(option) and _holds(longer, option) for _, longer in there)
    }


def _one(said: set[str], letters: str) -> Reading:
    if len(said) > 1:
        return Reading(None, AMBIGUOUS)
    letter = next(iter(said))
    return Reading(letter) if letter in letters else Reading(None, OUT_OF_RANGE)


def _says(rest: str, letter: str, options: Sequence[str]) -> bool:
    place = LETTERS.index(letter)
    return place < len(options) and _words(rest) == _words(options[place])


def _begun(rest: str, letters: str, options: Sequence[str]) -> set[str]:
    """Letters of the options with whose words `rest` begins; of several, the longest."""
    spoken = _words(rest)
    pairs = [(letter, _words(option)) for letter, option in zip(letters, options, strict=False)]
    found = [(len(option), letter) for letter, option in pairs if option and spoken[: len(option)] == option]
    return {letter for size, letter in found if size == max(found)[0]}


def _holds(words: list[str], part: list[str]) -> bool:
    """Whether `part` stands in `words` without a gap."""
    return any(words[start : start + len(part)] == part for start in range(len(words) - len(part) + 1))


def _words(text: str) -> list[str]:
    return _WORD.findall(_folded(text))


def _folded(text: str) -> str:
    return _straight(text).casefold()


def _straight(text: str) -> str:
    """The part that is read, with straight apostrophes."""
    return text[:MAX_CHARS].replace("\u2019", "'").strip()
