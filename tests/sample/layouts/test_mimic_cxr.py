"""The sample's MIMIC-CXR-JPG is laid out as the publisher's; its reports say what was drawn."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from medmax_pipeline.sample.drawn import Chest
from medmax_pipeline.sample.layouts.mimic_cxr import LABELS, REPORTS, Study, mimic_cxr, report
from medmax_pipeline.sources.mimic_cxr import conclusion
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

PLAIN = Study(10_999_001, 50_999_101, "train", ("PA",), (), Chest("PA", 0.45))


@pytest.fixture(scope="module")
def folder(laid: Laid) -> Path:
    return laid.landing / "mimic_cxr"


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, str]:
    """Reports by the path of their study's folder."""
    with zipfile.ZipFile(folder / REPORTS) as archive:
        return {name.removesuffix(".txt"): archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "mimic_cxr")


def _table(folder: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(folder / f"mimic-cxr-2.0.0-{name}.csv.gz", "rt", newline="") as handle:
        return list(csv.DictReader(handle))


def test_pictures_lie_where_the_tables_say_and_one_is_missing(folder: Path) -> None:
    rows = _table(folder, "split")
    paths = [
        folder / f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}/{row['dicom_id']}.jpg"
        for row in rows
    ]
    assert sum(not path.exists() for path in paths) == 1
    assert {path for path in paths if path.exists()} == set(folder.glob("files/*/*/*/*.jpg"))


def test_ids_have_the_publishers_form(folder: Path) -> None:
    for row in _table(folder, "split"):
        assert re.fullmatch(r"1\d{7}", row["subject_id"])
        assert re.fullmatch(r"5\d{7}", row["study_id"])
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", row["dicom_id"])


def test_a_patient_lies_in_one_of_three_splits(folder: Path) -> None:
    pairs = {(row["subject_id"], row["split"]) for row in _table(folder, "split")}
    assert {split for _, split in pairs} == {"train", "validate", "test"}
    assert len(pairs) == len({subject for subject, _ in pairs})


def test_views_of_every_kind_occur(folder: Path) -> None:
    views: dict[str, set[str]] = {}
    for row in _table(folder, "metadata"):
        views.setdefault(row["study_id"], set()).add(row["ViewPosition"])
    kinds = {frozenset(each) for each in views.values()}
    assert {frozenset({"PA", "LATERAL"}), frozenset({"LATERAL"}), frozenset({"AP"})} <= kinds


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested, folder: Path) -> None:
    rows = _table(folder, "metadata")
    lateral = sum(row["ViewPosition"] == "LATERAL" for row in rows)
    validate = sum(row["split"] == "validate" for row in _table(folder, "split"))
    kept, dropped, quarantined = made.figures
    assert kept > 50
    assert dropped.keys() == {"report_empty", "report_missing", "split_validate", "view_lateral"}
    assert (dropped["report_empty"], dropped["report_missing"], dropped["split_validate"]) == (1, 1, validate)
    assert 0 < dropped["view_lateral"] <= lateral
    assert quarantined == {"image_missing": 1, "image_truncated": 1}


def test_reports_are_read_in_their_archive_and_samples_are_credentialed(
    made: Ingested, reports: dict[str, str]
) -> None:
    for sample in made.samples:
        known = json.loads(sample.extra)
        text = reports[f"files/p{known['subject_id'][:2]}/p{known['subject_id']}/s{known['study_id']}"]
        assert sample.answer == conclusion(text)
        assert sample.credentialed


def test_all_three_splits_become_train_eval_and_nothing(made: Ingested, folder: Path) -> None:
    ours = {json.loads(sample.extra)["subject_id"]: sample.split for sample in made.samples}
    theirs = {row["subject_id"]: row["split"] for row in _table(folder, "split")}
    assert {(theirs[subject], split) for subject, split in ours.items()} == {("train", "train"), ("test", "eval")}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("FIDINGS:", "The heart"),
        (" findings:", "The heart"),
        ("_____\n", "The heart"),
    ],
)
def test_a_report_with_an_odd_header_or_an_addendum_is_kept_with_its_findings(
    made: Ingested, reports: dict[str, str], fault: str, said: str
) -> None:
    (study,) = (path.rpartition("/s")[2] for path, text in reports.items() if fault in text)
    found = [sample for sample in made.samples if json.loads(sample.extra)["study_id"] == study]
    assert found
    assert all(sample.answer.startswith(said) for sample in found)


def test_a_study_without_findings_speaks_by_its_impression(made: Ingested, reports: dict[str, str]) -> None:
    (study,) = (
        path.rpartition("/s")[2]
        for path, text in reports.items()
        if "IMPRESSION:" in text and not re.search("findings", text, re.IGNORECASE)
    )
    (found,) = (sample for sample in made.samples if json.loads(sample.extra)["study_id"] == study)
    assert json.loads(found.extra)["view"] == "AP"
    assert "The heart" not in found.answer


def test_report_faults_occur(folder: Path, reports: dict[str, str]) -> None:
    studies = {str(path.parent.relative_to(folder)) for path in folder.glob("files/*/*/*/*.jpg")}
    assert len(studies - reports.keys()) == 1
    texts = [reports[study] for study in studies & reports.keys()]
    for fault in ("FIDINGS:", "IMPRESSON:", " findings:", "____\n"):
        assert any(fault in text for text in texts), fault
    assert any(not re.search(r"findings", text, re.IGNORECASE) and "IMPRESSION:" in text for text in texts)
    assert [text for text in texts if not conclusion(text)]


def test_a_truncated_picture_occurs(folder: Path) -> None:
    broken = 0
    for path in folder.glob("files/*/*/*/*.jpg"):
        with Image.open(path) as image:
            try:
                image.load()
            except OSError:
                broken += 1
    assert broken == 1


def test_lines_have_the_publishers_shape(reports: dict[str, str]) -> None:
    for text in reports.values():
        lines = text.splitlines()
        assert all(line.startswith(" ") and len(line) <= 79 for line in lines)


@pytest.mark.parametrize(
    ("chest", "said", "unsaid"),
    [
        (Chest("PA", 0.45), "The lungs are clear.", "Cardiomegaly"),
        (Chest("PA", 0.62), "Cardiomegaly.", "normal in size"),
        (Chest("PA", 0.45, effusion="left"), "There is a left pleural effusion.", "no pleural effusion"),
        (Chest("PA", 0.45, effusion="both"), "There are bilateral pleural effusions.", "There is no"),
        (Chest("PA", 0.45, opacity="right", zone="upper"), "hazy opacity in the right upper lung", "clear"),
        (Chest("PA", 0.45, device=True), "A pacemaker projects over the left chest.", "Cardiomegaly"),
    ],
)
def test_the_report_says_what_is_drawn(chest: Chest, said: str, unsaid: str) -> None:
    text = conclusion(report(replace(PLAIN, findings=chest)))
    assert said in text
    assert unsaid not in text


def test_labels_agree_with_the_report(folder: Path, reports: dict[str, str]) -> None:
    for row in _table(folder, "chexpert"):
        study = f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}"
        text = conclusion(reports.get(study, ""))
        if text and row["Cardiomegaly"]:
            assert (row["Cardiomegaly"] == "1.0") == ("Cardiomegaly" in text)
            assert (row["No Finding"] == "1.0") == ("No acute" in text)
    assert set(LABELS) <= set(_table(folder, "chexpert")[0])


def test_drawn_patients_remain_where_the_real_chest_is_missing() -> None:
    tree = mimic_cxr(())
    assert {placed.image_flag for placed in tree.placed} == {"synthetic"}
    assert tree.files["mimic-cxr-2.0.0-split.csv.gz"]
