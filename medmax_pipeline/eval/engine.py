"""A loaded model with its two tokenizers, as the families ask it: ids stay in here and in `tokens/`.

The only module of the room that loads torch, and only in `Engine.load`. How a network computes is `models/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import TokenError
from medmax_pipeline.eval.task import Decoding
from medmax_pipeline.tokens.image import to_levels
from medmax_pipeline.tokens.sequence import Sequencer
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from medmax_pipeline.models.chameleon import MixedModalChameleon
    from medmax_pipeline.models.decoding import Stepping
    from medmax_pipeline.models.vqgan import VQGAN

Ids = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Interleaved:
    """A reply of text and pictures."""

    parts: tuple[str | npt.NDArray[np.int64], ...]
    """In order: a text, or a picture's (N,) codes. No text is empty."""
    ended: bool
    """Whether the model ended it by itself; otherwise its budget or the model's positions did."""


@dataclass(frozen=True)
class Chosen:
    """What the model makes of a question with options."""

    logprobs: tuple[float, ...]
    """Log-probability (nats) of each option, summed over its ids."""
    first_token: str
    """The likeliest first text id under the penalty, as text; empty where the model would end at once."""
    reply: str
    """The greedy text without a penalty."""


@dataclass(frozen=True, eq=False)
class Engine:
    """Everything a family needs of a model."""

    model: MixedModalChameleon
    vqgan: VQGAN
    vocabulary: Vocabulary
    sequencer: Sequencer
    max_positions: int
    """Ids that prompt and reply may have together."""
    device: str
    stepping: Stepping = "eager"
    """How single ids are computed; `graph` is for CUDA, and untested so far."""

    @classmethod
    def load(
        cls,
        model: Path,
        text_tokenizer: Path,
        image_tokenizer: Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        stepping: Stepping = "eager",
    ) -> Engine:
        """Load three weights folders.

        Args:
            model: a transformers folder of a Chameleon.
            text_tokenizer: holds `tokenizer.json`.
            image_tokenizer: a VQGAN with decoder; always computed in float32.
            device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
            dtype: in which the transformer computes.
            threads: CPU threads of this process from now on.
            stepping: how single ids are computed.

        Raises:
            WeightsError: a folder is incomplete.
            TokenError: they do not belong together.
        """
        import torch

        from medmax_pipeline.models.chameleon import MixedModalChameleon
        from medmax_pipeline.models.vqgan import VQGAN

        torch.set_num_threads(threads)
        vocabulary = vocabulary_of(text_tokenizer, image_tokenizer)
        place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        network = MixedModalChameleon.load(model, dtype=getattr(torch, dtype), device=place)
        if network.config.vocab_size < vocabulary.size:
            raise TokenError(
                f"{model}: has {network.config.vocab_size} ids, its tokenizer {vocabulary.size}. "
                "Model and text tokenizer must belong together."
            )
        sequencer = Sequencer(vocabulary, TextTokenizer(text_tokenizer, vocabulary))
        limit = int(network.config.max_position_embeddings)
        vqgan = VQGAN.load(image_tokenizer).to(place)
        return cls(network, vqgan, vocabulary, sequencer, limit, place, stepping)

    def choose(
        self, prompts: Sequence[Ids], options: Sequence[Sequence[str]], max_new_tokens: int, first_penalty: float = 1.0
    ) -> list[Chosen]:
        """Likelihoods of each prompt's own options, and what the model says itself; each prompt runs once.

        Args:
            prompts: ids up to where the reply begins.
            options: for each prompt its own, none empty.
            max_new_tokens: of the reply, which no penalty bears upon.
            first_penalty: the repetition penalty on the first token.
        """
        from medmax_pipeline.models.choosing import choose

        text = self.sequencer.text
        known = sorted({option for choices in options for option in choices})
        ids = dict(zip(known, (each.tolist() for each in text.encode_batch(known)), strict=True))
        encoded = [[ids[option] for option in choices] for choices in options]
        found = choose(
            self.model,
            _lists(prompts),
            encoded,
            self.vocabulary,
            max_new_tokens,
            first_penalty=first_penalty,
            stepping=self.stepping,
        )
        return [
            Chosen(
                tuple(each.logprobs),
                text.decode([] if each.first == self.vocabulary.eos else [each.first]),
                text.decode(each.said),
            )
            for each in found
        ]

    def next_logprob(self, prompts: Sequence[Ids], expected: int) -> list[float]:
        """Log-probability (nats) that `expected` is the id after each prompt."""
        from medmax_pipeline.models.choosing import option_logprobs

        found = option_logprobs(self.model, _lists(prompts), [[[expected]]] * len(prompts), self.vocabulary.eoi)
        return [row[0] for row in found]

    def replies(self, prompts: Sequence[Ids], max_new_tokens: int, repetition_penalty: float = 1.0) -> list[str]:
        """The greedy text after each prompt."""
        from medmax_pipeline.models.generate import generate_text

        found = generate_text(
            self.model,
            _lists(prompts),
            self.vocabulary,
            max_new_tokens,
            repetition_penalty=repetition_penalty,
            stepping=self.stepping,
        )
        return [self.sequencer.text.decode(ids) for ids in found]

    def draw(self, prompts: Sequence[Ids], seeds: Sequence[int], how: Decoding) -> npt.NDArray[np.int64]:
        """A picture's codes after each prompt: (B, N)."""
        from medmax_pipeline.models.guidance import generate_images

        codes_BN = generate_images(
            self.model,
            _lists(prompts),
            self.vocabulary,
            seeds,
            temperature=how.temperature,
            top_p=how.top_p,
            cfg_text=how.cfg_text,
            cfg_image=how.cfg_image,
            stepping=self.stepping,
        )
        return np.asarray(codes_BN.numpy(), dtype=np.int64)

    def interleaved(
        self, prompts: Sequence[Ids], seeds: Sequence[int], how: Decoding, repetition_penalty: float = 1.0
    ) -> list[Interleaved]:
        """Text and pictures after each prompt: text greedily, codes sampled under guidance, each row for itself.

        Args:
            prompts: ids up to where the reply begins.
            seeds: one a prompt, of its pictures' codes.
            how: `max_new_tokens` text ids and `max_images` pictures at most, and how codes are drawn.
            repetition_penalty: on text.
        """
        from medmax_pipeline.models.guidance import Nucleus
        from medmax_pipeline.models.interleaved import Budget, Guidance, generate_interleaved

        answers = generate_interleaved(
            self.model,
            _lists(prompts),
            self.vocabulary,
            seeds,
            Budget(how.max_new_tokens, how.max_images),
            how=Nucleus(how.temperature, how.top_p),
            guidance=Guidance(how.cfg_text, how.cfg_image),
            repetition_penalty=repetition_penalty,
            stepping=self.stepping,
        )
        text = self.sequencer.text
        return [
            Interleaved(
                tuple(text.decode(part) if isinstance(part, list) else part.numpy() for part in answer.parts),
                answer.ended,
            )
            for answer in answers
        ]

    def pixels(self, codes_BN: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Codes as pictures: (B, H, W, 3) uint8 RGB. One at a time, so that no pixel depends on the company."""
        import torch

        device = next(self.vqgan.parameters()).device
        pictures = [self.vqgan.decode(torch.from_numpy(codes_N)[None].to(device)).cpu().numpy() for codes_N in codes_BN]
        return to_levels(np.concatenate(pictures).transpose(0, 2, 3, 1))


def _lists(prompts: Sequence[Ids]) -> list[list[int]]:
    return [prompt.tolist() for prompt in prompts]
