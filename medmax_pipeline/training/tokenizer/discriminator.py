"""The patch discriminator that a VQGAN is tuned against: each of its outputs judges one patch of the picture.

The one of "Image-to-Image Translation with Conditional Adversarial Networks" (Isola et al., arXiv 1611.07004), as
"Taming Transformers" uses it. Its batch norms always take the batch's own statistics: it never judges outside training,
and there is nothing of them to resume. How its opinion is used is `objective.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmax_pipeline.errors import ConfigError

KERNEL = 4
WIDEST = 8
"""Channels grow to at most this many times the first layer's."""
SLOPE = 0.2
"""Of leaky ReLUs below zero."""
SPREAD = 0.02
"""Standard deviation of the initial weights, as in that paper."""


class PatchDiscriminator(nn.Module):
    """Pictures (B, 3, H, W) to opinions (B, 1, h, w): above 0 where a patch looks true.

    Args:
        layers: how often the side is halved before the last two convolutions.
        width: channels of the first layer.
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        widths = [width * min(2**layer, WIDEST) for layer in range(layers + 1)]
        made: list[nn.Module] = [nn.Conv2d(3, width, KERNEL, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        for layer in range(1, layers + 1):
            stride = 2 if layer < layers else 1
            made += [
                nn.Conv2d(widths[layer - 1], widths[layer], KERNEL, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[layer], track_running_stats=False),
                nn.LeakyReLU(SLOPE),
            ]
        self.main = nn.Sequential(*made, nn.Conv2d(widths[-1], 1, KERNEL, padding=1))

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Opinions, unbounded."""
        out: Tensor = self.main(pixels_BCHW)
        return out


def new_discriminator(layers: int, width: int, resolution: int, seed: int) -> PatchDiscriminator:
    """A discriminator that knows nothing yet; the same seed gives the same weights.

    Raises:
        ConfigError: pictures of that side are too small for so many layers.
    """
    side = resolution // 2**layers - 2
    if layers < 1 or width < 1 or side < 1:
        raise ConfigError(
            f"discriminator_layers is {layers}, discriminator_width {width}: pictures of {resolution} px give no "
            "opinion. Expected at least 1 of each, and a side of at least 3 after halving once a layer."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = PatchDiscriminator(layers, width)
        for module in made.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, SPREAD)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, SPREAD)
    return made
