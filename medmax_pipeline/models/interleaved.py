"""Answers of text and pictures: rows in one batch, each with a state of its own.

A row writes text, greedily, until it begins a picture; then come exactly N codes, sampled under guidance as in
`guidance.py`, and the end of the picture, by force; then text again, until it ends or its budget does. Text alone is
`generate.py`.

Three kinds of cache rows: the items themselves first, then each item's empty context, then each item's pictures without
its text. Only as many of these blocks run as some item needs at the time: while all write, the first alone.

B items, N codes an image, K codes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.decoding import Ids, Rows, Specials, Stepping, batches
from medmax_pipeline.models.generate import Penalty, text_bias
from medmax_pipeline.models.guidance import Nucleus, nucleus, pictures_of, uniform

ITEMS = 16
"""Answers side by side; it changes none."""
BLOCKS = 3
"""Cache rows of an item: itself, the empty context, its pictures."""
WRITING = -1
"""Stands for the number of codes while there is no picture."""


@dataclass(frozen=True)
class Budget:
    """How long an answer may be."""

    text_ids: int
    images: int

    def room(self, vocabulary: Specials) -> int:
        """Ids that an answer may add to its prompt."""
        return self.text_ids + self.images * (vocabulary.codes_per_image + 2)


@dataclass(frozen=True)
class Guidance:
    """How far codes follow the text and the pictures before them; the published 3.0 and 1.2."""

    text: float = 3.0
    image: float = 1.2


@dataclass(frozen=True, eq=False)
class Answer:
    """Text ids and pictures' codes in order; no text is empty, no id of a mark is among them."""

    parts: tuple[list[int] | Tensor, ...]
    ended: bool
    """Whether the model ended it by itself."""


@dataclass(eq=False)
class _Item:
    """One answer being made: what it holds, and what may still come."""

    prompt: list[int]
    chances: list[list[float]]
    """In [0, 1), one a code, of each picture that may come."""
    text_left: int
    ids: list[int] = field(default_factory=list)
    begun: int = 0
    """Pictures so far, the present one among them."""
    drawn: int = WRITING
    """Codes of the present picture."""
    pictured: bool = False
    """Whether the present picture also follows earlier ones."""
    ended: bool = False
    closed: bool = False
    """Nothing more comes."""

    @property
    def length(self) -> int:
        """Ids of prompt and answer."""
        return len(self.prompt) + len(self.ids)


@torch.inference_mode()
def generate_interleaved(
    model: MixedModalChameleon,
    prompts: Sequence[Ids],
    vocabulary: Specials,
    seeds: Sequence[int],
    budget: Budget,
    *,
    how: Nucleus,
    guidance: Guidance,
    repetition_penalty: float = 1.0,
    batch_size: int = ITEMS,
    stepping: Stepping = "eager",
) -> list[Answer]:
    """Text and pictures after each prompt.

    Args:
        model: the transformer.
        prompts: ids up to where the answer begins.
        vocabulary: says which ids are what, and how many codes a picture has.
        seeds: one an item; the same seed and prompt give the same answer in any batch.
        budget: text ids and pictures at most. A picture is begun only where the model's positions hold all of it.
        how: how codes are drawn; the published temperature 0.7 and top-p 0.9.
        guidance: how far they follow what came before.
        repetition_penalty: on text, as in `generate.generate_text`.
        batch_size: items side by side; it changes no answer.
        stepping: how single ids are computed.

    Raises:
        TokenError: prompts and seeds differ in number, or a prompt is empty or fills the model's positions.
    """
    if len(prompts) != len(seeds):
        raise TokenError(f"{len(prompts)} prompts, {len(seeds)} seeds; expected one seed an item.")
    answers: dict[int, Answer] = {}
    count = vocabulary.codes_per_image
    for batch in batches(prompts, vocabulary.eoi, batch_size, BLOCKS * budget.room(vocabulary)):
        items = []
        for index in batch:
            chances = uniform(seeds[index], budget.images * count).view(budget.images, count).tolist()
            items.append(_Item(list(map(int, prompts[index])), chances, budget.text_ids, closed=budget.text_ids < 1))
        bench = _Bench(model, items, vocabulary, budget, guidance, stepping)
        bench.run(Penalty(model, [item.prompt for item in items], repetition_penalty), how)
        for index, item in zip(batch, items, strict=True):
            answers[index] = Answer(_parts(item.ids, vocabulary), item.ended)
    return [answers[index] for index in range(len(prompts))]


class _Bench:
    """The items of a batch with their blocks of cache rows."""

    def __init__(
        self,
        model: MixedModalChameleon,
        items: Sequence[_Item],
        vocabulary: Specials,
        budget: Budget,
        guidance: Guidance,
        stepping: Stepping,
    ) -> None:
        self.items, self.vocabulary, self.guidance = items, vocabulary, guidance
        self.limit = int(model.config.max_position_embeddings)
        self.device = model.lm_head.weight.device
        self.text_V = text_bias(model, vocabulary)
        room = max(0, min(budget.room(vocabulary), self.limit - max(item.length for item in items)))
        spare = (BLOCKS - 1) * len(items) if budget.images else 0
        prompts = [item.prompt for item in items]
        self.rows = Rows(model, prompts, room, vocabulary.eoi, spare=spare, stepping=stepping)
        self.mixing_BX = torch.zeros(len(items), BLOCKS, dtype=torch.float64, device=self.device)
        self.blocks = 1
        """How many blocks ran in the last step."""

    def run(self, penalty: Penalty, how: Nucleus) -> None:
        """Give every item its answer."""
        while True:
            texts, codes = self._texts(penalty), self._codes(how)
            given = [self._give(*each) for each in zip(self.items, texts, codes, strict=True)]
            if all(item.closed for item in self.items):
                return
            self._begin([place for place, item in enumerate(self.items) if item.drawn == 0])
            self._append(given, penalty)

    def _texts(self, penalty: Penalty) -> list[int]:
        """What each item would write next: text, the end, or a picture's begin where it may."""
        if all(item.closed or item.drawn != WRITING for item in self.items):
            return [self.vocabulary.pad] * len(self.items)
        logits_BV = penalty.on(self.rows.logits(rows=len(self.items)))
        begin_B = logits_BV[:, self.vocabulary.boi]
        may_B = torch.tensor([self._may_begin(item) for item in self.items], device=self.device)
        logits_BV = logits_BV + self.text_V
        logits_BV[:, self.vocabulary.boi] = begin_B.masked_fill(~may_B, float("-inf"))
        texts: list[int] = logits_BV.argmax(dim=1).tolist()
        return texts

    def _may_begin(self, item: _Item) -> bool:
        whole = self.vocabulary.codes_per_image + 2
        return item.begun < len(item.chances) and item.length + whole <= self.limit

    def _codes(self, how: Nucleus) -> list[int]:
        """What each item would draw next."""
        if self.blocks == 1:
            return [0] * len(self.items)
        logits_RK = self.rows.logits(self.vocabulary.first_code, self.vocabulary.codebook_size).double()
        logits_XBK = logits_RK.view(self.blocks, len(self.items), -1)
        mixed_BK = torch.einsum("bx,xbk->bk", self.mixing_BX[:, : self.blocks], logits_XBK)
        chances = [item.chances[item.begun - 1][item.drawn] if self._draws(item) else 0.0 for item in self.items]
        draws_B = torch.tensor(chances, dtype=torch.float64, device=self.device)
        codes: list[int] = nucleus(mixed_BK, draws_B, *how).tolist()
        return codes

    def _draws(self, item: _Item) -> bool:
        """Whether a code comes next."""
        return 0 <= item.drawn < self.vocabulary.codes_per_image

    def _give(self, item: _Item, text: int, code: int) -> int:
        """Let an item take what its state asks for; the id that goes to its row."""
        voc = self.vocabulary
        if item.closed or (item.drawn == WRITING and text == voc.eos):
            item.ended, item.closed = item.ended or not item.closed, True
            return voc.pad
        if self._draws(item):
            number, item.drawn = voc.first_code + code, item.drawn + 1
        elif item.drawn != WRITING:
            number, item.drawn = voc.eoi, WRITING
        elif text == voc.boi:
            number, item.drawn, item.begun = text, 0, item.begun + 1
        else:
            number, item.text_left = text, item.text_left - 1
        item.ids.append(number)
        item.closed = item.drawn == WRITING and (item.text_left == 0 or item.length == self.limit)
        return number

    def _begin(self, places: Sequence[int]) -> None:
        """Fill the other blocks' rows of items that have just begun a picture, but for its begin."""
        rows: list[int] = []
        prompts: list[Ids] = []
        for place in places:
            item = self.items[place]
            before = pictures_of([*item.prompt, *item.ids[:-1]], self.vocabulary)
            pictured = self.vocabulary.eoi in before
            text, image = self.guidance.text, self.guidance.image
            weights = (text, 1.0 - image, image - text) if pictured else (text, 1.0 - text, 0.0)
            self.mixing_BX[place] = torch.tensor(weights, dtype=torch.float64)
            item.pictured = pictured
            rows.append(len(self.items) + place)
            prompts.append([self.vocabulary.bos])
            if pictured:
                rows.append(2 * len(self.items) + place)
                prompts.append(before)
        if rows:
            self.rows.replace(rows, prompts)

    def _append(self, given: Sequence[int], penalty: Penalty) -> None:
        """Run the ids just given, in as many blocks as some item needs."""
        drawing = [self._draws(item) for item in self.items]
        pictured = [draws and item.pictured for draws, item in zip(drawing, self.items, strict=True)]
        self.blocks = BLOCKS if any(pictured) else 2 if any(drawing) else 1
        grow = [not item.closed for item in self.items] + (drawing + pictured)[: (self.blocks - 1) * len(self.items)]
        ids_R = torch.tensor([*given] * self.blocks, device=self.device)
        penalty.add(ids_R[: len(self.items)])
        self.rows.append(ids_R, torch.tensor(grow, device=self.device).long())


def _parts(ids: Sequence[int], vocabulary: Specials) -> tuple[list[int] | Tensor, ...]:
    """An answer's ids cut into texts and whole pictures."""
    parts: list[list[int] | Tensor] = []
    text: list[int] = []
    place = 0
    while place < len(ids):
        if ids[place] == vocabulary.boi:
            parts += [text] if text else []
            end = place + 1 + vocabulary.codes_per_image
            parts.append(torch.tensor(ids[place + 1 : end]) - vocabulary.first_code)
            text, place = [], end + 1
        else:
            text.append(ids[place])
            place += 1
    return (*parts, text) if text else tuple(parts)
