"""Quirks of MIMIC-CXR-JPG. All reports are invented."""

from __future__ import annotations

import time
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.sources.mimic_cxr import conclusion, report_path

HEAD = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n"


def adapt(**changes: Any) -> Draft | Drop:
    made = SOURCES["mimic_cxr"].adapt({**SOURCES["mimic_cxr"].example, **changes})
    assert isinstance(made, Draft | Drop)
    return made


def test_findings_and_impression_are_joined_over_broken_lines() -> None:
    report = HEAD + " FINDINGS: \n \n The lungs\n are clear.\n \n IMPRESSION: \n \n No acute process.\n"
    assert conclusion(report) == "The lungs are clear. No acute process."


@pytest.mark.parametrize("header", ["IMPRESSION", "Impression", "IMPRESSON", "FINDINGS AND IMPRESSION", "findings"])
def test_a_header_counts_in_any_case_and_known_misspelling(header: str) -> None:
    assert conclusion(f"{HEAD} {header}: No acute process.\n") == "No acute process."


def test_a_colon_in_a_sentence_opens_no_section() -> None:
    report = HEAD + " FINDINGS: \n \n Lines and tubes: a catheter.\n The heart is normal.\n"
    assert conclusion(report) == "Lines and tubes: a catheter. The heart is normal."


def test_an_addendum_on_top_does_not_hide_the_report() -> None:
    addendum = " ADDENDUM  Discussed by phone.\n ______________________________________\n"
    assert conclusion(addendum + HEAD + " IMPRESSION:  Small effusion.\n") == "Small effusion."


def test_a_report_of_blank_lines_alone_takes_no_time() -> None:
    started = time.process_time()
    assert conclusion(HEAD + " \n" * 300_000) == ""
    assert time.process_time() - started < 5


def test_the_last_impression_wins_over_a_wet_read() -> None:
    report = " WET READ: \n IMPRESSION:  Clear.\n ____________\n" + HEAD + " IMPRESSION:  Small effusion.\n"
    assert conclusion(report) == "Small effusion."


def test_without_findings_and_impression_the_last_paragraph_speaks() -> None:
    assert conclusion(HEAD + " INDICATION:  Cough.\n \n The lungs are\n clear.\n") == "The lungs are clear."


def test_without_any_paragraph_the_comparison_speaks() -> None:
    assert conclusion(HEAD + " COMPARISON:  No change since ___.\n") == "No change since ___."


@pytest.mark.parametrize("report", ["", " \n", HEAD, HEAD + " INDICATION:  Cough.\n", HEAD + " FINDINGS: \n"])
def test_a_report_that_concludes_nothing_is_dropped_by_name(report: str) -> None:
    made = adapt(report=report)
    assert isinstance(made, Drop)
    assert made.reason == "report_empty"


def test_a_study_without_report_is_dropped_by_name() -> None:
    made = adapt(report=None)
    assert isinstance(made, Drop)
    assert made.reason == "report_missing"


@pytest.mark.parametrize(("split", "ours"), [("train", "train"), ("test", "eval")])
def test_the_official_split_holds(split: str, ours: str) -> None:
    made = adapt(split=split)
    assert isinstance(made, Draft)
    assert made.split == ours


def test_the_validation_patients_are_left_out_by_name() -> None:
    made = adapt(split="validate")
    assert isinstance(made, Drop)
    assert made.reason == "split_validate"


@pytest.mark.parametrize(
    ("view", "reason"),
    [("LATERAL", "view_lateral"), ("LL", "view_lateral"), ("", "view_unknown"), ("SWIMMERS", "view_other")],
)
def test_views_that_are_not_frontal_are_left_out_by_name(view: str, reason: str) -> None:
    made = adapt(ViewPosition=view)
    assert isinstance(made, Drop)
    assert made.reason == reason


def test_the_picture_lies_in_the_study_of_the_patient() -> None:
    made = adapt(dicom_id="d", study_id="50414267", subject_id="10000032")
    assert isinstance(made, Draft)
    assert made.images[0].file == "files/p10/p10000032/s50414267/d.jpg"


def test_the_report_lies_beside_the_study_in_a_folder_or_an_archive() -> None:
    assert report_path("10000032", "50414267") == "p10/p10000032/s50414267.txt"


@pytest.mark.parametrize("changes", [{"dicom_id": "../d"}, {"dicom_id": ""}, {"report": 7}, {"split": "dev"}])
def test_another_form_of_id_report_or_split_is_no_row_of_ours(changes: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        adapt(**changes)


def test_a_study_id_that_climbs_out_is_no_row_of_ours() -> None:
    with pytest.raises(RowError, match="two numbers of 8 digits"):
        adapt(study_id="../../../etc")
