"""Head and loss where a tenth of the tokens are targets, against logits of all positions.

Both give the same loss and gradients, which is asserted before anything is timed. On a processor slices of the
published head are timed; `--size 7b` takes 16,384 tokens on CUDA.

T tokens, L targets, C hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.measure import Claim, Memory
from medmax_pipeline.models.head import token_losses

LABELLED = 0.1
VOCABULARY = 65_536
SIZES = {"small": (4_096, 384), "7b": (16_384, 4_096)}
"""Tokens of a pack, hidden size."""
IGNORED = -100
ALL, TARGETS = "all positions", "targets"
ROUNDS = 3


def head(size: str, learns: bool) -> Claim:
    """Seconds of head and loss, forward and backward, where a tenth of the tokens are targets."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    tokens, hidden = SIZES[size]
    torch.manual_seed(0)
    linear = nn.Linear(hidden, VOCABULARY, bias=False, device=device, dtype=dtype).requires_grad_(learns)
    hidden_TC = torch.randn(tokens, hidden, device=device, dtype=dtype, requires_grad=True)
    labels_T = torch.randint(VOCABULARY, (tokens,), device=device)
    labels_T[torch.rand(tokens, device=device) > LABELLED] = IGNORED
    at_L = (labels_T != IGNORED).nonzero().squeeze(1)
    wanted = [hidden_TC, *([linear.weight] if learns else [])]
    memory = Memory()

    def plain() -> Any:
        with memory.seen(ALL, device):
            loss = functional.cross_entropy(linear(hidden_TC).float(), labels_T, ignore_index=IGNORED)
            return [loss.detach(), *torch.autograd.grad(loss, wanted)]

    def ours() -> Any:
        with memory.seen(TARGETS, device):
            loss = token_losses(linear, hidden_TC[at_L], labels_T[at_L]).losses_L.mean()
            return [loss.detach(), *torch.autograd.grad(loss, wanted)]

    rtol, atol = (2e-2, 1e-5) if dtype == torch.bfloat16 else (1e-4, 1e-7)
    for mine, truth in zip(ours(), plain(), strict=True):
        torch.testing.assert_close(mine, truth, rtol=rtol, atol=atol)

    def remark(medians: Mapping[str, float]) -> str:
        most = memory.most
        times = f" ({most['all positions'] / max(most['targets'], 1):.1f} times less)" if len(most) == 2 else ""
        return f"{tokens:,} tokens, {len(at_L):,} targets, {dtype}. Memory at most: {memory.words()}{times}."

    title = f"Head ({'learns' if learns else 'frozen'}, {hidden} x {VOCABULARY:,}) and loss on {device}"
    variants = {ALL: plain, TARGETS: ours}
    return Claim(title, "s", variants, time.perf_counter, ROUNDS, remark=remark)


def claim(size: str = "small") -> list[Claim]:
    """A head that stays as it is (LoRA), and one that learns."""
    return [head(size, learns=False), head(size, learns=True)]
