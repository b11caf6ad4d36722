"""The objective of one step: a weighted mean over targets, with text and image told apart.

The weights are `data.py`'s: per sample (each sequence has the same share, as in the paper, where a device holds one
sample) or per token. Logits cover the whole vocabulary, so image codes are learned like words (`models/chameleon.py`).

L targets of a pack.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.data import Batch


class Objective(NamedTuple):
    """What is minimised, and what people look at, in nats.

    Attributes:
        loss: scalar with a gradient; the weighted mean.
        text_sum: summed loss of the text targets, a scalar without gradient.
        text_count: how many targets are text.
        image_sum: summed loss of the image codes.
        image_count: how many targets are image codes.
    """

    loss: Tensor
    text_sum: Tensor
    text_count: int
    image_sum: Tensor
    image_count: int


def objective(model: MixedModalChameleon, batch: Batch) -> Objective:
    """The loss of one pack."""
    told = model.labelled_loss(batch.ids_T, batch.positions_T, batch.cu_seqlens, batch.trained_T)
    loss = (told.losses_L * batch.weight_T[told.at_L]).sum()
    image_L = batch.image_T[told.at_L]
    plain_L = told.losses_L.detach()
    images = int(image_L.sum())
    return Objective(loss, plain_L[~image_L].sum(), len(image_L) - images, plain_L[image_L].sum(), images)
