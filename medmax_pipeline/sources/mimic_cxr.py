"""MIMIC-CXR-JPG: chest radiographs with their radiology reports (PhysioNet, credentialed).

Quirks of the upstream, each met below: pictures and reports are two data sets, and the report of a study lies *beside*
the study's folder; split and view stand in two tables that join by `dicom_id`; a study has one report and one or more
pictures, so its frontal ones become a sample each; report headers are misspelt and of any case; "findings and
impression" counts as impression; addenda stand on top, divided by a line of underscores; some reports are empty.
Reports come as one archive, read where it lies, or unpacked. The tables are still named 2.0.0 in release 2.1.0 of
2024; both releases are read.

The reference's choice of views and sections is not published. Ours: frontal views (PA, AP); findings and impression,
each the last of its name, and where both are missing the official order of conclusions (last paragraph, comparison).
The official parser's custom rules for about 45 single studies are left out. Never ship real text or pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import IMAGE, Draft, Drop, ImageRef, Split, Turn
from medmax_pipeline.sources.record import Access, Adapted, Count, ExpectedFile, Licence, Row, RowFiles, Source
from medmax_pipeline.sources.text import clean, need

SPLIT_TABLE: Final = "mimic-cxr-2.0.0-split.csv.gz"
REPORTS: Final = "mimic-cxr-reports.zip"
METADATA_TABLE: Final = "mimic-cxr-2.0.0-metadata.csv.gz"
PROMPT: Final = "Examine this medical image and document your observations in a standard clinical report format."
"""The report instruction shown in the paper's figures; its full list of templates is not published."""
SPLITS: Final[Mapping[str, Split | None]] = {"train": "train", "test": "eval", "validate": None}
FRONTAL: Final = ("PA", "AP")
LATERAL: Final = ("LATERAL", "LL", "RL")
SPLIT_VALIDATE: Final = "split_validate"
VIEW_LATERAL: Final = "view_lateral"
VIEW_OTHER: Final = "view_other"
VIEW_UNKNOWN: Final = "view_unknown"
REPORT_MISSING: Final = "report_missing"
REPORT_EMPTY: Final = "report_empty"
METADATA_COLUMNS: Final = ("ViewPosition", "PerformedProcedureStepDescription", "Rows", "Columns")
_NUMBER = re.compile(r"[0-9]{8}")
_DICOM = re.compile(r"[0-9A-Za-z-]+")
_ADDENDUM_RULE = re.compile(r"^[ \t]*_{5,}[ \t]*$", re.MULTILINE)
_HEADER = re.compile(r"^[ \t]{0,3}([A-Za-z][A-Za-z ()/,\-]{2,40}?)[ \t]*:", re.MULTILINE)
_NAMES: Final[Mapping[str, str]] = {
    "findings": "findings",
    "finding": "findings",
    "fidings": "findings",
    "findngs": "findings",
    "impression": "impression",
    "impresson": "impression",
    "imprssion": "impression",
    "impressions": "impression",
    "conclusion": "impression",
    "findings and impression": "impression",
    "findings/impression": "impression",
    "comparison": "comparison",
    "comparisons": "comparison",
}
"""Headers that carry a conclusion, misspellings included; matched in any case."""


class Section(NamedTuple):
    """One headed part of a report; the part before the first header has an empty name."""

    name: str
    text: str


def rows(files: RowFiles) -> Iterator[Row]:
    """Rows of the split table with the metadata of the picture and the report of its study."""
    metadata = {
        row.values["dicom_id"]: tuple(row.values.get(name, "") for name in METADATA_COLUMNS)
        for row in files.csv(METADATA_TABLE)
        if row.values.get("dicom_id")
    }
    for row in files.csv(SPLIT_TABLE):
        if row.fault:
            yield row
            continue
        values = dict(row.values)
        known = metadata.get(values.get("dicom_id", ""), ("",) * len(METADATA_COLUMNS))
        values |= dict(zip(METADATA_COLUMNS, known, strict=True))
        subject, study = values.get("subject_id", ""), values.get("study_id", "")
        known_form = _NUMBER.fullmatch(subject) and _NUMBER.fullmatch(study)
        values["report"] = files.text(report_path(subject, study)) if known_form else None
        yield row._replace(values=values)


def study_folder(subject_id: str, study_id: str) -> str:
    """Folder of a study's pictures."""
    return f"files/p{subject_id[:2]}/p{subject_id}/s{study_id}"


def report_path(subject_id: str, study_id: str) -> str:
    """End of the path of a study's report, loose or in the archive: it lies beside the study's folder."""
    return f"{study_folder(subject_id, study_id).removeprefix('files/')}.txt"


def _headers(report: str) -> list[tuple[int, int, str]]:
    """Start, end and plain name of each header: capitals and a colon, or a known word in any case."""
    found = []
    for match in _HEADER.finditer(report):
        word = " ".join(match.group(1).lower().split())
        if match.group(1).isupper() or word in _NAMES:
            found.append((match.start(), match.end(), _NAMES.get(word, word)))
    return found


def sections(report: str) -> list[Section]:
    """A report's headed parts in order, blanks collapsed; what stands above the first header comes first."""
    headers = _headers(report)
    parts = [Section("", report[: headers[0][0]] if headers else report)]
    for index, (_, end, name) in enumerate(headers):
        until = headers[index + 1][0] if index + 1 < len(headers) else len(report)
        parts.append(Section(name, report[end:until]))
    return [Section(part.name, " ".join(_ADDENDUM_RULE.sub(" ", part.text).split())) for part in parts]


def conclusion(report: str) -> str:
    """What a report concludes: findings and impression, else its last paragraph, else the comparison, else nothing."""
    last = {part.name: part.text for part in sections(report) if part.text}
    chosen = [last[name] for name in ("findings", "impression") if name in last]
    if chosen:
        return " ".join(chosen)
    return _last_paragraph(report) or last.get("comparison", "")


def _last_paragraph(report: str) -> str:
    """The last block of text, unless a header opens it or it is but a title in capitals."""
    blocks = [block for block in re.split(r"\n\s*\n", _ADDENDUM_RULE.sub("\n\n", report)) if block.strip()]
    if not blocks or _headers(blocks[-1]) or blocks[-1].strip().isupper():
        return ""
    return " ".join(blocks[-1].split())


def _view_drop(view: str) -> Drop | None:
    if view in FRONTAL:
        return None
    if not view:
        return Drop(VIEW_UNKNOWN)
    return Drop(VIEW_LATERAL if view in LATERAL else VIEW_OTHER, view)


def adapt(row: Mapping[str, Any]) -> Adapted:
    """One radiograph with the report of its study.

    Raises:
        RowError: an id is missing or malformed, or `split` is none of train, validate and test.
    """
    dicom, study, subject, split = map(clean, need(row, "dicom_id", "study_id", "subject_id", "split"))
    if not (_DICOM.fullmatch(dicom) and _NUMBER.fullmatch(study) and _NUMBER.fullmatch(subject)):
        raise RowError(f"ids are {dicom!r}, {study!r}, {subject!r}; expected a DICOM id and two numbers of 8 digits.")
    if split not in SPLITS:
        raise RowError(f"split is {split!r}; expected one of {', '.join(SPLITS)}.")
    ours = SPLITS[split]
    if ours is None:
        return Drop(SPLIT_VALIDATE)
    view = clean(row.get("ViewPosition")).upper()
    dropped = _view_drop(view)
    if dropped is not None:
        return dropped
    if row.get("report") is None:
        return Drop(REPORT_MISSING, f"s{study}")
    if not isinstance(row["report"], str):
        raise RowError(f"report is {type(row['report']).__name__}; expected a text.")
    text = conclusion(row["report"])
    if not text:
        return Drop(REPORT_EMPTY, f"s{study}")
    return Draft(
        key=dicom,
        split=ours,
        kind="report_generation",
        turns=(Turn("user", f"{IMAGE}{PROMPT}"), Turn("assistant", text)),
        images=(ImageRef(f"{study_folder(subject, study)}/{dicom}.jpg"),),
        answer=text,
        modality="radiograph",
        context=text,
        extra=json.dumps({"study_id": study, "subject_id": subject, "view": view}),
    )


SOURCE = Source(
    key="mimic_cxr",
    title="MIMIC-CXR-JPG",
    access=Access(
        kind="manual",
        page="https://physionet.org/content/mimic-cxr-jpg/",
        how="Complete PhysioNet's training and sign its data use agreement; download MIMIC-CXR-JPG (tables and files/) "
        f"and put {REPORTS} of MIMIC-CXR beside them, packed, or unpacked so that each sNNNNNNNN.txt lies beside its "
        "study's folder.",
    ),
    licence=Licence(
        "PhysioNet-Credentialed-1.5.0",
        "https://physionet.org/content/mimic-cxr-jpg/view-license/",
        "2026-11-23, access class as published, version of the licence from memory",
    ),
    credentialed=True,
    files=(
        ExpectedFile(SPLIT_TABLE, "dicom_id, study_id, subject_id, split"),
        ExpectedFile(METADATA_TABLE, "dicom_id, ViewPosition and more"),
        ExpectedFile(REPORTS, "the reports of MIMIC-CXR, as they come", group="reports"),
        ExpectedFile("files/p*/p*/s*.txt", "the same, unpacked", group="reports"),
        ExpectedFile("files/p*/p*/s*/*.jpg", "the radiographs", pictures=True),
    ),
    row_count=Count(377_110, "publisher's notebook: 368,960 train, 2,991 validate, 5,159 test"),
    image_count=Count(377_110, "publisher's notebook; 253,714 of them frontal"),
    split_rule="publisher's, by patient: train is train, test is eval, validate is left out",
    rows=rows,
    adapt=adapt,
    placeholder=PROMPT,
    example={
        "dicom_id": "00000001-00000002-00000003-00000004-00000005",
        "study_id": "50000001",
        "subject_id": "10000001",
        "split": "train",
        "ViewPosition": "PA",
        "PerformedProcedureStepDescription": "CHEST (PA AND LAT)",
        "Rows": "3056",
        "Columns": "2544",
        "report": "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n"
        " FINDINGS: \n \n The lungs are clear.\n \n IMPRESSION: \n \n No acute process.\n",
    },
)
