"""How unlike two pictures look to a network: LPIPS ("The Unreasonable Effectiveness of Deep Features", Zhang et al.,
arXiv 1801.03924) over VGG16, from a weights file that the user brings.

The file may not be shipped here; without it there is no such term. Its use as a loss is `objective.py`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.models.weights import check_state, read_header

SLICES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG16's convolutions up to the last ReLU of each block; a pooling stands between two blocks."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and spread of ImageNet's colours, for pixels in [-1, 1]."""
TINY = 1e-10
PREFIX = "loss.perceptual_loss."
"""Of the same tensors inside a VQGAN's training checkpoint."""


class Lpips(nn.Module):
    """Mean distance of two batches of pictures in VGG16's features; tensors are named as in the package `lpips`."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Module()
        index, before = 0, 3
        for number, widths in enumerate(SLICES, 1):
            block = nn.Sequential()
            if number > 1:
                block.add_module(str(index), nn.MaxPool2d(2))
                index += 1
            for width in widths:
                block.add_module(str(index), nn.Conv2d(before, width, 3, padding=1))
                block.add_module(str(index + 1), nn.ReLU())
                index, before = index + 2, width
            self.net.add_module(f"slice{number}", block)
        for number, widths in enumerate(SLICES):
            head = nn.Module()
            head.add_module("model", nn.Sequential(nn.Dropout(), nn.Conv2d(widths[-1], 1, 1, bias=False)))
            self.add_module(f"lin{number}", head)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, made_BCHW: Tensor, true_BCHW: Tensor) -> Tensor:
        """The distance, a scalar of at least 0; pixels in [-1, 1]."""
        total = made_BCHW.new_zeros(())
        pair = [(pixels - self.shift) / self.scale for pixels in (made_BCHW, true_BCHW)]
        for number in range(len(SLICES)):
            block = getattr(self.net, f"slice{number + 1}")
            pair = [block(features) for features in pair]
            one, other = (features / _lengths(features) for features in pair)
            total = total + getattr(self, f"lin{number}").model((one - other) ** 2).mean()
        return total


def _lengths(features_BCHW: Tensor) -> Tensor:
    """Length of each place's features; bounded, since the root of 0 has no gradient."""
    return features_BCHW.pow(2).sum(1, keepdim=True).clamp_min(TINY**2).sqrt() + TINY


def read_lpips(path: Path) -> Lpips:
    """The network of a weights file.

    Raises:
        WeightsError: it is no safetensors file, or holds other tensors than LPIPS over VGG16.
    """
    from safetensors.torch import load_file

    names = {name.removeprefix(PREFIX): name for name in read_header(path)}
    with torch.random.fork_rng(devices=[]):
        network = Lpips()
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors = load_file(path)
    found = {ours: tensors[theirs] for ours, theirs in names.items() if ours in expected}
    check_state({name: tuple(tensor.shape) for name, tensor in found.items()}, expected, path, "LPIPS over VGG16")
    if any(float(found[f"lin{number}.model.1.weight"].min()) < 0 for number in range(len(SLICES))):
        raise WeightsError(f"{path}: a head has negative weights; distances would be no distances. Fetch it again.")
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in found.items()})
    return network.requires_grad_(False).eval()
