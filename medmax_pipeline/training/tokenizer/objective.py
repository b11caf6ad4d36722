"""What tuning a VQGAN minimises: the terms of "Taming Transformers" (Esser et al., arXiv 2012.09841), as its code has
them.

    pixels      mean absolute difference
    perceptual  LPIPS, where weights are given (`perceptual.py`)
    codebook    latents towards their codes, and with weight beta codes towards their latents
    adversarial the discriminator's opinion (`discriminator.py`), from a start step on, weighed so that it pulls on the
                decoder's last layer as strongly as pixels and perception do

The paper's text has beta on the first part of the codebook term; its released code, followed here, on the second.

B pictures, D code dimensions, K codes, M latents of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from medmax_pipeline.models.quantiser import nearest_codes

LARGEST_WEIGHT = 1e4
"""Of the adaptive weight, as in that code."""
LEAST_PULL = 1e-4
"""Added to the adversarial gradient's norm, as in that code."""
Averaged = Callable[[Tensor], Tensor]
"""Gives the mean of a tensor over all processes."""


class Quantised(NamedTuple):
    """Latents and their codes."""

    through_BDHW: Tensor
    """Values of the codes, gradients of the latents."""
    latents_MD: Tensor
    nearest_MD: Tensor
    """Values of the codes; gradients reach the codebook where it learns."""
    codes_M: Tensor


def straight_through(z_BDHW: Tensor, codebook_KD: Tensor) -> Quantised:
    """Replace latents by their nearest codes so that gradients pass as if nothing had been replaced."""
    B, D, H, W = z_BDHW.shape
    z_MD = z_BDHW.permute(0, 2, 3, 1).reshape(-1, D)
    codes_M = nearest_codes(z_MD.detach(), codebook_KD.detach())
    nearest_MD = codebook_KD[codes_M]
    through_MD = z_MD + (nearest_MD - z_MD).detach()
    return Quantised(through_MD.view(B, H, W, D).permute(0, 3, 1, 2), z_MD, nearest_MD, codes_M)


def codebook_term(quantised: Quantised, beta: float) -> Tensor:
    """Mean squared distance of latents to their codes, plus beta times that of codes to their latents."""
    commitment = functional.mse_loss(quantised.latents_MD, quantised.nearest_MD.detach())
    return commitment + beta * functional.mse_loss(quantised.nearest_MD, quantised.latents_MD.detach())


def judged_real(opinion: Tensor) -> Tensor:
    """What the decoder minimises: the discriminator's opinion of its pictures, negated."""
    return -opinion.mean()


def hinge(of_true: Tensor, of_made: Tensor) -> Tensor:
    """What the discriminator minimises: opinions of true pictures below 1, of made ones above -1."""
    return 0.5 * (functional.relu(1.0 - of_true).mean() + functional.relu(1.0 + of_made).mean())


def adaptive_weight(likeness: Tensor, adversarial: Tensor, last_layer: Tensor, averaged: Averaged) -> Tensor:
    """Ratio of the two terms' gradients on the decoder's last layer; a scalar without gradient, 0 to 10,000.

    Args:
        likeness: pixel and perceptual terms.
        adversarial: `judged_real` of the made pictures.
        last_layer: the decoder's last weights.
        averaged: over processes, so that all weigh alike.
    """
    pulls = [
        averaged(torch.autograd.grad(term, last_layer, retain_graph=True)[0]).norm() for term in (likeness, adversarial)
    ]
    ratio: Tensor = pulls[0] / (pulls[1] + LEAST_PULL)
    return ratio.clamp(0.0, LARGEST_WEIGHT).detach()
