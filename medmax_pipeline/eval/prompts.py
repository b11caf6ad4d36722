"""The texts by which questions about a picture are put, in either prompt style, and the references they are held to.

`sft`: picture and question, as in training; the separator follows. `chameleon`: the reference implementation's form
for models that were not tuned on turns (medmax `evaluation/eval_utils.py`): an instruction, the question behind
"Question:", and the reply behind "Answer:", without separator. The build chooses (`evaluation.prompt_style`).
"""

from __future__ import annotations

from typing import Final

from medmax_pipeline.records import IMAGE, Sample

YES_NO_HINT: Final = " and respond 'yes' or 'no'"
LETTER_HINT: Final = " and respond 'A', 'B', 'C', or 'D'"
"""As published: four letters, however many options there are."""


def sft(sample: Sample) -> str:
    """Picture and question, as in training."""
    return sample.turns[0].text


def question(sample: Sample) -> str:
    """The question without its picture, as a judge reads it; options stand in it."""
    return sample.turns[0].text.replace(IMAGE, " ").strip()


def chameleon_closed(sample: Sample) -> str:
    """Picture, the instruction to say yes or no, question."""
    return _instructed(sample, YES_NO_HINT)


def chameleon_choice(sample: Sample) -> str:
    """Picture, the instruction to say a letter, question with its options."""
    return _instructed(sample, LETTER_HINT)


def chameleon_open(sample: Sample) -> str:
    """Picture, the instruction to answer, question."""
    return _instructed(sample, "")


def _instructed(sample: Sample, hint: str) -> str:
    return f"{IMAGE}Answer the question based on this image{hint}.\nQuestion: {question(sample)}\nAnswer:"


def lower_answer(sample: Sample) -> str:
    """`yes` or `no`, in lower case as in the published evaluation data."""
    return sample.answer.strip().lower()


def upper_answer(sample: Sample) -> str:
    """The letter of the right option, in upper case as in the published evaluation data."""
    return sample.answer.strip().upper()


def answer(sample: Sample) -> str:
    """The reference answer as it stands."""
    return sample.answer
