"""Training samples with several images, which the paper leaves out of its mixture.

Samples without an image stay. Adapters that drop such rows themselves, as the publisher's own mixture did, use the
same reason.
"""

from __future__ import annotations

from typing import Final

from medmax_pipeline.records import Drop, Sample

SEVERAL_IMAGES: Final = "several_images"


def decide(sample: Sample) -> Drop | None:
    """A drop where there is more than one image."""
    return Drop(SEVERAL_IMAGES, f"{len(sample.images)} images") if len(sample.images) > 1 else None
