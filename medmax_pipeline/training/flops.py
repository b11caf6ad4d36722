"""What one step costs in floating-point operations, and what a device can do at most: the two sides of MFU.

Model FLOPs as the PaLM report counts them (arXiv 2204.02311, appendix B): 2 a multiply-add, matrix products and
attention only, causal attention at half of a square. Attention is counted document by document, and the head at
labelled positions alone, since that is the work a pack needs; norms, rotations, embedding look-ups and the optimizer
are left out (below 1 % of the 7B's step). MFU is `step_flops` over seconds and `peak_flops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from medmax_pipeline.training.adapt import projection_shapes

PEAK_BF16: Mapping[str, float] = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
}
"""Dense bfloat16 products a second, by a part of the device's name: NVIDIA's data sheets, without sparsity. The first
name that fits counts."""


def step_flops(
    config: Any,
    lengths: Sequence[int],
    labelled: int,
    kind: Literal["full", "lora"],
    recompute: bool,
    rank: int = 16,
) -> float:
    """Operations of one forward and backward pass over a pack, on all processes together.

    Args:
        config: a Chameleon's configuration.
        lengths: tokens of each document; padding documents left out, for they are no useful work.
        labelled: how many tokens are targets.
        kind: `full`: every product is done three times, forward and for both gradients; `lora`: frozen weights need
            no gradient of their own, so theirs are done twice.
        recompute: count the layers' second forward pass too. With it the quotient is the hardware's utilisation;
            MFU leaves it out.
        rank: of LoRA's matrices.
    """
    tokens, layers = sum(lengths), int(config.num_hidden_layers)
    shapes = projection_shapes(config).values()
    linear = 2.0 * layers * tokens * sum(ins * outs for ins, outs in shapes)
    adapter = 2.0 * layers * tokens * rank * sum(ins + outs for ins, outs in shapes) if kind == "lora" else 0.0
    attention = 2.0 * layers * int(config.hidden_size) * sum(length * length for length in lengths)
    head = 2.0 * labelled * int(config.hidden_size) * int(config.vocab_size)
    again = 1 if recompute else 0
    products = 3 if kind == "full" else 2
    return (products + again) * linear + products * head + (3 + again) * (attention + adapter)


def peak_flops(device: torch.device | str) -> float | None:
    """Dense bfloat16 operations a second that the data sheet promises of a device; None where no sheet was read."""
    if torch.device(device).type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """As `peak_flops`, by the name that the driver tells."""
    return next((peak for part, peak in PEAK_BF16.items() if part.lower() in name.lower()), None)
