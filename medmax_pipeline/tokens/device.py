"""Pictures scaled and normalised on a device: the same pixels as `resize.py` makes, by the same whole numbers.

For workers that only decode (`image.decode`): bytes cross to the device as uint8, and the processor's share of the work
is a fifth to a half. Products are of float64, in which the sums are exact; or, where float64 is slow or missing, two
products of float32 with weights split into halves, which are exact too. Which picture comes when is `encode.py`.

Legend: B pictures, C planes of one, H, W pixels, n samples of a span.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError
from medmax_pipeline.tokens.geometry import CENTRE_CROP, PAD_LEVEL, PictureGeometry, Placement, Span, place
from medmax_pipeline.tokens.image import TABLE
from medmax_pipeline.tokens.resize import BITS, Pixels, band, cut, down_first

Products = Literal["float64", "float32"]
HALVES: Final = 1 << 11
"""A weight is `upper * HALVES + lower`, each of 11 bits and some."""
EXACT: Final = 1 << 24
"""Whole numbers below this are exact in float32."""
VALUES: Final = 1 << 25
"""Values of float64 or float32 held at once while going across: large pictures go in strips."""


def fit_on_device(
    pixels: Pixels,
    resolution: int,
    device: torch.device | str,
    geometry: PictureGeometry = CENTRE_CROP,
    products: Products = "float64",
) -> Tensor:
    """One decoded picture as the network takes it, still in levels.

    Args:
        pixels: (H, W) grey or (H, W, 3) RGB uint8, what `image.decode` gives.
        resolution: height and width wanted.
        device: where the result lies and the work is done.
        geometry: what becomes of pictures that are not square.
        products: `float32` computes the same where a device is slow at float64.

    Returns:
        (3, resolution, resolution) uint8, equal to `image.fit` with its axes turned.

    Raises:
        ImageError: `image_too_narrow`.
        TokenError: float32 products are asked for and set to lose precision.
    """
    return fit_all_on_device([pixels], resolution, device, geometry, products)[0]


def fit_all_on_device(
    pictures: Sequence[Pixels],
    resolution: int,
    device: torch.device | str,
    geometry: PictureGeometry = CENTRE_CROP,
    products: Products = "float64",
) -> Tensor:
    """As `fit_on_device`, (B, 3, resolution, resolution) in the order given; those of one shape are scaled together."""
    squares = torch.full((len(pictures), 3, resolution, resolution), PAD_LEVEL, dtype=torch.uint8, device=device)
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, pixels in enumerate(pictures):
        alike.setdefault(pixels.shape, []).append(number)
    for shape, numbers in alike.items():
        placement = place(shape[1], shape[0], resolution, geometry)
        used = torch.from_numpy(np.stack([cut(pictures[number], placement) for number in numbers])).to(device)
        planes = used[:, None] if used.ndim == 3 else used.permute(0, 3, 1, 2)
        across, down = placement
        rows, columns = slice(down.at, down.at + down.length), slice(across.at, across.at + across.length)
        for number, window in zip(numbers, _scaled(planes, placement, products), strict=True):
            squares[number, :, rows, columns] = window
    return squares


def normalise_on_device(levels: Tensor) -> Tensor:
    """Levels 0 to 255 (uint8) as float32 in [-1, 1], same shape and device; equal to `image.normalise`."""
    return torch.from_numpy(TABLE).to(levels.device)[levels.int()]


def _scaled(planes: Tensor, placement: Placement, products: Products) -> Tensor:
    """(B, C, H, W) to (B, C, n, n) uint8."""
    across, down = placement
    if down_first(placement):
        return _along(_along(planes.mT, down, products).mT, across, products)
    return _along(_along(planes, across, products).mT, down, products).mT


def _along(planes: Tensor, span: Span, products: Products) -> Tensor:
    """(B, C, H, W) to (B, C, H, n) uint8, in strips of rows."""
    if span.side == span.scaled:
        return planes
    halves = products == "float32" and _halves_are_exact(span)
    if halves and torch.get_float32_matmul_precision() != "highest":
        raise TokenError(
            f"Products of float32 are set to {torch.get_float32_matmul_precision()!r} precision, 'highest' is expected "
            "where pictures are scaled. Ask for float64 products, or leave torch's setting alone."
        )
    scale = _in_halves if halves else _whole
    batch, channels, height, width = planes.shape
    rows = max(1, VALUES // (batch * channels * width))
    return torch.cat([scale(planes[:, :, top : top + rows], span) for top in range(0, height, rows)], dim=2)


def _whole(planes: Tensor, span: Span) -> Tensor:
    sums = planes.double() @ _matrix(span, planes.device, torch.float64, 0)
    return sums.add_(1 << (BITS - 1)).mul_(2.0**-BITS).floor_().clamp_(0, 255).byte()


def _in_halves(planes: Tensor, span: Span) -> Tensor:
    """Every step is exact in float32: nothing reaches 2 ** 24."""
    values = planes.float()
    lower = values @ _matrix(span, planes.device, torch.float32, -1)
    lower = lower.add_(1 << (BITS - 1)).div_(HALVES).floor_()
    sums = (values @ _matrix(span, planes.device, torch.float32, 1)).add_(lower)
    return sums.div_(HALVES).floor_().clamp_(0, 255).byte()


def _split(weights: np.ndarray[tuple[int, ...], np.dtype[np.int32]], part: int) -> Tensor:
    """All of the weights (0), their upper (1) or their lower (-1) halves, as a tensor of the same shape."""
    upper = weights // HALVES
    return torch.from_numpy({0: weights, 1: upper, -1: weights - upper * HALVES}[part])


def _halves_are_exact(span: Span) -> bool:
    weights = band(span).weights
    largest = max(int(_split(weights, part).abs().sum(dim=1).max()) for part in (1, -1))
    return 255 * largest + (1 << (BITS - 1)) < EXACT


@lru_cache(maxsize=32)
def _matrix(span: Span, device: torch.device, kind: torch.dtype, part: int) -> Tensor:
    """A span's weights as a dense matrix, (pixels, n), made on the device."""
    side = band(span)
    weights = _split(side.weights, part).to(device, kind)
    start = torch.from_numpy(side.start).to(device, torch.int64)
    places = start[:, None] + torch.arange(weights.shape[1], device=device)
    width = side.high - side.low
    matrix = torch.zeros(len(weights), width + weights.shape[1], device=device, dtype=kind)
    return matrix.scatter_(1, places, weights)[:, :width].T
