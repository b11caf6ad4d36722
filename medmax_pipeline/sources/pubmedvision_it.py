"""PubMedVision, instruction part: questions and answers about the figures that the alignment part describes.

Folder, quirks and the rule by which rows are read are those of `pubmedvision_alignment`. The published mixture has
504K rows of this part, which are those of one picture.
"""

from __future__ import annotations

from typing import Final

from medmax_pipeline.sources.pubmedvision_alignment import part
from medmax_pipeline.sources.record import ExpectedFile

QUESTIONS: Final = "PubMedVision_InstructionTuning_VQA.json"

SOURCE = part(
    key="pubmedvision_it",
    title="PubMedVision, instruction tuning",
    questions=ExpectedFile(QUESTIONS, "all chats, a JSON array; size by the hub's listing", bytes=721_722_204),
    kind="visual_chat",
    example={
        "id": "Instruction-Tuning_12",
        "image": ["images/pmc_12_0.jpg"],
        "conversations": [
            {"from": "human", "value": "Which organ is in the middle of the image?"},
            {"from": "gpt", "value": "The heart, between both lungs."},
        ],
        "modality": "Computed Tomography",
        "body_part": "Chest",
    },
)
