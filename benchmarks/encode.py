"""Pictures to codes, against the reference's algorithm: one process, one picture at a time, the network as it comes.

The reference is restated with transformers' own module, whose `encode` also computes the loss and keeps every hidden
state. Networks are timed alone, and whole runs from files to codes: the reference's loop without workers, and ours as
`image_codes` runs it, into a code store. On a processor small networks are timed, since one picture of the published
size takes ten seconds; on an accelerator (`--size 7b`: there alone) the published size with random weights, in both
modes. Decoding and scaling of pictures alone are `preprocess.py`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

import medmax_pipeline
from benchmarks.measure import Claim
from benchmarks.preprocess import files_of, reference
from medmax_pipeline.files import write_table
from medmax_pipeline.models.agreement import agreement
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens.encode import run_chunks
from medmax_pipeline.tokens.image import Pixels, decode, fit, normalise
from medmax_pipeline.tokens.job import PICTURE_SCHEMA, Job, plan_of
from medmax_pipeline.tokens.store import CodeStore

SHIPPED = Path(medmax_pipeline.__file__).parent / "sample" / "weights" / "vqgan"
TFLOP_PER_PICTURE = 0.554
"""Of the published encoder and quantiser at 512 x 512 px, two a multiply-add; counted over its layers, 98.8 % of it
convolutions."""
H200_TFLOPS = 790.0
"""bfloat16 matrix products, measured on one H200."""
REFERENCE, EXACT, FAST = "reference, one by one", "exact", "fast"
SHARES = (12, 5, 3)
"""Of twenty pictures: figures, slides, radiographs; a guess at what the paper's corpus holds."""


def windows(sources: Sequence[Pixels], side: int, count: int) -> Tensor:
    """Pieces of real pictures in [-1, 1]: (count, 3, side, side), from a corner to the opposite one of each in turn."""
    cut = []
    for number in range(count):
        source = sources[number % len(sources)]
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


def on_processor(title: str, vqgan: VQGAN, sources: Sequence[Pixels], count: int, rounds: int) -> Claim:
    """CPU seconds for some pictures, after their codes were seen to be the reference's."""
    stock, given = stock_of(vqgan), windows(sources, vqgan.resolution, count)
    assert torch.equal(vqgan.encode(given), one_by_one(stock, given))
    variants = {REFERENCE: lambda: one_by_one(stock, given), EXACT: lambda: vqgan.encode(given)}
    return Claim(
        f"Encoding, {title}, pictures: {count}; same codes", "CPU s", variants, rounds=rounds, remark=rates(count)
    )


def published(device: str) -> tuple[VQGAN, VQGAN]:
    """The published size with random weights, exact and fast."""
    exact = random_vqgan(128, 512)
    fast = VQGAN(exact.config, decoder=False).eval().requires_grad_(False)
    fast.load_state_dict(exact.state_dict())
    return exact.to(device), fast.round_encoder().to(device)


def on_device(exact: VQGAN, fast: VQGAN, sources: Sequence[Pixels], count: int = 32) -> Claim:
    """Seconds on an accelerator at the published size; the reference with cuDNN's TF32, as it runs."""
    stock = stock_of(exact).cuda()
    given = windows(sources, 512, count).cuda()

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


@dataclass(frozen=True)
class Corpus:
    """Many pictures that are a few files again and again: a `job.Reader`. No two have one name, so none is skipped."""

    files: Sequence[bytes]
    count: int

    def __iter__(self) -> Iterator[str]:
        return (f"{number:064x}" for number in range(self.count))

    def sequential(self, image_id: str) -> bool:
        """None is."""
        return False

    def read(self, image_id: str) -> bytes:
        """Figures, slides and radiographs in their shares, which repeat after twenty."""
        within = int(image_id, 16) * 7 % sum(SHARES)  # 7 and 20 share no factor: all places, mixed
        kind = next(number for number in range(len(SHARES)) if within < sum(SHARES[: number + 1]))
        return self.files[kind % len(self.files)]


def codes_of_files(vqgan: VQGAN, corpus: Corpus, folder: Path) -> Tensor:
    """Codes of a corpus as `image_codes` makes them: decoded by processes, published in a store that was empty."""
    shutil.rmtree(folder, ignore_errors=True)
    rows = [{"image_id": image_id, "source": "bench", "credentialed": False} for image_id in corpus]
    write_table(folder / "pictures.parquet", pa.Table.from_pylist(rows, schema=PICTURE_SCHEMA))
    job = Job(
        tokenizer=str(folder),  # the network is loaded already
        codes=str(folder / "codes"),
        landing=str(folder),
        pictures=str(folder / "pictures.parquet"),
        images=(),
        results=str(folder / "results"),
    )
    store = CodeStore(folder / "codes", vqgan.codes_per_image)
    plan = plan_of(job, store, corpus)
    for _ in run_chunks(job, plan, range(len(plan)), vqgan, store, corpus, lambda more: None):
        pass
    return torch.from_numpy(store.get_many(list(corpus)).astype(np.int64))


def codes_of_files_one_by_one(stock: ChameleonVQVAE, corpus: Corpus, side: int) -> Tensor:
    """The same by the reference's loop: each picture is opened, scaled and encoded before the next."""
    device = next(stock.parameters()).device
    pixels = (torch.from_numpy(reference(corpus.read(image_id), side)).permute(2, 0, 1) for image_id in corpus)
    return torch.cat([one_by_one(stock, one[None].to(device)).cpu() for one in pixels])


def whole_runs(
    title: str, modes: Mapping[str, VQGAN], files: Sequence[bytes], few: int, many: Mapping[str, int]
) -> Claim:
    """Seconds a picture from files to codes.

    Args:
        title: of the network.
        modes: networks by mode, on one device.
        files: a figure, a slide and a radiograph.
        few: pictures of the reference's run, which are as many as time allows.
        many: of ours, which starts processes first, by mode.
    """
    stock, side = stock_of(modes[EXACT]).to(next(modes[EXACT].parameters()).device), modes[EXACT].resolution
    folder = Path(tempfile.mkdtemp(prefix="medmax-bench-"))
    short = Corpus(files, few)
    expected = codes_of_files_one_by_one(stock, short, side)
    found = codes_of_files(modes[EXACT], short, folder)
    alike = float((found == expected).double().mean())
    assert alike == 1 or next(stock.parameters()).is_cuda, alike
    runs: dict[str, Callable[[], object]] = {
        REFERENCE: partial(codes_of_files_one_by_one, stock, short, side),
        **{mode: partial(codes_of_files, vqgan, Corpus(files, many[mode]), folder) for mode, vqgan in modes.items()},
    }

    def told(medians: Mapping[str, float]) -> str:
        named = ", ".join(f"{name} {1 / seconds:,.1f}" for name, seconds in medians.items())
        return f"Pictures/s: {named}. {alike:.2%} of exact's codes are the reference's."

    counts = ", ".join(f"{count:,} {mode}" for mode, count in many.items())
    return Claim(
        f"From files to codes, {title}; pictures: {few} by the reference, {counts}",
        "s a picture",
        runs,
        time.perf_counter,
        rounds=3,
        items={REFERENCE: few, **many},
        remark=told,
    )


def kept_by_fast(sources: Sequence[Pixels], count: int = 48) -> Claim:
    """The sample's tokenizer, whose weights are trained, in both modes on pieces of real pictures."""
    exact, fast = VQGAN.load(SHIPPED), VQGAN.load(SHIPPED, "fast")
    given = windows(sources, exact.resolution, count)
    alike = agreement(fast, exact, given)
    return Claim(
        f"Modes on a processor, the sample's tokenizer, {count} pieces of real pictures: "
        f"{alike.codes:.2%} of codes equal, {alike.pictures:.0%} of pictures whole",
        "CPU s",
        {EXACT: lambda: exact.encode(given), FAST: lambda: fast.encode(given)},
        rounds=3,
        remark=rates(count),
    )


def claim(size: str = "small", pictures: str | None = None) -> Iterator[Claim]:
    """What this machine can time."""
    torch.set_num_threads(1)
    files = list(files_of(pictures).values())
    sources = [decode(data) for data in files]
    if size == "small":
        shipped = VQGAN.load(SHIPPED)
        yield on_processor("the sample's tokenizer, 64 px", shipped, sources, 32, rounds=3)
        yield on_processor("32 channels, 128 px", random_vqgan(32, 128), sources, 8, rounds=3)
        yield on_processor("64 channels, 256 px", random_vqgan(64, 256), sources, 1, rounds=5)
        yield kept_by_fast(sources)
        yield whole_runs("the sample's tokenizer, processor", {EXACT: shipped}, files, 40, {EXACT: 400})
    if torch.cuda.is_available():
        exact, fast = published("cuda")
        yield on_device(exact, fast, sources)
        yield whole_runs(
            torch.cuda.get_device_name(), {EXACT: exact, FAST: fast}, files, 60, {EXACT: 1_000, FAST: 6_000}
        )
