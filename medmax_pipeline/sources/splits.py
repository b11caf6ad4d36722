"""A split of our own where the publisher ships none: whole groups are held out, never rows.

A group is what shows the same thing: an article, a patient, a figure, a picture. The rule needs the group's name alone,
so it survives any change of order, release or number of workers.
"""

from __future__ import annotations

import hashlib

from medmax_pipeline.records import Split


def hash_split(source: str, group: str, held_out_percent: int) -> Split:
    """The split of a whole group.

    Args:
        source: key of the source; the same group name means nothing in another one.
        group: the publisher's id of article, patient, figure or picture.
        held_out_percent: share of the groups, 0 to 100, that is eval.
    """
    number = int(hashlib.sha256(f"{source}:{group}".encode()).hexdigest()[:8], 16)
    return "eval" if number % 100 < held_out_percent else "train"


def held_out(source: str, image_id: str, share: float) -> bool:
    """Whether a build holds an image of a source without a split out for evaluation, from the image's id alone.

    Args:
        source: key of the source.
        image_id: of the sample's first image, so that all samples that show it are on one side.
        share: of the images, 0 to 1.
    """
    number = int(hashlib.sha256(f"{source}:held-out:{image_id}".encode()).hexdigest()[:13], 16)
    return number < share * 16**13
