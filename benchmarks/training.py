"""Training steps, against a padded, uncompiled loop in the manner of transformers' Trainer.

The other loop is restated with transformers' and peft's own parts: batches of whole sequences padded to the longest
under a mask, adapters as peft makes them (float32, a dropout for each projection), logits of all positions in float32,
torch's AdamW. Both learn the same samples; their first losses, when adapters still add nothing, are compared before
anything is timed. Seconds are for 1,000 useful tokens: padding is no work that anybody asked for.

On a processor a small model is timed, for the ratios alone; `--size 7b` builds the published shape on CUDA, with random
weights.

T tokens, V vocabulary, B sequences of a padded batch.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ChameleonConfig, ChameleonForConditionalGeneration

from benchmarks.generation import vocabulary_of
from benchmarks.measure import Claim, Memory
from benchmarks.packing import FRAME, IMAGE, mixed_pictures
from medmax_pipeline.models.attention import DOCUMENTS, attention_kind
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.recipe import Adapter, Mixture, Packing, Recipe, Schedule
from medmax_pipeline.tokens.vocabulary import Vocabulary, code_name
from medmax_pipeline.training.adapt import LORA_TARGETS
from medmax_pipeline.training.data import Batch, Part, StepData
from medmax_pipeline.training.flops import peak_flops, step_flops
from medmax_pipeline.training.group import ALONE, Group
from medmax_pipeline.training.setup import Setup, made_ready

PADDED, PACKED, COMPILED, RECOMPUTED = "padded, as the Trainer", "packs", "packs, compiled", "packs, recomputed"
SEQUENCES = 8
"""A step, as in the paper."""
DRAWN = 1_000
IGNORED = -100
PIECES = {"base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1, "resolution": 32}
"""Of an image tokenizer that is never called."""


class Shape(NamedTuple):
    """Measures of a network."""

    hidden: int
    inner: int
    layers: int
    heads: int
    vocabulary: int
    codebook: int
    steps: int
    rounds: int
    together: int
    """Sequences of a padded batch; gradients are added up to a step's. 8 of the 7B's do not fit a device."""


SHAPES = {"small": Shape(256, 704, 2, 4, 2048, 512, 3, 3, 8), "7b": Shape(4096, 11008, 32, 32, 65536, 8192, 3, 5, 4)}
RECIPE = Recipe(
    name="timed",
    mixture=Mixture(required=()),
    packing=Packing(token_budget=16_384, max_sequences=SEQUENCES, max_sequence=4_096),
    adapter=Adapter(kind="lora"),
    schedule=Schedule(epochs=1, peak_lr=1e-4),
    loss_weighting="token",  # what the other loop does
)


@dataclass(frozen=True)
class Samples:
    """Packs of whole sequences, in their own order; `data.py`'s `Packs`."""

    packs: Sequence[Part]

    def __len__(self) -> int:
        return len(self.packs)

    def pack(self, number: int) -> Part:
        """One of them."""
        return self.packs[number]

    def position(self, taken: int, seed: int) -> int:
        """Their own order."""
        return taken % len(self.packs)


def samples(shape: Shape, voc: Vocabulary) -> Samples:
    """Packs of the paper's mix of lengths; replies are trained, and of every tenth picture the codes."""
    draw = np.random.default_rng(0)
    codes = np.arange(voc.first_code, voc.first_code + voc.codebook_size)
    lengths = [min(length, RECIPE.packing.max_sequence) for length in mixed_pictures(draw)[:DRAWN]]
    packs = []
    for step in range(shape.steps):
        ids: list[npt.NDArray[np.uint16]] = []
        spans: list[tuple[tuple[int, int], ...]] = []
        for number, length in enumerate(lengths[step * SEQUENCES : (step + 1) * SEQUENCES]):
            start, pictures = sum(map(len, ids)), (length - FRAME - 1) // IMAGE
            one = draw.choice(voc.text_ids, length).astype(np.uint16)
            for picture in range(pictures):
                one[2 + picture * IMAGE :][: IMAGE - 2] = draw.choice(codes, IMAGE - 2)
            one[0], ended = voc.bos, start + length
            reply = ended - max(1, (length - pictures * IMAGE) // 2)
            spans.append(((start + 2, ended),) if pictures and number == step % SEQUENCES else ((reply, ended),))
            ids.append(one)
        bounds = np.cumsum([0, *map(len, ids)]).astype(np.int32)
        packs.append(Part(np.concatenate(ids), bounds, tuple(spans)))
    return Samples(packs)


def config_of(shape: Shape, voc: Vocabulary) -> ChameleonConfig:
    """A Chameleon of this shape."""
    names = {"<s>": voc.bos, "<pad>": voc.pad, "</s>": voc.eos, "<image>": voc.image_placeholder}
    return ChameleonConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=4096,
        bos_token_id=voc.bos,
        pad_token_id=voc.pad,
        eos_token_id=voc.eos,
        vq_config={**PIECES, "num_embeddings": voc.codebook_size, "embed_dim": 16, "latent_channels": 32},
        vocabulary_map=names | {code_name(code): code + voc.first_code for code in range(voc.codebook_size)},
    )


class PaddedLoop:
    """Steps in the manner of transformers' Trainer with peft's LoRA."""

    def __init__(self, shape: Shape, config: ChameleonConfig, device: str, dtype: torch.dtype) -> None:
        """A model with weights that depend on nothing but the shape."""
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        with torch.device(device):
            self.model = ChameleonForConditionalGeneration._from_config(config, attn_implementation="sdpa", dtype=dtype)
        told = LoraConfig(
            r=16, lora_alpha=16, lora_dropout=0.05, target_modules=list(LORA_TARGETS), task_type="CAUSAL_LM"
        )
        self.model.requires_grad_(False)
        get_peft_model(self.model, told)
        self.model.train()
        self.learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learned, lr=RECIPE.schedule.peak_lr, weight_decay=0.0)
        self.together, self.device, self.half = shape.together, device, dtype == torch.bfloat16

    def batches(self, pack: Part, pad: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(B, T) ids, mask and labels of a pack's sequences, `together` at a time, padded to their longest."""
        bounds = pack.cu_seqlens.tolist()
        made = []
        for first in range(0, len(bounds) - 1, self.together):
            numbers = range(first, min(first + self.together, len(bounds) - 1))
            longest = max(bounds[number + 1] - bounds[number] for number in numbers)
            ids_BT = torch.full((len(numbers), longest), pad)
            labels_BT, mask_BT = torch.full_like(ids_BT, IGNORED), torch.zeros_like(ids_BT)
            for row, number in enumerate(numbers):
                start, end = bounds[number], bounds[number + 1]
                ids_BT[row, : end - start] = torch.from_numpy(pack.ids[start:end].astype(np.int64))
                mask_BT[row, : end - start] = 1
                for one, after in pack.spans[number]:
                    labels_BT[row, one - start : after - start] = ids_BT[row, one - start : after - start]
            made.append((ids_BT, mask_BT, labels_BT))
        return made

    def loss(self, ids_BT: Tensor, mask_BT: Tensor, labels_BT: Tensor, targets: int) -> Tensor:
        """This batch's part of a step's loss. Stock code masks image logits before its loss, so it is computed here."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            outputs = self.model.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
            logits_BTV = self.model.lm_head(outputs.last_hidden_state).float()
        return functional.cross_entropy(
            logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        ).div(targets)

    def step(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float:
        """One update; the loss before it."""
        self.optimizer.zero_grad(set_to_none=True)
        targets, total = sum(int((labels != IGNORED).sum()) for *_, labels in batches), 0.0
        for batch in batches:
            ids_BT, mask_BT, labels_BT = (tensor.to(self.device) for tensor in batch)
            loss = self.loss(ids_BT, mask_BT, labels_BT, targets)
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(self.learned, 1.0)
        self.optimizer.step()
        return total


def our_step(setup: Setup, batches: Sequence[Batch]) -> float:
    """One update, as the training loop does it; the loss before it."""
    setup.optimizer.zero_grad(set_to_none=True)
    told = [setup.learn(batch, last=batch is batches[-1]) for batch in batches]
    setup.clipped()
    setup.optimizer.step()
    return float(sum(float(one[0]) for one in told))


@dataclass(frozen=True)
class Race:
    """What both loops are given."""

    shape: Shape
    vocabulary: Vocabulary
    config: ChameleonConfig
    packs: Samples
    group: Group

    @classmethod
    def of(cls, size: str) -> Race:
        """On the best device of this machine."""
        shape = SHAPES[size]
        voc = vocabulary_of(shape.vocabulary, shape.codebook, IMAGE - 2)
        group = Group(0, 1, "cuda" if torch.cuda.is_available() else "cpu")
        return cls(shape, voc, config_of(shape, voc), samples(shape, voc), group)

    @property
    def dtype(self) -> torch.dtype:
        """In which is timed."""
        return torch.bfloat16 if self.group.device == "cuda" else torch.float32

    def padded(self, dtype: torch.dtype) -> PaddedLoop:
        """The Trainer's."""
        return PaddedLoop(self.shape, self.config, self.group.device, dtype)

    def ours(self, recipe: Recipe, padded: PaddedLoop) -> Setup:
        """As a training makes it, around the other's weights."""
        half = padded.half
        with torch.device(self.group.device):
            model = MixedModalChameleon._from_config(
                self.config, attn_implementation=DOCUMENTS, dtype=torch.bfloat16 if half else torch.float32
            )
        weights = {name.replace(".base_layer.", "."): value for name, value in padded.model.state_dict().items()}
        # shared, not copied: nobody trains them, and four models of the 7B's size would leave little of a device
        model.load_state_dict({name: value for name, value in weights.items() if ".lora_" not in name}, assign=True)
        torch.manual_seed(0)
        return made_ready(model, replace(recipe, dtype="bfloat16" if half else "float32"), self.group, spread=False)

    def batches(self) -> list[list[Batch]]:
        """Our steps."""
        voc, multiple = self.vocabulary, 128 if self.group.device == "cuda" else 1
        images = frozenset(range(voc.first_code, voc.first_code + voc.codebook_size))
        data = StepData(self.packs, RECIPE, images, self.group, multiple=multiple, pad=voc.pad)
        return [data.batches(number) for number in range(len(self.packs))]


def steps(size: str) -> Claim:
    """Seconds for 1,000 useful tokens."""
    race, memory = Race.of(size), Memory()
    device, voc = race.group.device, race.vocabulary
    padded = race.padded(race.dtype)
    theirs, ours = [padded.batches(pack, voc.pad) for pack in race.packs.packs], race.batches()
    kinds = {PACKED: RECIPE, RECOMPUTED: replace(RECIPE, recompute=True)}
    if device == "cuda" or shutil.which("g++"):
        kinds[COMPILED] = replace(RECIPE, compile=True)

    def timed(name: str, step: Callable[[int], float]) -> Callable[[], float]:
        def run() -> float:
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
            with memory.seen(name, device):
                losses = [step(number) for number in range(len(ours))]
            return losses[0]

        return run

    def of(setup: Setup) -> Callable[[int], float]:
        return lambda number: our_step(setup, ours[number])

    runs = {PADDED: timed(PADDED, lambda number: padded.step(theirs[number]))}
    runs |= {name: timed(name, of(race.ours(recipe, padded))) for name, recipe in kinds.items()}
    _same_start(runs, 2e-2 if race.dtype == torch.bfloat16 else 1e-4)
    useful = sum(len(pack.ids) for pack in race.packs.packs)
    given = sum(batch[0].numel() for batches in theirs for batch in batches)
    flat = [batch for batches in ours for batch in batches]
    work = sum(step_flops(race.config, one.lengths, int(one.trained_T.sum()), "lora", False) for one in flat)
    kept = held(race)

    def remark(medians: Mapping[str, float]) -> str:
        best = min(medians, key=lambda name: medians[name])
        rate, peak = work / useful * 1000 / medians[best], peak_flops(device)
        return (
            f"{useful:,} useful tokens in {len(ours)} steps, {100 * useful / given:.0f} % of the padded loop's, "
            f"{100 * sum(int(one.trained_T.sum()) for one in flat) / useful:.0f} % targets; {race.dtype}, "
            f"{attention_kind(device, race.dtype)}. Best: {best}, {1000 / medians[best]:,.0f} tokens/s, "
            f"{rate / 1e12:.3g} TFLOP/s{'' if peak is None else f', MFU {100 * rate / peak:.0f} %'}. "
            f"{f'Memory at most: {memory.words()}. ' if device == 'cuda' else ''}{kept}."
        )

    title = f"Steps of {SEQUENCES} sequences, LoRA, {size} shape on {device}"
    items = dict.fromkeys(runs, useful // 1000)
    return Claim(title, "s / 1,000", runs, time.perf_counter, race.shape.rounds, items, remark=remark)


def held_bytes(model: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes that autograd keeps for the backward pass, without the model's own tensors; the same on every device."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}

    def seen(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        result = forward()
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return total


def held(race: Race) -> str:
    """What a token of the first sequence keeps for the backward pass, in both loops, as words."""
    pack, device = race.packs.packs[0], race.group.device
    length = int(pack.cu_seqlens[1])
    first = Part(pack.ids[:length], pack.cu_seqlens[:2], pack.spans[:1])
    padded = race.padded(torch.bfloat16)
    setup = race.ours(RECIPE, padded)
    ids, mask, labels = (tensor.to(device) for tensor in padded.batches(first, 1)[0])
    [batch] = StepData(Samples([first]), setup.recipe, frozenset(), ALONE, multiple=1, pad=1).batches(0)
    theirs = held_bytes(padded.model, lambda: padded.loss(ids, mask, labels, 1))
    ours = held_bytes(setup.model, lambda: setup.objective(batch.to(device)))
    each = [f"{size / length / 2**20:.3g}" for size in (theirs, ours)]
    return f"Kept for the backward pass in bfloat16, MiB a token: {PADDED} {each[0]}, {PACKED} {each[1]}"


def _same_start(variants: Mapping[str, Callable[[], float]], tolerance: float) -> None:
    """Refuse to time loops that do not begin with one loss."""
    first = {name: run() for name, run in variants.items()}
    apart = max(abs(loss / first[PADDED] - 1) for loss in first.values())
    assert apart < tolerance, f"losses at the start differ: {first}"


def claim(size: str = "small") -> list[Claim]:
    """What this machine can time."""
    torch.set_num_threads(min(2, torch.get_num_threads()) if size == "small" else torch.get_num_threads())
    return [steps(size)]
