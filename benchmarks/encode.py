"""Pictures to codes, against the reference's algorithm: one process, one picture at a time, the network as it comes.

The reference is restated with transformers' own module, whose `encode` also computes the loss and keeps every hidden
state. On a processor small networks are timed, since one picture of the published size takes ten seconds; on an
accelerator the published size with random weights, in both modes. Decoding and scaling of pictures are `preprocess.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

import medmax_pipeline
from benchmarks.measure import Claim
from benchmarks.preprocess import pictures
from medmax_pipeline.models.agreement import agreement
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens.image import Pixels, decode, fit, normalise

SHIPPED = Path(medmax_pipeline.__file__).parent / "sample" / "weights" / "vqgan"
TFLOP_PER_PICTURE = 0.554
"""Of the published encoder and quantiser at 512 x 512 px, two a multiply-add; counted over its layers, 98.8 % of it
convolutions."""
H200_TFLOPS = 790.0
"""bfloat16 matrix products, measured on one H200."""
REFERENCE, EXACT, FAST = "reference, one by one", "exact", "fast"


@cache
def sources() -> list[Pixels]:
    """Whole real pictures, decoded."""
    return [decode(data) for data in pictures().values()]


def windows(side: int, count: int) -> Tensor:
    """Pieces of real pictures in [-1, 1]: (count, 3, side, side), from a corner to the opposite one of each in turn."""
    cut = []
    for number in range(count):
        source = sources()[number % len(sources())]
        edge = min(source.shape[:2]) // 2
        top, left = (round((length - edge) * number / count) for length in source.shape[:2])
        cut.append(fit(np.ascontiguousarray(source[top : top + edge, left : left + edge]), side))
    return torch.from_numpy(normalise(np.stack(cut))).permute(0, 3, 1, 2).contiguous()


def stock_of(vqgan: VQGAN) -> ChameleonVQVAE:
    """The module of transformers, with the same weights."""
    stock = ChameleonVQVAE(vqgan.config).eval()
    stock.load_state_dict(
        {name: value for name, value in vqgan.state_dict().items() if not name.startswith("decoder.")}
    )
    return stock


def one_by_one(stock: ChameleonVQVAE, pixels_BCHW: Tensor) -> Tensor:
    """The reference's algorithm: (B, N) codes."""
    with torch.no_grad():
        codes = [stock.encode(pixels_CHW[None]).image_tokens for pixels_CHW in pixels_BCHW]
    return torch.stack([picture.view(-1) for picture in codes])


def random_vqgan(channels: int, resolution: int) -> VQGAN:
    """The published geometry at other measures, with seeded random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = VQGAN(ChameleonVQVAEConfig(base_channels=channels, resolution=resolution), decoder=False)
        torch.nn.init.normal_(made.quantize.embedding.weight, std=0.05)
    return made.eval().requires_grad_(False)


def rates(pictures: int) -> Callable[[Mapping[str, float]], str]:
    """Seconds of each variant as pictures a second."""

    def told(medians: Mapping[str, float]) -> str:
        return "Pictures/s: " + ", ".join(f"{name} {pictures / seconds:.2f}" for name, seconds in medians.items()) + "."

    return told


def on_processor(title: str, vqgan: VQGAN, count: int, rounds: int) -> Claim:
    """CPU seconds for some pictures, after their codes were seen to be the reference's."""
    stock, given = stock_of(vqgan), windows(vqgan.resolution, count)
    assert torch.equal(vqgan.encode(given), one_by_one(stock, given))
    variants = {REFERENCE: lambda: one_by_one(stock, given), EXACT: lambda: vqgan.encode(given)}
    return Claim(
        f"Encoding, {title}, pictures: {count}; same codes", "CPU s", variants, rounds=rounds, remark=rates(count)
    )


def on_device(count: int = 32) -> Claim:
    """Seconds on an accelerator at the published size; the reference with cuDNN's TF32, as it runs."""
    exact = random_vqgan(128, 512)
    scratch = exact.state_dict()
    stock = stock_of(exact).cuda()
    fast = VQGAN(exact.config, decoder=False).eval().requires_grad_(False)
    fast.load_state_dict(scratch)
    exact, fast = exact.cuda(), fast.round_encoder().cuda()
    given = windows(512, count).cuda()

    def timed(run: Callable[[], object]) -> Callable[[], None]:
        def whole() -> None:
            run()
            torch.cuda.synchronize()

        return whole

    def told(medians: Mapping[str, float]) -> str:
        ceiling = H200_TFLOPS / TFLOP_PER_PICTURE
        share = count / medians[FAST] / ceiling
        alike = agreement(fast, exact, given)
        return (
            f"{rates(count)(medians)} Fast reaches {share:.0%} of {ceiling:,.0f}/s, the ceiling by operations of an "
            f"H200; its codes are exact's in {alike.codes:.1%} (random weights: no word on published ones)."
        )

    return Claim(
        f"Encoding pictures ({count}), published size, {torch.cuda.get_device_name()}",
        "s",
        {
            REFERENCE: timed(lambda: one_by_one(stock, given)),
            EXACT: timed(lambda: exact.encode(given)),
            FAST: timed(lambda: fast.encode(given)),
        },
        clock=time.perf_counter,
        remark=told,
    )


def kept_by_fast(count: int = 48) -> Claim:
    """The sample's tokenizer, whose weights are trained, in both modes on pieces of real pictures."""
    exact, fast = VQGAN.load(SHIPPED), VQGAN.load(SHIPPED, "fast")
    given = windows(exact.resolution, count)
    alike = agreement(fast, exact, given)
    return Claim(
        f"Modes on a processor, the sample's tokenizer, {count} pieces of real pictures: "
        f"{alike.codes:.2%} of codes equal, {alike.pictures:.0%} of pictures whole",
        "CPU s",
        {EXACT: lambda: exact.encode(given), FAST: lambda: fast.encode(given)},
        rounds=3,
        remark=rates(count),
    )


def claim() -> list[Claim]:
    """What this machine can time."""
    torch.set_num_threads(1)
    claims = [
        on_processor("the sample's tokenizer, 64 px", VQGAN.load(SHIPPED), 32, rounds=3),
        on_processor("32 channels, 128 px", random_vqgan(32, 128), 8, rounds=3),
        on_processor("64 channels, 256 px", random_vqgan(64, 256), 1, rounds=5),
        kept_by_fast(),
    ]
    return [*claims, on_device()] if torch.cuda.is_available() else claims
