"""Each target's loss from hidden states, without the logits of all positions ever being held.

Logits are made in slices of positions. Under a frozen head (LoRA) a slice's gradient is taken while its logits are
there, so they are computed once and nothing of the vocabulary's size is kept. Under a head that learns, slices are
computed again for the backward pass, for its gradient needs the weight that each target has in the objective.

Torch's `linear_cross_entropy` (2.13) is not used: it gives no logarithm of the denominator, which a z-loss needs, and
works in slices only for sums and means, while our targets are weighted one by one.

L targets, V vocabulary, C hidden size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

HEAD_CHUNK = 2048
"""Targets whose logits are held at once: 2,048 x 65,536 in float32 are 0.5 GiB."""


class TokenLosses(NamedTuple):
    """One line a target, float32, in nats.

    Attributes:
        losses_L: negative log-likelihoods.
        log_z_L: logarithms of the softmax's denominators.
    """

    losses_L: Tensor
    log_z_L: Tensor


def token_losses(head: nn.Linear, hidden_LC: Tensor, targets_L: Tensor) -> TokenLosses:
    """Losses of targets whose predictors' hidden states are given.

    Args:
        head: of V outputs, without a bias.
        hidden_LC: (L, C) hidden states.
        targets_L: (L,) int64 ids.
    """
    weight_VC = head.weight
    if not (weight_VC.requires_grad or isinstance(weight_VC, DTensor)):
        return TokenLosses(*FrozenHead.apply(hidden_LC, weight_VC, targets_L))  # type: ignore[no-untyped-call]
    # the module is called, not its weight: only so does a sharded one gather itself
    if len(targets_L) <= HEAD_CHUNK:
        return TokenLosses(*_slice_losses(head, hidden_LC, targets_L))
    pieces = [
        checkpoint(_slice_losses, head, hidden, targets, use_reentrant=False)
        for hidden, targets in zip(hidden_LC.split(HEAD_CHUNK), targets_L.split(HEAD_CHUNK), strict=True)
    ]
    return TokenLosses(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def _slice_losses(head: nn.Linear, hidden_LC: Tensor, targets_L: Tensor) -> tuple[Tensor, Tensor]:
    logits_LV = head(hidden_LC).float()
    log_z_L = logits_LV.logsumexp(dim=1)
    return log_z_L - logits_LV.gather(1, targets_L[:, None]).squeeze(1), log_z_L


class FrozenHead(torch.autograd.Function):
    """Losses and log-denominators under weights that do not learn.

    A row's gradient is linear in what comes from above: with p the row's probabilities and w the target's weights, it
    is loss' (p W - w) + log_z' p W. So p W and p W - w are made in the forward pass, slice by slice.
    """

    @staticmethod
    def forward(ctx: Any, hidden_LC: Tensor, weight_VC: Tensor, targets_L: Tensor) -> tuple[Tensor, Tensor]:
        losses_L = hidden_LC.new_empty(len(targets_L), dtype=torch.float32)
        log_z_L = torch.empty_like(losses_L)
        wanted = ctx.needs_input_grad[0]
        mean_LC, error_LC = (torch.empty_like(hidden_LC), torch.empty_like(hidden_LC)) if wanted else (None, None)
        for start in range(0, len(targets_L), HEAD_CHUNK):
            rows = slice(start, start + HEAD_CHUNK)
            targets_l = targets_L[rows]
            logits_lV = functional.linear(hidden_LC[rows], weight_VC).float()
            likely_l = logits_lV.gather(1, targets_l[:, None]).squeeze(1)
            highest_l = logits_lV.amax(dim=1)
            powers_lV = logits_lV.sub_(highest_l[:, None]).exp_()
            sum_l = powers_lV.sum(dim=1)
            log_z_L[rows] = sum_l.log() + highest_l
            losses_L[rows] = log_z_L[rows] - likely_l
            if mean_LC is not None and error_LC is not None:
                mean_lC = powers_lV.to(weight_VC.dtype) @ weight_VC / sum_l[:, None]
                mean_LC[rows] = mean_lC
                error_LC[rows] = mean_lC - weight_VC[targets_l]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mean_LC, error_LC)
        return losses_L, log_z_L

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above_loss_L: Tensor | None, above_log_z_L: Tensor | None) -> tuple[Tensor | None, ...]:
        mean_LC, error_LC = ctx.saved_tensors
        parts = [
            above_L[:, None] * made_LC
            for above_L, made_LC in ((above_loss_L, error_LC), (above_log_z_L, mean_LC))
            if above_L is not None
        ]
        return (sum(parts[1:], parts[0]).to(mean_LC.dtype) if parts else None), None, None
