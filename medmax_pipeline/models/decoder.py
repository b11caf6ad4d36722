"""The decoder of the image tokenizer, which `transformers` does not have: latents back to pixels.

The geometry of the VQGAN of "Taming Transformers" (Esser et al., arXiv 2012.09841), from which Chameleon's image
tokenizer was made: 3x3 convolution in; residual, attention, residual at the lowest resolution; one level up per
channel multiplier, each with one residual block more than the encoder's; nearest-neighbour doubling and a 3x3
convolution between levels; group norm (32 groups, fewer for small networks), swish, 3x3 convolution out. Module
names are those of the published `vqgan.ckpt` (`decoder.conv_in`, `decoder.mid.block_1`, `decoder.up.0.block.0.norm1`,
...), so that its tensors load under their own names. Encoder and quantiser are transformers'.

B pictures, C channels, H and W pixels or latent cells.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

GROUPS = 32
"""Groups of every normalisation of the published network; stock encoders take channels in multiples of it only."""
LEAST_GROUP = 4
"""Channels of the published network's smallest group. With one channel a group, normalising would wipe out the mean of
every channel, and with it the picture's colour: small networks get fewer groups instead."""


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=min(GROUPS, channels // LEAST_GROUP), num_channels=channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two normalised 3x3 convolutions beside the input; a 1x1 convolution carries it where the width changes."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1 = _norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = _norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, channels_out, H, W)."""
        h_BCHW = self.conv1(functional.silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(functional.silu(self.norm2(h_BCHW)))
        shortcut: Tensor = self.nin_shortcut(x_BCHW) if hasattr(self, "nin_shortcut") else x_BCHW
        out: Tensor = shortcut + h_BCHW
        return out


class AttentionBlock(nn.Module):
    """One head of attention over all cells of the picture, beside the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        h_BCHW = self.norm(x_BCHW)
        q, k, v = (part(h_BCHW).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v)  # scale 1/sqrt(C), as published
        out: Tensor = x_BCHW + self.proj_out(mixed.transpose(1, 2).reshape(x_BCHW.shape))
        return out


class Upsample(nn.Module):
    """Twice the height and width: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W)."""
        out: Tensor = self.conv(functional.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))
        return out


class Level(nn.Module):
    """The blocks of one resolution; `attn` is empty unless the configuration asks for attention there."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int, *, attention: bool, doubles: bool) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * blocks
        self.block = nn.ModuleList(ResidualBlock(widths[i], widths[i + 1]) for i in range(blocks))
        self.attn = nn.ModuleList(AttentionBlock(channels_out) for _ in range(blocks if attention else 0))
        if doubles:
            self.upsample = Upsample(channels_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, channels_out, H, W), or (…, 2H, 2W) where the level doubles."""
        for i, block in enumerate(self.block):
            x_BCHW = block(x_BCHW)
            if len(self.attn) > 0:
                x_BCHW = self.attn[i](x_BCHW)
        out: Tensor = self.upsample(x_BCHW) if hasattr(self, "upsample") else x_BCHW
        return out


class Middle(nn.Module):
    """Residual, attention, residual at the lowest resolution."""

    def __init__(self, channels: int, *, attention: bool) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1: nn.Module = AttentionBlock(channels) if attention else nn.Identity()
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        out: Tensor = self.block_2(self.attn_1(self.block_1(x_BCHW)))
        return out


class Decoder(nn.Module):
    """Latents (B, latent_channels, H, W) to pixels (B, in_channels, H·2^(levels-1), W·2^(levels-1)), unclamped.

    Args:
        config: a transformers `ChameleonVQVAEConfig`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        widths = [config.base_channels * factor for factor in config.channel_multiplier]
        vanilla = config.attn_type == "vanilla"
        attended = tuple(config.attn_resolutions or ()) if vanilla else ()
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], attention=vanilla)
        levels = []
        for level, width in enumerate(widths):
            resolution = config.resolution // 2**level
            below = widths[min(level + 1, len(widths) - 1)]
            levels.append(
                Level(below, width, config.num_res_blocks + 1, attention=resolution in attended, doubles=level > 0)
            )
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.in_channels, 3, padding=1)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        """Run the levels from the lowest resolution (the last of `up`) to the highest."""
        h_BCHW = self.mid(self.conv_in(z_BCHW))
        for level in reversed(self.up):
            h_BCHW = level(h_BCHW)
        out: Tensor = self.conv_out(functional.silu(self.norm_out(h_BCHW)))
        return out
