"""The objective: a weighted mean over a step's targets, with text and image told apart.

The weights are `data.py`'s: per sample (each sequence has the same share, as in the paper, where a device holds one
sample) or per token. Logits cover the whole vocabulary, so image codes are learned like words (`models/chameleon.py`).

L targets of a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.data import Batch


class Sums(NamedTuple):
    """What people look at, in nats, summed over batches and processes by adding.

    Attributes:
        loss: the weighted mean over targets, without the z-loss.
        text: summed loss of the text targets.
        text_targets: how many targets are text.
        image: summed loss of the image codes.
        image_targets: how many targets are image codes.
        z: the weighted mean of squared log-denominators.
    """

    loss: float
    text: float
    text_targets: float
    image: float
    image_targets: float
    z: float


class Objective(nn.Module):
    """The model with its loss as one module, as processes that train together want it."""

    def __init__(self, model: MixedModalChameleon, z_loss: float = 0.0) -> None:
        """Wrap a model; `z_loss` is the weight of the z-loss."""
        super().__init__()
        self.model = model
        self.z_loss = z_loss

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """This batch's part of the step's loss, a scalar with a gradient, and the `Sums` of it, (6,) float64."""
        told = self.model.labelled_loss(batch.ids_T, batch.positions_T, batch.cu_seqlens, batch.trained_T)
        weight_L = batch.weight_T[told.at_L]
        loss = mean = (told.losses_L * weight_L).sum()
        z = (told.log_z_L.square() * weight_L).sum()
        if self.z_loss:
            loss = mean + self.z_loss * z
        image_L = batch.image_T[told.at_L]
        text_L = ~image_L & (weight_L > 0)
        plain_L = told.losses_L.detach()
        sums = [mean.detach(), plain_L[text_L].sum(), text_L.sum(), plain_L[image_L].sum(), image_L.sum(), z.detach()]
        return loss, torch.stack([value.double() for value in sums])
