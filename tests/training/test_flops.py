"""FLOPs of a step against counts by hand and by torch's own counter; peaks by device name."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import ChameleonConfig

from medmax_pipeline.config import Adapter
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.adapt import adapted
from medmax_pipeline.training.flops import peak_flops, peak_of, step_flops

SEVEN_B = ChameleonConfig()
DECODER, HEAD = 6.476e9, 0.268e9


@pytest.mark.parametrize(("kind", "times"), [("full", 6), ("lora", 4)])
def test_a_7b_step_on_short_documents_is_6n_or_4n_a_token(kind: Literal["full", "lora"], times: int) -> None:
    lengths = [64] * 100
    found = step_flops(SEVEN_B, lengths, 6_400, kind, recompute=False) / 6_400
    assert found == pytest.approx(times * (DECODER + HEAD), rel=0.02)


def test_recomputing_adds_the_layers_forward_and_not_the_heads() -> None:
    plain = step_flops(SEVEN_B, [64] * 100, 6_400, "full", recompute=False)
    again = step_flops(SEVEN_B, [64] * 100, 6_400, "full", recompute=True)
    assert (again - plain) / 6_400 == pytest.approx(2 * DECODER, rel=0.01)


def test_attention_grows_with_the_square_of_each_document() -> None:
    apart = step_flops(SEVEN_B, [1_000, 1_000], 0, "full", recompute=False)
    together = step_flops(SEVEN_B, [2_000], 0, "full", recompute=False)
    assert together - apart == pytest.approx(3 * 2 * 32 * 4_096 * 2_000_000)


def test_unlabelled_positions_pay_no_head() -> None:
    none, tenth = (step_flops(SEVEN_B, [1_000], labelled, "lora", recompute=False) for labelled in (0, 100))
    assert tenth - none == pytest.approx(4 * 100 * 4_096 * 65_536)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_products_are_those_that_torch_counts(model: MixedModalChameleon, kind: Literal["full", "lora"]) -> None:
    """One document, every token but the first labelled, head frozen or not; torch counts attention on the CPU unlike
    us, so its share is left out of both."""
    adapted(model, Adapter(kind=kind))
    tokens = 100
    ids = torch.randint(40, (tokens,), generator=torch.Generator().manual_seed(1))
    trained = torch.arange(tokens) > 0
    with FlopCounterMode(display=False) as counter:
        told = model.labelled_loss(ids, torch.arange(tokens), torch.tensor([0, tokens]), trained)
        told.losses_L.mean().backward()
    found = sum(count for name, count in counter.get_flop_counts()["Global"].items() if "mm" in str(name))
    config = model.config
    attention = 3 * 2 * config.num_hidden_layers * config.hidden_size * tokens**2
    expected = step_flops(config, [tokens], tokens - 1, kind, recompute=False) - attention
    assert found == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_peaks_by_name(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak


def test_a_processor_has_no_sheet() -> None:
    assert peak_flops("cpu") is None
