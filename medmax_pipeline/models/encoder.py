"""The encoder's forward pass for inference, over the modules of transformers' `ChameleonVQVAEEncoder`.

Stock `forward` keeps a list of all hidden states until it ends; this one lets each go as soon as the next is there
(0.38 instead of 0.55 GiB a picture of 512 x 512 px in float32). The operations and their order are those of the stock
one, so that its numbers are equal bit for bit; `fused` asks for shorter ones. Weights, loading and quantising are
elsewhere. Differentiable.

B pictures, C channels, H and W cells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def run_encoder(encoder: Any, pixels_BCHW: Tensor, *, fused: bool = False) -> Tensor:
    """What stock `forward` gives: (B, latent_channels, H, W).

    Args:
        encoder: a `ChameleonVQVAEEncoder`.
        pixels_BCHW: (B, 3, resolution, resolution) in [-1, 1], of the weights' type.
        fused: swish and attention as one operation each; equal but for rounding.
    """
    x_BCHW: Tensor = encoder.conv_in(pixels_BCHW)
    for level in encoder.down:
        for i, block in enumerate(level.block):
            x_BCHW = _residual(block, x_BCHW, fused)
            if len(level.attn) > 0:
                x_BCHW = _attention(level.attn[i], x_BCHW, fused)
        if hasattr(level, "downsample"):
            x_BCHW = level.downsample(x_BCHW)
    middle = encoder.mid
    x_BCHW = _residual(middle.block_1, x_BCHW, fused)
    if not isinstance(middle.attn_1, nn.Identity):
        x_BCHW = _attention(middle.attn_1, x_BCHW, fused)
    x_BCHW = _residual(middle.block_2, x_BCHW, fused)
    out: Tensor = encoder.conv_out(_swish(encoder.norm_out(x_BCHW), fused))
    return out


def _swish(x: Tensor, fused: bool) -> Tensor:
    """Overwrites its input, which is always a norm's output."""
    return functional.silu(x, inplace=True) if fused else x.mul_(torch.sigmoid(x))


def _residual(block: Any, x_BCHW: Tensor, fused: bool) -> Tensor:
    h_BCHW = block.conv1(_swish(block.norm1(x_BCHW), fused))
    h_BCHW = block.conv2(_swish(block.norm2(h_BCHW), fused))
    if hasattr(block, "nin_shortcut"):
        x_BCHW = block.nin_shortcut(x_BCHW)
    out: Tensor = h_BCHW.add_(x_BCHW)
    return out


def _attention(block: Any, x_BCHW: Tensor, fused: bool) -> Tensor:
    """One head over all cells, beside the input."""
    h_BCHW = block.norm(x_BCHW)
    q, k, v = (part(h_BCHW).flatten(2) for part in (block.q, block.k, block.v))
    if fused:
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    else:
        weights = torch.bmm(q.permute(0, 2, 1), k).mul_(x_BCHW.shape[1] ** -0.5)
        mixed = torch.bmm(v, functional.softmax(weights, dim=2).permute(0, 2, 1))
    out: Tensor = block.proj_out(mixed.reshape(x_BCHW.shape)).add_(x_BCHW)
    return out
