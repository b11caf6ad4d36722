"""Questions that a picture answers by construction, yes and no in balance within every topic.

Topics are modalities, colour and body parts: what the record of a picture says, never what a doctor would have to
see. The upstream's row format and its quirks are in `vqa_rad.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from medmax_pipeline.sample.pictures import Picture

CLOSED_WORDINGS: Final[Mapping[str, tuple[str, str]]] = {
    "CT": ("Is this a CT image?", "Was this image taken with CT?"),
    "MRI": ("Is this an MRI image?", "Was this image taken with MRI?"),
    "ultrasound": ("Is this an ultrasound image?", "Was this image taken with ultrasound?"),
    "radiograph": ("Is this a radiograph?", "Is the image an x-ray?"),
    "histology": ("Is this a histology image?", "Is the image a microscopic tissue section?"),
    "fundus photograph": ("Is this a fundus photograph?", "Is the image a photograph of the retina?"),
    "nuclear medicine": ("Is this a nuclear medicine image?", "Is the image a bone scan?"),
}
"""Two wordings a topic: the first freeform, the second its paraphrase."""
ORGANS: Final = ("chest", "abdomen", "head", "spine", "heart", "eye", "shoulder", "pelvis")
"""Body parts that closed questions ask about."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question on one picture with its true answer."""

    picture: Picture
    text: str
    answer: str | int
    closed: bool
    kind: str
    """The upstream's question type: MODALITY, ORGAN, PLANE, COLOR, SIZE."""
    paraphrase: bool = False


def modality_questions(pictures: Sequence[Picture], wording: int, seed: int) -> list[Question]:
    """Per picture, one question to say yes to and one to say no to; every topic is asked as often with yes as with no.

    Args:
        pictures: those of other modalities than the topics are passed over.
        wording: 0 for the first wording of a topic, 1 for its paraphrase.
        seed: decides which picture gets which topic to say no to.
    """
    asked = balanceable([(picture, picture.modality) for picture in pictures if picture.modality in CLOSED_WORDINGS])
    topics = other_labels([label for _, label in asked], random.Random(seed))
    questions = []
    for (picture, own), topic in zip(asked, topics, strict=True):
        for subject, answer in ((own, "yes"), (topic, "no")):
            text = CLOSED_WORDINGS[subject][wording]
            questions.append(Question(picture, text, answer, True, "MODALITY", paraphrase=wording == 1))
    return questions


def balanceable(labelled: Sequence[tuple[Picture, str]]) -> list[tuple[Picture, str]]:
    """The pictures without the surplus of a label that holds more than half of them (few packages are installed)."""
    counts = Counter(label for _, label in labelled)
    if not counts:
        return []
    label, most = counts.most_common(1)[0]
    allowed = min(most, len(labelled) - most)
    kept, seen = [], 0
    for picture, own in labelled:
        seen += own == label
        if own != label or seen <= allowed:
            kept.append((picture, own))
    return kept


def other_labels(labels: Sequence[str], generator: random.Random) -> list[str]:
    """The same labels shuffled so that none stays on its own kind: yes and no balance within every label.

    Raises:
        ValueError: one label holds more than half of the places, so that it cannot be done.
    """
    if labels and max(labels.count(label) for label in set(labels)) * 2 > len(labels):
        raise ValueError("one label holds more than half of the places")
    shuffled = list(labels)
    generator.shuffle(shuffled)
    for place, label in enumerate(labels):
        if shuffled[place] != label:
            continue
        start = generator.randrange(len(labels))
        for step in range(len(labels)):
            swap = (start + step) % len(labels)
            if shuffled[swap] != label and labels[swap] != label:
                shuffled[place], shuffled[swap] = shuffled[swap], shuffled[place]
                break
    return shuffled


def colour_questions(pictures: Sequence[Picture], colourful: Callable[[Picture], bool], every: int) -> list[Question]:
    """Whether a picture is in colour, as often yes as no, for one picture in `every`."""
    yes = [picture for picture in pictures if colourful(picture)]
    no = [picture for picture in pictures if not colourful(picture)]
    count = min(len(yes), len(no), len(pictures) // (2 * every))
    text = "Is this a color image?"
    chosen = [(picture, "yes") for picture in _spread(yes, count)] + [(picture, "no") for picture in _spread(no, count)]
    return [Question(picture, text, answer, True, "COLOR") for picture, answer in chosen]


def organ_questions(pictures: Sequence[Picture], every: int, seed: int) -> list[Question]:
    """Which body part is shown, closed and in balance, for one picture in `every` of those that name one."""
    known = balanceable([(each, each.body_part) for each in pictures if each.body_part in ORGANS][::every])
    topics = other_labels([label for _, label in known], random.Random(seed))
    questions = []
    for (picture, own), topic in zip(known, topics, strict=True):
        for part, answer in ((own, "yes"), (topic, "no")):
            questions.append(Question(picture, f"Does this image show the {part}?", answer, True, "ORGAN"))
    return questions


def open_questions(pictures: Sequence[Picture], every: int) -> list[Question]:
    """Questions with free answers, one or two for one picture in `every` and for all without a closed topic.

    Some answers are numbers.
    """
    questions = []
    chosen = [each for place, each in enumerate(pictures) if place % every == 0 or each.modality not in CLOSED_WORDINGS]
    for place, picture in enumerate(chosen):
        questions.append(Question(picture, "What imaging modality is this?", picture.modality, False, "MODALITY"))
        if picture.body_part and place % 2 == 0:
            questions.append(Question(picture, "Which body part is shown?", picture.body_part, False, "ORGAN"))
        elif picture.plane and place % 4 == 1:
            text = "In which plane or view was this image taken?"
            questions.append(Question(picture, text, picture.plane, False, "PLANE"))
        elif place % 8 == 3:
            text = "How many pixels wide is this image?"
            questions.append(Question(picture, text, picture.width, False, "SIZE"))
    return questions


def modality_choices(picture: Picture, place: int, count: int = 4) -> list[str]:
    """`count` different modalities, the picture's own at `place` (counted round)."""
    wrong = [name for name in CLOSED_WORDINGS if name != picture.modality]
    start = place % len(wrong)
    chosen = [*wrong[start:], *wrong[:start]][: count - 1]
    chosen.insert(place % count, picture.modality)
    return chosen


def _spread(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """`count` pictures at even distances."""
    return [pictures[place * len(pictures) // count] for place in range(count)] if count else []
