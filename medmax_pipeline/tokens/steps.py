"""The steps `image_codes` and `published_tokens`: what they read and their parameters.

What they do is `codes.py` (encoding itself `encode.py`) and `published.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.withdrawal import parameters

CODE_VERSION = "1"
"""Raise when the published tables change; what moves codes is in the tokenizer digest (`image.PREPROCESSING`)."""

CHECK_VERSION = "1"
"""Raise when the same ids would be judged otherwise."""


def image_codes_step(sources: Sequence[str], trained: Sequence[str]) -> Step:
    """The step that encodes the pictures of curated samples and of evaluation rows.

    Args:
        sources: those of the build.
        trained: those of them that have training rows, and so are curated.
    """
    needs = [Need("image_tokenizer"), *(Need(f"{source}/samples") for source in sources)]
    needs += [Need(f"{source}/curated") for source in trained]

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.tokens.codes import make_codes

        return make_codes(ctx, sources)

    return Step(
        key="image_codes",
        run=run,
        code_version=CODE_VERSION,
        needs=tuple(needs),
        params={"preprocessing": PREPROCESSING},
        locks_on=("image_tokenizer",),
        withdrawn=lambda store, inputs: parameters(store, [inputs[f"{source}/samples"] for source in sources], "eval"),
        group="tokens",
        description="Codes of every picture that a curated sample or an evaluation row shows; each encoded once, ever.",
    )


def published_tokens_step() -> Step:
    """The step that holds the ids which the published training set carries against our own of the same rows."""

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.tokens.published import check_published

        return check_published(ctx)

    return Step(
        key="published_tokens",
        run=run,
        code_version=CHECK_VERSION,
        needs=tuple(
            map(Need, ("image_tokenizer", "text_tokenizer", "image_codes", "medmax_data/raw", "medmax_data/samples"))
        ),
        params={"preprocessing": PREPROCESSING},
        group="tokens",
        description="The token ids that the published MedMax set carries, held against those made here: agreement, and "
        "each disagreement by name.",
    )
