"""A sample's turns and codes as one sequence of ids with its loss spans, and back; prompts for inference.

The one module that knows the order of ids (design section 6); training, inference and evaluation use it.

    one turn:       bos, prompt…, sep, response…, eos
    several turns:  bos, user1…, sep, reply1…, eos, user2…, sep, reply2…, eos
    an image:       boi, its N codes + first_code, eoi

Every reply and its eos is trained, no user turn is. Which sequences share a pack is `pack.py`; text is `text.py`.

An *outline* is a sequence in which a single placeholder stands for each image: what is known before codes are.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import TokenError
from medmax_pipeline.records import IMAGE, Turn
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import Vocabulary

Ids = npt.NDArray[np.uint16]
Codes = npt.NDArray[np.integer]


class Span(NamedTuple):
    """Positions start to end - 1 of a sequence are trained: they are the labels, not the inputs."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A sequence before its codes: `image_placeholder` stands for each image; spans count it as one id."""

    ids: Ids
    spans: tuple[Span, ...]
    images: int

    def length(self, vocabulary: Vocabulary) -> int:
        """Ids of the sequence once its images are in."""
        return len(self.ids) + self.images * (vocabulary.image_length - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """The ids of one sample and what of it is trained."""

    ids: Ids
    spans: tuple[Span, ...]


class Decoded(NamedTuple):
    """Turns with `<image>` at each image's place, and the codes in that order."""

    turns: tuple[Turn, ...]
    codes: tuple[npt.NDArray[np.int64], ...]


class Sequencer:
    """Turns and codes to sequences and back, for one pair of tokenizers."""

    def __init__(self, vocabulary: Vocabulary, text: TextTokenizer) -> None:
        self.vocabulary = vocabulary
        self.text = text

    def outlines(self, conversations: Iterable[Seq[Turn]]) -> list[Outline]:
        """Outlines of many conversations; their texts are encoded as one batch.

        Raises:
            TokenError: turns do not alternate from the user on, or a text is refused.
        """
        given = list(conversations)
        for turns in given:
            _check_roles(turns, closed=True)
        pieces = self._encode_turns(turn for turns in given for turn in turns)
        made = []
        taken = 0
        for turns in given:
            made.append(self._outline(pieces[taken : taken + len(turns)]))
            taken += len(turns)
        return made

    def outline(self, turns: Seq[Turn]) -> Outline:
        """The outline of one conversation; raises as `outlines`."""
        return self.outlines([turns])[0]

    def fill(self, outline: Outline, codes: Seq[Codes]) -> Sequence:
        """The sequence of an outline and the codes of its images, in order.

        Raises:
            TokenError: not one array of N codes in 0 to K-1 for each image.
        """
        ids, places = self._expand(outline.ids, codes)
        growth = self.vocabulary.image_length - 1
        spans = tuple(
            Span(*(int(edge + growth * np.searchsorted(places, edge)) for edge in span)) for span in outline.spans
        )
        return Sequence(ids, spans)

    def sequence(self, turns: Seq[Turn], codes: Seq[Codes]) -> Sequence:
        """The sequence of one conversation; raises as `outlines` and `fill`."""
        return self.fill(self.outline(turns), codes)

    def prompt(self, turns: Seq[Turn], codes: Seq[Codes], *, image_next: bool = False, end_of_turn: bool = True) -> Ids:
        """Ids up to and including the last separator: what a model continues.

        Args:
            turns: user and assistant in turn, ending with the user.
            codes: of the images in `turns`, in order.
            image_next: add the begin of an image, so that the model gives codes first.
            end_of_turn: whether the last separator is there; without it the model continues the user's text.

        Raises:
            TokenError: turns end with a reply, a text is refused, or codes do not fit.
        """
        _check_roles(turns, closed=False)
        voc = self.vocabulary
        parts = [_ids(voc.bos)]
        for turn, piece in zip(turns, self._encode_turns(turns), strict=True):
            parts += [piece, _ids(voc.sep if turn.role == "user" else voc.eos)]
        if not end_of_turn:
            parts.pop()
        ids, _ = self._expand(np.concatenate(parts), codes)
        return np.concatenate([ids, _ids(voc.boi)]) if image_next else ids

    def to_turns(self, ids: npt.NDArray[np.integer]) -> Decoded:
        """The turns and codes that gave a sequence; the exact inverse of `sequence`.

        Raises:
            TokenError: the ids are no whole sequence: begin, separators, ends or an image's ids are not in place.
        """
        voc = self.vocabulary
        array = np.asarray(ids, dtype=np.int64)
        if len(array) < 2 or array[0] != voc.bos or array[-1] != voc.eos:
            raise TokenError(f"{len(array)} ids: expected a whole sequence from {voc.bos} (begin) to {voc.eos} (end).")
        ends = np.flatnonzero((array == voc.sep) | (array == voc.eos))
        turns: list[Turn] = []
        codes: list[npt.NDArray[np.int64]] = []
        start = 1
        for index, end in enumerate(ends.tolist()):
            user = index % 2 == 0
            if array[end] != (voc.sep if user else voc.eos):
                raise TokenError(f"id {array[end]} at {end}: separator and end must alternate, separator first.")
            said, shown = self.to_text(array[start:end])
            turns.append(Turn("user" if user else "assistant", said))
            codes += shown
            start = end + 1
        _check_roles(turns, closed=True)
        return Decoded(tuple(turns), tuple(codes))

    def to_text(self, ids: npt.NDArray[np.integer]) -> tuple[str, list[npt.NDArray[np.int64]]]:
        """One turn's ids, e.g. a model's answer without its end, as text with `<image>` marks, and the codes.

        Raises:
            TokenError: an image is not begin, N codes, end; or other special ids are among them.
        """
        voc = self.vocabulary
        array = np.asarray(ids, dtype=np.int64)
        parts: list[str] = []
        codes: list[npt.NDArray[np.int64]] = []
        start = 0
        for begin in np.flatnonzero(array == voc.boi).tolist():
            end = begin + voc.image_length
            inside = array[begin + 1 : end - 1]
            if end > len(array) or begin < start or array[end - 1] != voc.eoi or not voc.is_code(inside).all():
                raise TokenError(f"image at {begin}: expected begin, {voc.codes_per_image} codes and end.")
            parts += [self.text.decode(array[start:begin]), IMAGE]
            codes.append(inside - voc.first_code)
            start = end
        parts.append(self.text.decode(array[start:]))
        return "".join(parts), codes

    def _outline(self, pieces: Seq[Ids]) -> Outline:
        voc = self.vocabulary
        parts = [_ids(voc.bos)]
        spans = []
        length = 1
        for index, piece in enumerate(pieces):
            user = index % 2 == 0
            parts += [piece, _ids(voc.sep if user else voc.eos)]
            if not user:
                spans.append(Span(length, length + len(piece) + 1))
            length += len(piece) + 1
        ids = np.concatenate(parts)
        return Outline(ids, tuple(spans), int((ids == voc.image_placeholder).sum()))

    def _encode_turns(self, turns: Iterable[Turn]) -> list[Ids]:
        """Each turn's ids with the placeholder for its images."""
        split = [turn.text.split(IMAGE) for turn in turns]
        encoded = iter(self.text.encode_batch([text for texts in split for text in texts]))
        placeholder = _ids(self.vocabulary.image_placeholder)
        made = []
        for texts in split:
            parts = [next(encoded)]
            for _ in texts[1:]:
                parts += [placeholder, next(encoded)]
            made.append(np.concatenate(parts))
        return made

    def _expand(self, ids: Ids, codes: Seq[Codes]) -> tuple[Ids, npt.NDArray[np.intp]]:
        """Put images in the place of placeholders; also where the placeholders were."""
        voc = self.vocabulary
        places = np.flatnonzero(ids == voc.image_placeholder)
        if len(places) != len(codes):
            raise TokenError(f"{len(places)} {IMAGE} marks, but codes of {len(codes)} images.")
        parts = []
        start = 0
        for place, image in zip(places.tolist(), codes, strict=True):
            parts += [ids[start:place], self._image(image)]
            start = place + 1
        return np.concatenate([*parts, ids[start:]]), places

    def _image(self, codes: Codes) -> Ids:
        voc = self.vocabulary
        if codes.shape != (voc.codes_per_image,):
            raise TokenError(f"codes of an image are {codes.shape}; expected ({voc.codes_per_image},).")
        if not 0 <= int(codes.min()) <= int(codes.max()) < voc.codebook_size:
            raise TokenError(f"codes run from {codes.min()} to {codes.max()}; expected 0 to {voc.codebook_size - 1}.")
        image = np.empty(voc.image_length, dtype=np.uint16)
        image[0], image[-1] = voc.boi, voc.eoi
        image[1:-1] = codes.astype(np.int64) + voc.first_code
        return image


def _ids(*numbers: int) -> Ids:
    return np.array(numbers, dtype=np.uint16)


def _check_roles(turns: Seq[Turn], *, closed: bool) -> None:
    roles = [turn.role for turn in turns]
    expected = [("user", "assistant")[index % 2] for index in range(len(roles))]
    if not roles or roles != expected or (len(roles) % 2 == 0) != closed:
        end = "assistant" if closed else "user"
        raise TokenError(
            f"turns are {roles}; expected user and assistant in turn from the user on, ending with the {end}."
        )
