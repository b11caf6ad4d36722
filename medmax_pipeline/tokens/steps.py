"""The step `image_codes`: what it reads and its parameters. What it does is `codes.py`; encoding itself `encode.py`."""

from __future__ import annotations

from collections.abc import Sequence

from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.tokens import PREPROCESSING

CODE_VERSION = "1"
"""Raise when the published tables change; what moves codes is in the tokenizer digest (`image.PREPROCESSING`)."""


def image_codes_step(sources: Sequence[str]) -> Step:
    """The step that encodes the pictures of these sources: of curated samples, and of evaluation rows."""
    needs = [Need("image_tokenizer")]
    for source in sources:
        needs += [Need(f"{source}/curated"), Need(f"{source}/samples")]

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.tokens.codes import make_codes

        return make_codes(ctx, sources)

    return Step(
        key="image_codes",
        run=run,
        code_version=CODE_VERSION,
        needs=tuple(needs),
        params={"preprocessing": PREPROCESSING, "mode": "exact"},
        locks_on=("image_tokenizer",),
        group="tokens",
        description="Codes of every picture that a curated sample or an evaluation row shows; each encoded once, ever.",
    )
