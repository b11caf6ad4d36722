"""Training the sample's small image tokenizer from the corpus's training pictures.

Published tokenizers are taken as they are; this exists because the embedded build must run with weights that may be
shipped. Which pictures there are is `pictures.py`; writing the weights and their card is `weights.py`.

B pictures, H and W pixels, D code dimensions, K codes, M latents of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import ChameleonVQVAEConfig

from medmax_pipeline.models.quantiser import nearest_codes
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.training.tokenizer.objective import straight_through

RESOLUTION_PX = 64
WIDE_PX = 96
"""Short side of the second copy of each picture, from which moving windows are taken."""
CODEBOOK_SIZE = 512
CODE_DIMENSIONS = 16
COLOURED = 0.02
"""Mean spread between the channels, of 2, above which a picture counts as coloured. Ours: looked at."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast; the defaults made the shipped weights.

    Patches of half the side cost a quarter: the network is convolutional but for its middle block, so most steps see
    patches, and the last ones whole pictures. The first steps go without codes; the codebook then starts from
    clusters of the latents.
    """

    plain_steps: int = 200
    """Patches, no quantisation."""
    patch_steps: int = 1600
    """Patches, quantised."""
    whole_steps: int = 900
    """Whole pictures, quantised."""
    cluster_pictures: int = 256
    """Whole pictures whose latents the codebook starts from."""
    patch_batch: int = 32
    whole_batch: int = 16
    peak_rate: float = 1e-3
    """Adam's step size after the warm-up; it falls to a twentieth by a cosine."""
    warm_up: int = 50
    commitment: float = 0.25
    """Weight of the distance between latents and their codes, as in the VQGAN paper."""
    decay: float = 0.98
    """Of the codebook's moving averages, a step."""
    restart_every: int = 25
    """Steps between looks for dead codes; none in the last quarter of the steps."""
    dead_below: float = 0.03
    """A code used less often than this many times a step (moving average) is restarted from a latent of the batch."""

    @property
    def steps(self) -> int:
        """All steps."""
        return self.plain_steps + self.patch_steps + self.whole_steps


def sample_config() -> ChameleonVQVAEConfig:
    """The published architecture at the sample's measures: 64 x 64 pixels, 8 x 8 codes."""
    return ChameleonVQVAEConfig(
        resolution=RESOLUTION_PX,
        base_channels=32,
        channel_multiplier=[1, 1, 2, 2],
        num_res_blocks=1,
        latent_channels=64,
        embed_dim=CODE_DIMENSIONS,
        num_embeddings=CODEBOOK_SIZE,
    )


def square(image: Image.Image, side_px: int) -> npt.NDArray[np.uint8]:
    """The picture as the tokenizer sees it: short side to `side_px` by Lanczos, centre crop; (side, side, 3) RGB."""
    image = image.convert("RGB")
    scale = side_px / min(image.size)
    size = (max(side_px, round(image.width * scale)), max(side_px, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    left, top = (image.width - side_px) // 2, (image.height - side_px) // 2
    return np.asarray(image.crop((left, top, left + side_px, top + side_px)))


def to_pixels(squares_BHWC: npt.NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(squares_BHWC.copy()).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0


class Pool:
    """The training pictures in memory, drawn with equal thought to rare groups.

    Args:
        images: the pictures.
        groups: one name a picture; a group of n pictures is drawn in proportion to n^0.25, its coloured ones thrice.
        generator: the source of all chance.
    """

    def __init__(self, images: Sequence[Image.Image], groups: Sequence[str], generator: torch.Generator) -> None:
        self._exact = to_pixels(np.stack([square(image, RESOLUTION_PX) for image in images]))
        self._wide = to_pixels(np.stack([square(image, WIDE_PX) for image in images]))
        sizes = {group: list(groups).count(group) for group in groups}
        spread = self._exact.std(dim=1).mean(dim=(1, 2))  # of the three channels: 0 where a picture is grey
        coloured = 1.0 + 2.0 * (spread > COLOURED).float()
        self._weights = torch.tensor([sizes[group] ** -0.75 for group in groups]) * coloured
        self._generator = generator

    @property
    def exact(self) -> Tensor:
        """All pictures as the tokenizer sees them: (B, 3, 64, 64) in [-1, 1]."""
        return self._exact

    def draw(self, count: int, side_px: int) -> Tensor:
        """(count, 3, side_px, side_px): windows, flipped, turned, and slightly changed in tone."""
        picks = torch.multinomial(self._weights, count, replacement=True, generator=self._generator).tolist()
        return torch.stack([self._view(pick, side_px) for pick in picks])

    def _view(self, pick: int, side_px: int) -> Tensor:
        source = self._exact[pick] if self._chance() < 0.6 else self._wide[pick]
        slack = source.shape[1] - side_px
        top, left = round(self._chance() * slack), round(self._chance() * slack)
        view = source[:, top : top + side_px, left : left + side_px]
        if self._chance() < 0.5:
            view = view.flip(2)
        view = view.rot90(int(self._chance() * 4), (1, 2))
        unit = (view + 1.0) / 2.0
        unit = unit.clamp(0.0, 1.0) ** math.exp(0.6 * (self._chance() - 0.5))
        shade = 1.0 + 0.1 * torch.rand(3, 1, 1, generator=self._generator) - 0.05
        colourful = float(view.std(dim=0).mean()) > COLOURED
        return ((unit * shade).clamp(0.0, 1.0) if colourful else unit) * 2.0 - 1.0

    def _chance(self) -> float:
        return float(torch.rand((), generator=self._generator))


class Codebook:
    """Moving averages of the latents that fall to each code, and restarts of dead codes."""

    def __init__(self, weight_KD: Tensor, schedule: Schedule, generator: torch.Generator) -> None:
        self._weight = weight_KD
        self._count_K = torch.ones(len(weight_KD))
        self._sum_KD = weight_KD.clone()
        self._schedule = schedule
        self._generator = generator

    def cluster(self, latents_MD: Tensor, rounds: int = 10) -> None:
        """Start from k-means over latents; clusters that go empty take a random latent."""
        picks = torch.randperm(len(latents_MD), generator=self._generator)[: len(self._weight)]
        self._weight[: len(picks)] = latents_MD[picks]
        for _ in range(rounds):
            codes = nearest_codes(latents_MD, self._weight)
            count = torch.bincount(codes, minlength=len(self._weight)).float()
            total = torch.zeros_like(self._weight).index_add_(0, codes, latents_MD)
            used = count > 0
            self._weight[used] = total[used] / count[used, None]
        self._count_K.fill_(1.0)
        self._sum_KD.copy_(self._weight)

    def update(self, latents_MD: Tensor, codes_M: Tensor, *, restart: bool) -> None:
        """One step of the averages; with `restart`, dead codes take random latents of this batch."""
        decay = self._schedule.decay
        count = torch.bincount(codes_M, minlength=len(self._weight)).float()
        self._count_K.mul_(decay).add_(count, alpha=1 - decay)
        self._sum_KD.mul_(decay).add_(
            torch.zeros_like(self._sum_KD).index_add_(0, codes_M, latents_MD), alpha=1 - decay
        )
        if restart:
            dead = (self._count_K < self._schedule.dead_below).nonzero().squeeze(1)
            picks = torch.randint(len(latents_MD), (len(dead),), generator=self._generator)
            self._count_K[dead] = 1.0
            self._sum_KD[dead] = latents_MD[picks]
        self._weight.copy_(self._sum_KD / self._count_K.clamp_min(1e-5)[:, None])


def likeness_loss(made_BCHW: Tensor, true_BCHW: Tensor) -> Tensor:
    """Mean error of pixels, of differences to the right and lower neighbours (edges), and of those between channels.

    The last is for colour, which few pictures of the corpus have and a mean over all pixels hardly sees.
    """
    error = made_BCHW - true_BCHW
    colour = (error[:, 0] - error[:, 1]).abs().mean() + (error[:, 2] - error[:, 1]).abs().mean()
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + 0.5 * (error**2).mean() + 0.5 * (across + down) + 2.0 * colour


def train(
    images: Sequence[Image.Image],
    groups: Sequence[str],
    seed: int,
    schedule: Schedule,
    log: Callable[[str], None],
) -> VQGAN:
    """Train a tokenizer; the same pictures, seed and schedule give the same weights on one thread.

    Args:
        images: training pictures, any size and mode.
        groups: what each belongs to; see `Pool`.
        seed: of initialisation, draws and codebook.
        schedule: how long.
        log: told the loss now and then.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VQGAN(sample_config())
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.reset_parameters()  # transformers starts the encoder at std 0.02, which learns slowly here
    pool = Pool(images, groups, generator)
    book_KD = model.quantize.embedding.weight.requires_grad_(False)
    codebook = Codebook(book_KD, schedule, generator)
    optimiser = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], lr=schedule.peak_rate, betas=(0.9, 0.99)
    )
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.peak_rate * _rate(step, schedule)
        whole = step >= schedule.plain_steps + schedule.patch_steps
        size = (schedule.whole_batch, RESOLUTION_PX) if whole else (schedule.patch_batch, RESOLUTION_PX // 2)
        if step == schedule.plain_steps:
            codebook.cluster(_latents(model, pool.draw(schedule.cluster_pictures, RESOLUTION_PX)))
        loss = _loss(model, pool.draw(*size), codebook if step >= schedule.plain_steps else None, step, schedule)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0 or step == schedule.steps - 1:
            log(f"step {step} of {schedule.steps}: loss {loss.item():.4f}")
    return model.requires_grad_(False).eval()


def _loss(model: VQGAN, true_BCHW: Tensor, codebook: Codebook | None, step: int, schedule: Schedule) -> Tensor:
    z_BDHW = model.latents(true_BCHW)
    if codebook is None:
        return likeness_loss(model.pixels(z_BDHW), true_BCHW)
    quantised = straight_through(z_BDHW, model.quantize.embedding.weight)
    committed = functional.mse_loss(quantised.latents_MD, quantised.nearest_MD)
    restart = step % schedule.restart_every == 0 and step < 0.75 * schedule.steps
    codebook.update(quantised.latents_MD.detach(), quantised.codes_M, restart=restart)
    return likeness_loss(model.pixels(quantised.through_BDHW), true_BCHW) + schedule.commitment * committed


@torch.no_grad()
def _latents(model: VQGAN, pixels_BCHW: Tensor) -> Tensor:
    parts = [model.latents(part).permute(0, 2, 3, 1).reshape(-1, CODE_DIMENSIONS) for part in pixels_BCHW.split(32)]
    return torch.cat(parts)


def _rate(step: int, schedule: Schedule) -> float:
    if step < schedule.warm_up:
        return (step + 1) / schedule.warm_up
    done = (step - schedule.warm_up) / max(1, schedule.steps - schedule.warm_up)
    return 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * done))


@torch.no_grad()
def fidelity(model: VQGAN, pixels_BCHW: Tensor) -> tuple[float, int]:
    """Mean PSNR in dB over pictures (peak 2.0, range [-1, 1]) after a round trip, and how many codes were used."""
    ratios, used = [], set()
    for part in pixels_BCHW.split(32):
        codes = model.encode(part)
        used.update(codes.flatten().tolist())
        errors = ((model.decode(codes) - part) ** 2).mean(dim=(1, 2, 3))
        ratios += (10 * torch.log10(4.0 / errors.clamp_min(1e-10))).tolist()
    return sum(ratios) / len(ratios), len(used)
