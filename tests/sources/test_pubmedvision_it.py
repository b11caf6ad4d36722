"""PubMedVision's instruction part beside its alignment part; their rule is in `test_pubmedvision_alignment`."""

from __future__ import annotations

from medmax_pipeline.records import Draft
from medmax_pipeline.sources import SOURCES


def test_instructions_are_chats_without_one_answer() -> None:
    made = SOURCES["pubmedvision_it"].adapt(SOURCES["pubmedvision_it"].example)
    assert isinstance(made, Draft)
    assert (made.kind, made.answer, made.context) == ("visual_chat", "", "")


def test_both_parts_lie_in_one_folder_and_share_its_archives() -> None:
    first, second = SOURCES["pubmedvision_alignment"], SOURCES["pubmedvision_it"]
    assert first.folder == second.folder == "pubmedvision"
    assert first.files[1:] == second.files[1:]
    assert first.files[0].path != second.files[0].path
