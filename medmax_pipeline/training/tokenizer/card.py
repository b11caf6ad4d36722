"""What a tuned tokenizer says of itself: how it was made, which terms took part, what it gained, and a warning."""

from __future__ import annotations

from typing import Final

from medmax_pipeline.config import TokenizerTuning
from medmax_pipeline.files import Json
from medmax_pipeline.training.tokenizer.job import Job
from medmax_pipeline.training.tokenizer.steps import result_parameters

CARD: Final = "card.json"
WARNING: Final = (
    "Better pictures are not better answers: tuned on 300,000 biomedical pictures for 8 epochs, the paper's tokenizer "
    "had a reconstruction loss of 7.8 instead of 8.1, and the model built on it lost about 3 % on questions about "
    "pictures; the paper kept the published one. A model knows the codes that it was trained on: compare scores with "
    "and without this tokenizer before keeping it."
)


def card(job: Job, steps: int, figures: dict[str, Json]) -> dict[str, Json]:
    """The card as JSON values.

    Args:
        job: what was done.
        steps: how many updates.
        figures: of `measure.Gain`.
    """
    terms: dict[str, Json] = {
        "pixels": "in use",
        "perceptual": "in use" if job.perceptual else "omitted: no LPIPS weights were given",
        "codebook": "in use",
        "adversarial": adversarial(job.tuning, steps),
    }
    return {
        "what": "an image tokenizer tuned on this build's training pictures",
        "warning": WARNING,
        "steps": steps,
        "terms": terms,
        **figures,
        "tuning": result_parameters(job.tuning),
    }


def adversarial(tuning: TokenizerTuning, steps: int) -> str:
    """Whether the discriminator took part, in words."""
    if steps <= tuning.adversarial_start:
        return f"omitted: it begins after {tuning.adversarial_start:,} steps, there were {steps:,}"
    return f"in use from step {tuning.adversarial_start + 1:,} on"
