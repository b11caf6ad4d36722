"""The network of an original `vqgan.ckpt`, restated plainly under its own names: what loading is held against.

Written from the geometry of the VQGAN paper (arXiv 2012.09841) alone: 32 groups in every norm, one head of attention,
padding to the right and below before a strided convolution, nearest code by squared distance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class Block(nn.Module):
    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(given), nn.Conv2d(given, made, 3, 1, 1)
        self.norm2, self.conv2 = norm(made), nn.Conv2d(made, made, 3, 1, 1)
        self.nin_shortcut = nn.Conv2d(given, made, 1) if given != made else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        h = self.conv1(h * torch.sigmoid(h))
        h = self.norm2(h)
        h = self.conv2(h * torch.sigmoid(h))
        out: Tensor = (x if self.nin_shortcut is None else self.nin_shortcut(x)) + h
        return out


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        b, c, height, width = h.shape
        q, k, v = (layer(h).reshape(b, c, height * width) for layer in (self.q, self.k, self.v))
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * c**-0.5, dim=2)
        out: Tensor = x + self.proj_out(torch.einsum("bij,bcj->bci", weights, v).reshape(b, c, height, width))
        return out


def level(given: int, made: int, blocks: int, attention: bool) -> nn.Module:
    out = nn.Module()
    out.block = nn.ModuleList(Block(given if i == 0 else made, made) for i in range(blocks))
    out.attn = nn.ModuleList(Attention(made) for _ in range(blocks if attention else 0))
    return out


def run_level(part: Any, x: Tensor) -> Tensor:
    for i, block in enumerate(part.block):
        x = block(x)
        x = part.attn[i](x) if len(part.attn) else x
    return x


def middle(channels: int) -> nn.Module:
    out = nn.Module()
    out.block_1, out.attn_1, out.block_2 = Block(channels, channels), Attention(channels), Block(channels, channels)
    return out


class Original(nn.Module):
    """Encoder, codebook, decoder of a `ddconfig`."""

    encoder: Any
    decoder: Any
    quantize: Any

    def __init__(self, dd: dict[str, Any], embed_dim: int, n_embed: int) -> None:
        super().__init__()
        widths = [dd["ch"] * factor for factor in dd["ch_mult"]]
        sides = [dd["resolution"] // 2**i for i in range(len(widths))]
        given = [dd["ch"], *widths]
        below = [*widths[1:], widths[-1]]
        blocks, attended = dd["num_res_blocks"], dd["attn_resolutions"]
        self.encoder, self.decoder, self.quantize = nn.Module(), nn.Module(), nn.Module()
        self.encoder.conv_in = nn.Conv2d(3, dd["ch"], 3, 1, 1)
        self.encoder.down = nn.ModuleList(
            level(given[i], widths[i], blocks, sides[i] in attended) for i in range(len(widths))
        )
        self.decoder.up = nn.ModuleList(
            level(below[i], widths[i], blocks + 1, sides[i] in attended) for i in range(len(widths))
        )
        for i in range(len(widths) - 1):
            self.encoder.down[i].downsample, self.decoder.up[i + 1].upsample = nn.Module(), nn.Module()
            self.encoder.down[i].downsample.conv = nn.Conv2d(widths[i], widths[i], 3, 2, 0)
            self.decoder.up[i + 1].upsample.conv = nn.Conv2d(widths[i + 1], widths[i + 1], 3, 1, 1)
        for part, last, out in ((self.encoder, widths[-1], dd["z_channels"]), (self.decoder, widths[0], dd["out_ch"])):
            part.mid, part.norm_out, part.conv_out = middle(widths[-1]), norm(last), nn.Conv2d(last, out, 3, 1, 1)
        self.decoder.conv_in = nn.Conv2d(dd["z_channels"], widths[-1], 3, 1, 1)
        self.quantize.embedding = nn.Embedding(n_embed, embed_dim)
        self.quant_conv = nn.Conv2d(dd["z_channels"], embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, dd["z_channels"], 1)

    def encode(self, pixels: Tensor) -> Tensor:
        x = self.encoder.conv_in(pixels)
        for part in self.encoder.down:
            x = run_level(part, x)
            if hasattr(part, "downsample"):
                x = part.downsample.conv(functional.pad(x, (0, 1, 0, 1)))
        x = self._end(self.encoder, self._middle(self.encoder, x))
        z = self.quant_conv(x).permute(0, 2, 3, 1)
        book = self.quantize.embedding.weight
        distances = (z**2).sum(-1, keepdim=True) + (book**2).sum(1) - 2 * z @ book.T
        out: Tensor = distances.argmin(-1).reshape(len(pixels), -1)
        return out

    def decode(self, codes: Tensor) -> Tensor:
        side = int(codes.shape[1] ** 0.5)
        z = self.quantize.embedding(codes).reshape(len(codes), side, side, -1).permute(0, 3, 1, 2)
        x = self._middle(self.decoder, self.decoder.conv_in(self.post_quant_conv(z)))
        for part in reversed(self.decoder.up):
            x = run_level(part, x)
            if hasattr(part, "upsample"):
                x = part.upsample.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        out: Tensor = self._end(self.decoder, x).clamp(-1, 1)
        return out

    @staticmethod
    def _middle(part: Any, x: Tensor) -> Tensor:
        out: Tensor = part.mid.block_2(part.mid.attn_1(part.mid.block_1(x)))
        return out

    @staticmethod
    def _end(part: Any, x: Tensor) -> Tensor:
        h = part.norm_out(x)
        out: Tensor = part.conv_out(h * torch.sigmoid(h))
        return out


YAML = """\
model:
  base_learning_rate: 4.5e-06
  target: somewhere.models.vqgan.VQModel
  params:
    embed_dim: 8
    n_embed: 24
    ddconfig:
      double_z: false
      z_channels: 16
      resolution: 16
      in_channels: 3
      out_ch: 3
      ch: 128
      ch_mult:
      - 1
      - 2
      num_res_blocks: 1
      attn_resolutions: {attended}
      dropout: 0.0
    lossconfig:
      target: somewhere.losses.VQLPIPSWithDiscriminator
      params:
        disc_start: 100001
        perceptual_weight: 1.0
"""
"""As the published file is built; at the measures of the tests."""


def lay_original(folder: Path, attended: list[int] | None = None, **more: Any) -> Original:
    """Write `vqgan.ckpt` and `vqgan.yaml` of a random network, the training's own tensors included."""
    attended = attended or []
    dd = {"ch": 128, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": attended, "resolution": 16}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = Original(dd | {"z_channels": 16, "out_ch": 3}, embed_dim=8, n_embed=24).eval().requires_grad_(False)
        torch.nn.init.normal_(network.quantize.embedding.weight, std=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    state = network.state_dict() | {"loss.discriminator.main.0.weight": torch.zeros(3)}
    torch.save({"state_dict": state, "epoch": 3, **more}, folder / "vqgan.ckpt")
    (folder / "vqgan.yaml").write_text(YAML.format(attended=attended))
    return network
