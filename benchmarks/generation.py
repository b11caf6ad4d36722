"""Answers from the transformer, against the reference's algorithm: one item at a time, everything anew for each.

The reference is restated with transformers' forward: for each question the picture is decoded from its file and encoded
by the image tokenizer, all positions of the prompt get logits, the cache is made anew and grows by copying, pictures
are drawn in three streams. Ours takes codes from the store, as an evaluation does, and of a closed question makes the
options' likelihoods and a whole reply beside the reference's one token. Both choose by the same rules, with the same
chances, and their answers are compared: equal in float32, counted in bfloat16, whose sums round otherwise in batches.
On a processor a small model is timed, for the ratios alone; `--size 7b` builds the published shape on CUDA, with random
weights.

B items, N codes an image, V vocabulary.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import ChameleonConfig, ChameleonVQVAEConfig, DynamicCache

from benchmarks.encode import H200_TFLOPS
from benchmarks.measure import Claim
from medmax_pipeline.models.attention import DOCUMENTS
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.choosing import choose, option_logprobs
from medmax_pipeline.models.decoding import Stepping
from medmax_pipeline.models.generate import generate_text
from medmax_pipeline.models.guidance import generate_images, nucleus, uniform
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens.image import decode, fit, normalise
from medmax_pipeline.tokens.vocabulary import Vocabulary, code_name

H200_TB_S = 4.3
"""Bytes moved in a copy on one H200, measured."""
PENALTY = 1.2
OPEN_IDS = 30
CLOSED_IDS = 8
"""Of the reply to a closed question, which random weights hardly ever end earlier; tuned ones end it after two."""
QUESTION_IDS = 24
PUBLISHED = (3.0, 1.2, 0.7, 0.9)
"""Guidance by text and by pictures, temperature, top-p."""
REFERENCE, OURS = "reference, one by one", "ours"


@dataclass(frozen=True)
class Size:
    """Measures of a network and of what it is asked."""

    network: Mapping[str, int]
    vocabulary: int
    tokenizer: Mapping[str, object]
    picture_px: tuple[int, int]
    questions: int
    drawn: int
    by_reference: int
    """Questions that the reference answers; it draws `drawn_by_reference` pictures."""
    drawn_by_reference: int
    rounds: int


SIZES = {
    "small": Size(
        network={"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6},
        vocabulary=4096,
        tokenizer={"base_channels": 32, "channel_multiplier": [1, 1, 2], "num_res_blocks": 1, "resolution": 48}
        | {"num_embeddings": 512, "embed_dim": 16, "latent_channels": 32},
        picture_px=(96, 72),
        questions=20,
        drawn=12,
        by_reference=6,
        drawn_by_reference=1,
        rounds=2,
    ),
    "7b": Size(
        network={"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
        vocabulary=65536,
        tokenizer={"base_channels": 128, "resolution": 512},
        picture_px=(800, 600),
        questions=128,
        drawn=48,
        by_reference=16,
        drawn_by_reference=1,
        rounds=1,
    ),
}


@dataclass(frozen=True, eq=False)
class World:
    """A network with random weights, and files of pictures."""

    size: Size
    model: MixedModalChameleon
    vqgan: VQGAN
    vocabulary: Vocabulary
    files: tuple[bytes, ...]
    codes: tuple[tuple[int, ...], ...]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return torch.device(self.model.lm_head.weight.device)

    def encoded(self, file: bytes) -> tuple[int, ...]:
        """A picture's codes from its file, as the reference makes them for each question."""
        pixels_HWC = normalise(fit(decode(file), self.vqgan.resolution)[None])[0]
        given = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None].contiguous().to(self.device)
        return tuple(self.vqgan.encode(given)[0].tolist())

    def prompt(self, codes: Sequence[int], question: Sequence[int]) -> list[int]:
        """Picture, question, separator; no picture where there are no codes."""
        voc = self.vocabulary
        shown = [voc.boi, *(code + voc.first_code for code in codes), voc.eoi] if codes else []
        return [voc.bos, *shown, *question, voc.sep]


@cache
def world(name: str) -> World:
    """Made once for all claims."""
    size = SIZES[name]
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    torch.manual_seed(0)
    vqgan = VQGAN(ChameleonVQVAEConfig(**size.tokenizer), decoder=False).eval().requires_grad_(False)
    torch.nn.init.normal_(vqgan.quantize.embedding.weight, std=0.05)
    codebook, count = vqgan.codebook_size, vqgan.codes_per_image
    vocabulary = vocabulary_of(size.vocabulary, codebook, count)
    names = {"<s>": 0, "<pad>": 1, "</s>": 2, "<image>": vocabulary.image_placeholder}
    config = ChameleonConfig(
        vocab_size=size.vocabulary,
        **size.network,
        num_key_value_heads=size.network["num_attention_heads"],
        max_position_embeddings=4096,
        vq_config=vqgan.config.to_dict(),
        vocabulary_map=names | {code_name(code): code + vocabulary.first_code for code in range(codebook)},
    )
    with torch.device(device):
        model = MixedModalChameleon._from_config(config, attn_implementation=DOCUMENTS, dtype=dtype)
    with torch.no_grad():
        model.lm_head.weight.mul_(50.0)  # so that answers are no near ties
    vqgan, files = vqgan.to(device), drawn_files(size)
    made = World(size, model.to(device).eval().requires_grad_(False), vqgan, vocabulary, files, ())
    return World(size, made.model, vqgan, vocabulary, files, tuple(made.encoded(file) for file in files))


def vocabulary_of(size: int, codebook: int, count: int) -> Vocabulary:
    """Ids in the published order, without a tokenizer behind them."""
    eoi = 4 + codebook
    text = np.arange(eoi + 4, size)
    named = {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "eoi": eoi, "boi": eoi + 1, "sep": eoi + 2}
    return Vocabulary(
        **named,
        first_code=4,
        codebook_size=codebook,
        image_placeholder=eoi + 3,
        size=size,
        codes_per_image=count,
        digest="",
        text_ids=text,
        special_ids=np.arange(eoi + 4),
    )


def drawn_files(size: Size) -> tuple[bytes, ...]:
    """JPEG files of smooth noise, one a question."""
    draw = np.random.default_rng(0)
    files = []
    for _ in range(size.questions):
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size.picture_px).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    return tuple(files)


def questions(at: World, per_picture: int) -> list[tuple[int, list[int]]]:
    """Each question's picture and ids."""
    draw = np.random.default_rng(1)
    lengths = draw.integers(QUESTION_IDS // 2, QUESTION_IDS, at.size.questions).tolist()
    return [
        (number // per_picture, draw.choice(at.vocabulary.text_ids, length).tolist())
        for number, length in enumerate(lengths)
    ]


@torch.inference_mode()
def answered_one_by_one(at: World, asked: Sequence[tuple[int, list[int]]], ids: int) -> list[list[int]]:
    """The reference's algorithm for text: greedy under the penalty over prompt and answer."""
    voc, answers = at.vocabulary, []
    for picture, question in asked:
        sequence = at.prompt(at.encoded(at.files[picture]), question)
        begin, kept = len(sequence), DynamicCache(config=at.model.config)
        allowed_V = torch.full((voc.size,), float("-inf"), device=at.device)
        allowed_V[torch.from_numpy(voc.text_ids)] = 0.0
        allowed_V[voc.eos] = 0.0
        new = sequence
        while len(sequence) - begin < ids:
            given = torch.tensor([new], device=at.device)
            logits_V = at.model(input_ids=given, past_key_values=kept, use_cache=True).logits.float()[0, -1]
            seen = torch.tensor(sequence, device=at.device).unique()
            logits_V[seen] = torch.where(logits_V[seen] > 0, logits_V[seen] / PENALTY, logits_V[seen] * PENALTY)
            new = [int((logits_V + allowed_V).argmax())]
            if new == [voc.eos]:
                break
            sequence = [*sequence, *new]
        answers.append(sequence[begin:])
    return answers


@torch.inference_mode()
def drawn_one_by_one(at: World, prompts: Sequence[list[int]], seeds: Sequence[int]) -> Tensor:
    """The reference's algorithm for pictures: three streams side by side, though the last two are one here."""
    voc, (text, image, temperature, top_p) = at.vocabulary, PUBLISHED
    pictures = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        streams, width = [[*prompt, voc.boi], [voc.bos, voc.boi], [voc.bos, voc.boi]], len(prompt) + 1
        ids_RQ = torch.tensor([[voc.pad] * (width - len(stream)) + stream for stream in streams], device=at.device)
        begin_R = torch.tensor([width - len(stream) for stream in streams], device=at.device)
        kept, chance, codes = DynamicCache(config=at.model.config), uniform(seed, voc.codes_per_image), []
        for place in range(voc.codes_per_image):
            slots = torch.arange(width + place, device=at.device)
            queries = slots[-ids_RQ.shape[1] :]
            mask = (slots <= queries[:, None]) & (slots >= begin_R[:, None, None]) | (slots == queries[:, None])
            logits = at.model(
                input_ids=ids_RQ,
                attention_mask=mask[:, None],
                position_ids=(queries - begin_R[:, None]).clamp_min(0),
                past_key_values=kept,
                use_cache=True,
            ).logits.float()[:, -1, voc.first_code : voc.first_code + voc.codebook_size]
            full, pictured, empty = logits.double()
            mixed = empty + image * (pictured - empty) + text * (full - pictured)
            code = nucleus(mixed[None], chance[place : place + 1].to(at.device), temperature, top_p)
            codes.append(int(code))
            ids_RQ = (code + voc.first_code).expand(3)[:, None]
        pictures.append(codes)
    return torch.tensor(pictures)


def timed(run: Callable[[], object]) -> Callable[[], None]:
    """The whole of it, a device's work included."""

    def whole() -> None:
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return whole


def limit_s(at: World, prefilled: int, seen: int, steps: int, rows: int, length: int) -> float:
    """Seconds of an H200 at its limits: products of what is prefilled, bytes of what is read step by step.

    Args:
        at: the network.
        prefilled: ids that run as prompts.
        seen: sum over those ids of the ids each one sees.
        steps: steps of one id a row.
        rows: rows of a step.
        length: mean ids in a row while it is stepped.
    """
    config = at.model.config
    layers = sum(weight.numel() for weight in at.model.model.layers.parameters())
    flop = 2.0 * layers * prefilled + 4.0 * config.hidden_size * config.num_hidden_layers * seen
    kept = 2 * 2 * config.hidden_size * config.num_hidden_layers  # keys and values, two bytes each
    moved = steps * (2.0 * (layers + at.model.lm_head.weight.numel()) + rows * length * kept)
    return float(flop / (H200_TFLOPS * 1e12) + moved / (H200_TB_S * 1e12))


def apart_nats(at: World, prompts: Sequence[list[int]]) -> float:
    """How far an option's likelihood in a batch is from the one it has alone: what the order of sums changes."""
    some, eoi = prompts[:8], at.vocabulary.eoi
    options = [[[int(number)] for number in at.vocabulary.text_ids[:4]]] * len(some)
    together = option_logprobs(at.model, some, options, eoi)
    alone = option_logprobs(at.model, some, options, eoi, batch_size=1)
    return float(np.abs(np.subtract(together, alone)).max())


def told(items: int, limit: float, alike: float, apart: float) -> Callable[[Mapping[str, float]], str]:
    """Items a second, equal answers, and on a device the share of its limit."""

    def sentence(medians: Mapping[str, float]) -> str:
        rates = ", ".join(f"{name} {1 / seconds:.2f}" for name, seconds in medians.items())
        share = f" Ours reaches {limit / (items * medians[OURS]):.0%} of an H200's limit." * torch.cuda.is_available()
        same = f"Answers equal: {alike:.1%}; likelihoods in a batch and alone, nats apart: {apart:.1e}."
        return f"Items/s: {rates}. {same}{share}"

    return sentence


def _claim(
    title: str, at: World, reference: Callable[[], object], ours: Callable[[], object], items: tuple[int, int],
    limit: float, alike: float, apart: float,
) -> Claim:  # fmt: skip
    assert torch.cuda.is_available() or alike == 1.0, f"{title}: only {alike:.1%} of answers are the reference's"
    return Claim(
        f"{title}; {at.device.type}, hidden size {at.model.config.hidden_size}",
        "s an item",
        {REFERENCE: timed(reference), OURS: timed(ours)},
        clock=time.perf_counter if torch.cuda.is_available() else time.process_time,
        rounds=at.size.rounds,
        items={REFERENCE: items[0], OURS: items[1]},
        remark=told(items[1], limit, alike, apart),
    )


def asking(at: World, title: str, per_picture: int, stepping: Stepping, *, closed: bool) -> Claim:
    """Questions about pictures: closed ones, of whose answer the reference takes one token, or open ones."""
    asked, few = questions(at, per_picture), at.size.by_reference
    prompts = [at.prompt(at.codes[picture], question) for picture, question in asked]
    options = [[[int(number)] for number in at.vocabulary.text_ids[:2]]] * len(prompts)
    ids = CLOSED_IDS if closed else OPEN_IDS

    def ours() -> list[list[int]]:
        if closed:
            made = choose(at.model, prompts, options, at.vocabulary, ids, first_penalty=PENALTY, stepping=stepping)
            return [[each.first] if each.first != at.vocabulary.eos else [] for each in made]
        return generate_text(at.model, prompts, at.vocabulary, ids, repetition_penalty=PENALTY, stepping=stepping)

    def reference() -> list[list[int]]:
        return answered_one_by_one(at, asked[:few], 1 if closed else ids)

    same = [mine == theirs for mine, theirs in zip(ours(), reference(), strict=False)]
    shown = at.vocabulary.codes_per_image + 3
    ends = [len(prompt) - shown for prompt in prompts]
    pictures = len(asked) // per_picture
    seen = pictures * shown * shown // 2 + sum(end * (shown + end // 2) for end in ends)
    batches = -(-len(asked) // 64)
    limit = limit_s(at, pictures * shown + sum(ends), seen, batches * (ids - 1), 64, shown + QUESTION_IDS + ids // 2)
    return _claim(title, at, reference, ours, (few, len(asked)), limit, sum(same) / few, apart_nats(at, prompts))


def drawing(at: World, stepping: Stepping) -> Claim:
    """Pictures from captions."""
    prompts = [at.prompt((), question) for _, question in questions(at, 1)[: at.size.drawn]]
    seeds, few = list(range(len(prompts))), at.size.drawn_by_reference

    def ours() -> Tensor:
        return generate_images(at.model, prompts, at.vocabulary, seeds, stepping=stepping)

    def reference() -> Tensor:
        return drawn_one_by_one(at, prompts[:few], seeds[:few])

    alike = float((ours()[:few] == reference()).double().mean())
    codes = at.vocabulary.codes_per_image
    limit = limit_s(at, 0, 0, codes, 2 * len(prompts), codes // 2 + QUESTION_IDS // 2)
    return _claim(
        f"Pictures of {codes} codes", at, reference, ours, (few, len(prompts)), limit, alike, apart_nats(at, prompts)
    )


def claim(size: str = "small", stepping: Stepping = "eager") -> list[Claim]:
    """What this machine can time."""
    torch.set_num_threads(1)
    at = world(size)
    return [
        asking(at, "Closed questions and choices, one a picture", 1, stepping, closed=True),
        asking(at, "Closed questions and choices, four a picture", 4, stepping, closed=True),
        asking(at, f"Open questions, {OPEN_IDS} ids, one a picture", 1, stepping, closed=False),
        drawing(at, stepping),
    ]
