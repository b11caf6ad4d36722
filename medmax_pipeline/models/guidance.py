"""Pictures from the transformer: codes drawn one by one under classifier-free guidance.

As the published inference code does it: three contexts (the prompt; its pictures without its text; nothing), whose
logits are mixed, then temperature, then the likeliest codes of probability `top_p`. Where a prompt has no picture the
last two contexts are one, so two suffice, with equal logits. Every item draws from a generator of its own.
Codes to pixels is `vqgan.py`.

B items, R rows (contexts of items), K codes, N codes an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Ids, Rows, Specials, Stepping, batches

ITEMS = 48
"""Pictures side by side; it changes none."""
CONTEXTS = 3
"""Rows of an item at most."""


@dataclass(frozen=True, slots=True)
class Context:
    """One of an item's prompts and its weight in the mix; an item's weights sum to one."""

    ids: tuple[int, ...]
    weight: float


def contexts(prompt: Ids, vocabulary: Specials, cfg_text: float, cfg_image: float) -> list[Context]:
    """What an item's logits are mixed from: u + image·(i - u) + text·(p - i).

    p is the prompt; i keeps begin, picture marks and codes of it; u is begin and begin-of-image alone, as samples
    without their prompt are in training (`prompt_dropout`). Contexts of weight zero are left out.

    Args:
        prompt: ids up to where the picture begins; the begin-of-image id is added where it is not there.
        vocabulary: says which ids are what.
        cfg_text: how far to follow the text; 1 for no guidance.
        cfg_image: how far to follow the prompt's pictures.
    """
    full = tuple(map(int, prompt))
    full = full if full and full[-1] == vocabulary.boi else (*full, vocabulary.boi)
    codes = range(vocabulary.first_code, vocabulary.first_code + vocabulary.codebook_size)
    pictured = pictures_of(full, vocabulary)
    empty = (vocabulary.bos, vocabulary.boi)
    mixed: list[tuple[tuple[int, ...], float]] = [(full, cfg_text)]
    if any(number in codes for number in full):
        mixed += [(pictured, cfg_image - cfg_text), (empty, 1.0 - cfg_image)]
    else:
        mixed += [(empty, 1.0 - cfg_text)]
    weights: dict[tuple[int, ...], float] = {}
    for ids, weight in mixed:
        weights[ids] = weights.get(ids, 0.0) + weight
    return [Context(ids, weight) for ids, weight in weights.items() if weight != 0.0]


def pictures_of(ids: Ids, vocabulary: Specials) -> tuple[int, ...]:
    """Begin, picture marks and codes of a sequence."""
    codes = range(vocabulary.first_code, vocabulary.first_code + vocabulary.codebook_size)
    kept = {vocabulary.bos, vocabulary.boi, vocabulary.eoi}
    return tuple(number for number in map(int, ids) if number in kept or number in codes)


@torch.inference_mode()
def generate_images(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    vocabulary: Specials,
    seeds: Sequence[int],
    *,
    temperature: float = 0.7,
    top_p: float = 0.9,
    cfg_text: float = 3.0,
    cfg_image: float = 1.2,
    batch_size: int = ITEMS,
    stepping: Stepping = "eager",
) -> Tensor:
    """One picture after each prompt, as codes. The end-of-image id follows by definition and is not returned.

    Args:
        model: the transformer.
        prompts: ids up to where the picture begins, with or without the begin-of-image id.
        vocabulary: says which ids are what, and how many codes a picture has.
        seeds: one an item; the same seed and prompt give the same picture in any batch.
        temperature: divides the mixed logits; the published 0.7.
        top_p: probability of the likeliest codes that are drawn from; the published 0.9.
        cfg_text: guidance by the text; the published 3.0.
        cfg_image: guidance by the prompt's pictures; the published 1.2.
        batch_size: items side by side.
        stepping: how single ids are computed.

    Returns:
        (B, N) int64 codes, 0 to K-1, on the CPU.

    Raises:
        TokenError: prompts and seeds differ in number, or a prompt leaves no room for a picture.
    """
    if len(prompts) != len(seeds):
        raise TokenError(f"{len(prompts)} prompts, {len(seeds)} seeds; expected one seed an item.")
    codes_BN = torch.empty((len(prompts), vocabulary.codes_per_image), dtype=torch.int64)
    for batch in batches(prompts, vocabulary.eoi, batch_size, CONTEXTS * vocabulary.codes_per_image):
        mixes = [contexts(prompts[i], vocabulary, cfg_text, cfg_image) for i in batch]
        draws = torch.stack([uniform(seeds[i], vocabulary.codes_per_image) for i in batch])
        codes_BN[batch] = _draw(model, mixes, draws, vocabulary, Nucleus(temperature, top_p), stepping)
    return codes_BN


def uniform(seed: int, count: int) -> Tensor:
    """An item's chance: (count,) float64 in [0, 1), one a code."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Nucleus(NamedTuple):
    """How codes are drawn from their logits."""

    temperature: float
    top_p: float


def _draw(
    model: MixedModalChameleon,
    mixes: Sequence[Sequence[Context]],
    draws_BN: Tensor,
    vocabulary: Specials,
    how: Nucleus,
    stepping: Stepping,
) -> Tensor:
    """(B, N) codes on the CPU; nothing waits for a device before the last one."""
    device = model.lm_head.weight.device
    flat = [(item, context) for item, mix in enumerate(mixes) for context in mix]
    owners_R = torch.tensor([item for item, _ in flat], device=device)
    mixing_BR = torch.zeros(len(mixes), len(flat), dtype=torch.float64)
    for row, (item, context) in enumerate(flat):
        mixing_BR[item, row] = context.weight
    mixing_BR, draws_BN = mixing_BR.to(device), draws_BN.to(device)
    room = vocabulary.codes_per_image - 1
    rows = Rows(model, [context.ids for _, context in flat], room, vocabulary.eoi, stepping=stepping)
    first, count = vocabulary.first_code, vocabulary.codebook_size
    codes_NB = []
    for place in range(vocabulary.codes_per_image):
        mixed_BK = mixing_BR @ rows.logits(first, count).double()
        codes_NB.append(nucleus(mixed_BK, draws_BN[:, place], *how))
        if place < room:
            rows.append(codes_NB[-1][owners_R] + first)
    return torch.stack(codes_NB, dim=1).cpu()


def nucleus(logits_BK: Tensor, draws_B: Tensor, temperature: float, top_p: float) -> Tensor:
    """One code an item from the smallest set of likeliest codes whose probability reaches `top_p`.

    Args:
        logits_BK: float64.
        draws_B: float64 in [0, 1), each item's chance.
        temperature: above 0.
        top_p: in (0, 1]; the likeliest code is always in the set.

    Returns:
        (B,) int64.
    """
    ranked_BK, order_BK = (logits_BK / temperature).softmax(dim=1).sort(dim=1, descending=True, stable=True)
    before_BK = ranked_BK.cumsum(dim=1) - ranked_BK
    kept_BK = torch.where(before_BK < top_p, ranked_BK, 0.0)
    reached_BK = kept_BK.cumsum(dim=1)
    places_B = torch.searchsorted(reached_BK, (draws_B * reached_BK[:, -1])[:, None], right=True)
    last_B1 = (kept_BK > 0).sum(dim=1, keepdim=True) - 1
    return order_BK.gather(1, torch.minimum(places_B, last_B1)).squeeze(1)
