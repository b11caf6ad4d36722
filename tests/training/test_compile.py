"""Compiled parts: eager's numbers, and no compilation for each pack.

The backend is `aot_eager`, which captures and differentiates as inductor does and leaves its minutes of C++ out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional

from medmax_pipeline.config import Adapter
from medmax_pipeline.models import attention, chameleon
from medmax_pipeline.models.attention import Documents, options_of
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.adapt import adapted, trained_parameters
from medmax_pipeline.training.compile import compiled

PACKS = ((20, 30), (10, 21, 33), (50, 60), (5, 6, 7, 8, 9, 30), (3, 4, 41))


def at_once(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int,
    is_causal: bool = False,
) -> Tensor:  # fmt: skip
    """A variable-length attention that runs on the CPU and that a compiler can look into."""
    assert is_causal
    place = torch.arange(query.shape[0])
    owner = torch.bucketize(place, cu_seq_q[1:], right=True)
    mask = (owner[:, None] == owner[None]) & (place[:, None] >= place[None])
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)[0].transpose(0, 1)


@pytest.fixture
def tuned(model: MixedModalChameleon) -> Iterator[MixedModalChameleon]:
    """LoRA with dropout, layers recomputed."""
    torch.manual_seed(2)
    adapted(model, Adapter(kind="lora", rank=4, alpha=8, dropout=0.5))
    for name, parameter in trained_parameters(model).items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.recompute_layers()
    model.train()
    torch._dynamo.reset()
    yield model
    torch._dynamo.reset()


def learned(model: MixedModalChameleon, lengths: tuple[int, ...]) -> list[Tensor]:
    """A pack's loss, and its gradients."""
    ids = torch.randint(40, (sum(lengths),), generator=torch.Generator().manual_seed(sum(lengths)))
    positions = torch.cat([torch.arange(length) for length in lengths])
    torch.manual_seed(3)
    loss = model.labelled_loss(ids, positions, torch.tensor([0, *lengths]).cumsum(0), positions > 0).losses_L.mean()
    return [loss.detach(), *torch.autograd.grad(loss, list(trained_parameters(model).values()))]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("varlen", [False, True])
def test_every_pack_learns_what_it_does_uncompiled_and_the_second_compiles_nothing(
    tuned: MixedModalChameleon, monkeypatch: pytest.MonkeyPatch, varlen: bool
) -> None:
    """Layers are recomputed, dropout is drawn; attention is inside what is compiled, or outside of it."""
    if varlen:
        monkeypatch.setattr(attention, "HALVES", (torch.float32,))
        of = Documents.of
        within = type(
            "Within", (), {"of": staticmethod(lambda *given: replace(of(*given), varlen=options_of(at_once)))}
        )
        monkeypatch.setattr(chameleon, "Documents", within)
    expected = [learned(tuned, lengths) for lengths in PACKS]
    counter = CompileCounterWithBackend("aot_eager")
    compiled(tuned, backend=counter)
    counts = []
    for lengths, truth in zip(PACKS, expected, strict=True):
        torch.testing.assert_close(learned(tuned, lengths), truth, rtol=1e-4, atol=1e-6)
        counts.append(counter.frame_count)
    assert counts[0] >= (3 if varlen else 4), "attention, feed-forward and norms were not compiled"
    assert counts[1:] == counts[:1] * (len(PACKS) - 1)
