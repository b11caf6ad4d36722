"""Captions drawn as pictures: codes sampled under guidance, decoded, and set beside the reference picture.

The decoding loop forces a picture of exactly N codes, so a picture always comes out; whether the model would have begun
and ended it by itself is measured apart (`valid`). The reference implementation draws in the same way but for its
seed, which never reaches the process that draws; here each item has its own.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medmax_pipeline.eval.asking import ask, record_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.picture_metrics import code_histogram, histogram_cosine
from medmax_pipeline.eval.picture_text import PICTURE_UNREAD, Space, cosine, space_of
from medmax_pipeline.eval.records import Answered, ItemRecord, scored
from medmax_pipeline.eval.task import Decoding, Metric, Task
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.records import Sample
from medmax_pipeline.tokens.likeness import psnr_db

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medmax_pipeline.eval.asking import Ids
    from medmax_pipeline.eval.engine import Engine
    from medmax_pipeline.eval.scorers import Scorers

NO_OTHER = "no_other_reference"

SAMPLING = Decoding(temperature=0.7, top_p=0.9, cfg_text=3.0, cfg_image=1.2)
"""As the reference implementation samples image tokens (its `inference_utils`; paper, section 5)."""

METRICS = (
    Metric(
        name="code_histogram_margin",
        scorer="image_tokenizer_codes",
        meaning="code_histogram_cosine with the caption's own picture minus the mean with the batch's other pictures; "
        "0 when the picture does not depend on the caption",
        share=False,
        headline=True,
    ),
    Metric(
        name="code_histogram_cosine",
        scorer="image_tokenizer_codes",
        meaning="cosine of how often each code occurs in the generated and in the reference picture",
    ),
    Metric(
        name="pixel_psnr",
        scorer="reconstruction_psnr_db",
        meaning="peak signal-to-noise ratio in dB between the generated picture and the reference picture as the image "
        "tokenizer reconstructs it",
        share=False,
    ),
    Metric(
        name="valid",
        scorer="begin_and_end_likelihood",
        meaning="share of items where the model by itself begins a picture after the caption and ends it after exactly "
        "one picture's codes, each with more than half of its probability",
    ),
    Metric(
        name="clip_score",
        by="similarity",
        meaning="cosine of the generated picture and the caption that it was asked for with",
        share=False,
    ),
    Metric(
        name="clip_score_reference",
        by="similarity",
        meaning="cosine of the caption's own picture and the caption: what clip_score is read against",
        share=False,
    ),
)


def caption(sample: Sample) -> str:
    """What is to be drawn: a caption or report, which a picture's description answers and a drawing's prompt asks."""
    return sample.turns[0].text if sample.kind in ("generation", "radiograph_generation") else sample.answer


def answer_generation(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: the drawn picture, and how near it is to the caption's own."""
    import numpy as np

    asked = ask(engine, task, items, draws=True)
    if not asked.items:
        return Answered(asked.in_order(task, {}))
    codes_BN = engine.draw(asked.prompts, [item.seed for item in asked.items], task.decoding)
    valid = _whole_by_itself(engine, asked.prompts, codes_BN)
    references = np.stack([np.asarray(item.codes[0] if item.codes else ()) for item in asked.items]).astype(np.int64)
    drawn, shown = engine.pixels(codes_BN), engine.pixels(references)
    judged: dict[str, ItemRecord] = {}
    pictures: dict[str, bytes] = {}
    for place, item in enumerate(asked.items):
        mine, theirs = png(drawn[place]), png(shown[place])
        pictures |= {sha256_bytes(mine): mine, sha256_bytes(theirs): theirs}
        near, margin = _nearness(engine, asked.items, references, codes_BN[place], place)
        judged[item.sample.sample_id] = record_of(
            task,
            item,
            unscored=NO_OTHER if margin is None else "",
            metrics={
                "code_histogram_margin": margin,
                "code_histogram_cosine": near,
                "pixel_psnr": psnr_db(drawn[place], shown[place]),
                "valid": float(valid[place]),
            },
            generated_image=sha256_bytes(mine),
            reference_image=sha256_bytes(theirs),
            seed=item.seed,
        )
    return Answered(asked.in_order(task, judged), pictures)


def score_generation(
    scorers: Scorers, task: Task, samples: Sequence[Sample], records: Sequence[ItemRecord]
) -> list[ItemRecord]:
    """Similarity of the caption with the picture drawn for it, and with its own."""
    space = space_of(scorers)
    if space is None:
        return list(records)
    return [_with_similarity(each, space) if each.generated_image else each for each in records]


def _with_similarity(record: ItemRecord, space: Space) -> ItemRecord:
    wanted = space.text(record.reference)
    ceiling = space.source_beside(record.image_ids[0], wanted)
    return scored(
        record,
        {
            "clip_score": cosine(space.drawn(record.generated_image), wanted),
            "clip_score_reference": ceiling[0] if ceiling else None,
        },
        unscored="" if ceiling else PICTURE_UNREAD,
    )


def _whole_by_itself(engine: Engine, prompts: Sequence[Ids], codes_BN: npt.NDArray[np.int64]) -> list[bool]:
    """Where the model gives more than half of its probability to the begin, and after the codes to the end."""
    import numpy as np

    voc = engine.vocabulary
    begins = engine.next_logprob([prompt[:-1] for prompt in prompts], voc.boi)
    whole = [
        np.concatenate([prompt, (codes + voc.first_code).astype(np.uint16)])
        for prompt, codes in zip(prompts, codes_BN, strict=True)
    ]
    ends = engine.next_logprob(whole, voc.eoi)
    half = float(np.log(0.5))
    return [begin > half and end > half for begin, end in zip(begins, ends, strict=True)]


def _nearness(
    engine: Engine, items: Sequence[Item], references: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], place: int
) -> tuple[float, float | None]:
    """Cosine with the own picture, and what it is above the mean with the batch's other pictures."""
    import numpy as np

    size = engine.vocabulary.codebook_size
    mine = code_histogram(codes, size)
    near = histogram_cosine(mine, code_histogram(references[place], size))
    others = [
        histogram_cosine(mine, code_histogram(reference, size))
        for item, reference in zip(items, references, strict=True)
        if item.cluster != items[place].cluster
    ]
    return near, near - float(np.mean(others)) if others else None


def png(pixels_HWC: npt.NDArray[np.uint8]) -> bytes:
    """A picture as PNG bytes; the same pixels give the same bytes with the same Pillow."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, format="PNG")
    return buffer.getvalue()
