"""The sample's MIMIC-CXR-JPG folder, in the publisher's layout with the publisher's quirks.

Nobody's real data: ids are invented, the patients are drawn by `drawn.py`, and the reports say what was drawn. One
patient shows the real PA chest of `pydicom-data` in several windows and cut-outs; its report names view and nothing a
doctor would have to see. Reports come as the one archive that the publisher offers. The faults: studies with a lateral
view only, an AP study without findings, an addendum, lower-case and misspelt headers, an empty report, a missing
report, a table row without its picture, a truncated JPEG.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, get_args

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.records import Split
from medmax_pipeline.sample.drawn import LARGE_HEART, SIDE_PX, Chest, Side, View, Zone, draw_chest
from medmax_pipeline.sample.layout import Tree, gzipped, jpeg, zipped
from medmax_pipeline.sample.layouts import Layout
from medmax_pipeline.sample.pictures import Picture

PublisherSplit = Literal["train", "validate", "test"]
Fault = Literal[
    "", "addendum", "lower case", "misspelt", "empty", "no report", "no findings", "no picture", "truncated"
]
PATIENTS: Final[Mapping[PublisherSplit, int]] = {"train": 36, "validate": 4, "test": 10}
REPORTS: Final = "mimic-cxr-reports.zip"
FIRST_SUBJECT: Final = 10_999_000
FIRST_STUDY: Final = 50_999_000
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)[1:]
SIDES: Final[Mapping[PublisherSplit, Split]] = {"train": "train", "validate": "eval", "test": "eval"}
"""Side of the project's split; the adapter leaves `validate` out."""
LABELS: Final = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
METADATA: Final = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns",
    "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip
VIEW_WORDS: Final[Mapping[str, str]] = {
    "PA": "postero-anterior",
    "AP": "antero-posterior",
    "LATERAL": "lateral",
}


@dataclass(frozen=True, slots=True)
class Study:
    """One study: its pictures with their views, what is in them, and what is wrong with its files."""

    subject: int
    number: int
    split: PublisherSplit
    views: tuple[View, ...]
    pictures: tuple[Picture, ...]
    findings: Chest | None
    """What was drawn; None for the real radiograph, of which only the view is said."""
    fault: Fault = ""


def mimic_cxr(real: Sequence[Picture]) -> Tree:
    """The folder as a tree; `real` are the pictures of the one real chest, none where the package is missing."""
    tree = Tree("mimic_cxr")
    reports: dict[str, bytes] = {}
    splits, metadata, labels = [], [], []
    for study in (*_real_studies(real), *_drawn_studies()):
        folder = f"files/p{str(study.subject)[:2]}/p{study.subject}/s{study.number}"
        if study.fault != "no report":
            reports[f"{folder}.txt"] = report(study).encode()
        ids = {"subject_id": str(study.subject), "study_id": str(study.number)}
        labels.append(ids | _labels(study.findings))
        for view, picture in zip(study.views, study.pictures, strict=True):
            dicom = dicom_id(study.number, view, picture.name)
            splits.append({"dicom_id": dicom, **ids, "split": study.split})
            metadata.append({"dicom_id": dicom, **ids, **_metadata(study, view, picture)})
            _place(tree, study, picture, f"{folder}/{dicom}.jpg")
    for name, columns, table in (
        ("split", ("dicom_id", "study_id", "subject_id", "split"), splits),
        ("metadata", METADATA, metadata),
        ("chexpert", ("subject_id", "study_id", *LABELS), labels),
    ):
        tree.files[f"mimic-cxr-2.0.0-{name}.csv.gz"] = gzipped(_csv(columns, table))
    tree.files[REPORTS] = zipped(reports)
    return tree


def dicom_id(study: int, view: str, name: str) -> str:
    """An invented id in the publisher's form: five groups of eight hex digits."""
    digits = sha256_bytes(f"{study} {view} {name}".encode())
    return "-".join(digits[start : start + 8] for start in range(0, 40, 8))


def _place(tree: Tree, study: Study, picture: Picture, file: str) -> None:
    data = jpeg(picture.image())
    if study.fault == "no picture":
        return
    if study.fault == "truncated":
        tree.files[file] = data[: len(data) // 3]
        return
    tree.place(picture, data, file, split=SIDES[study.split], text_flag="synthetic")


def _real_studies(real: Sequence[Picture]) -> Iterator[Study]:
    for place, picture in enumerate(real):
        yield Study(FIRST_SUBJECT, FIRST_STUDY + place, "train", ("PA",), (picture,), None)


def _drawn_studies() -> Iterator[Study]:
    generator = random.Random(15)
    number, subject, faults = FIRST_STUDY + 100, FIRST_SUBJECT, list(FAULTS)
    for split, patients in PATIENTS.items():
        for patient in range(patients):
            subject += 1
            for visit in range(1 + patient % 2):
                number += 1
                chest = _invent(generator, number, split)
                fault: Fault = faults.pop(0) if faults and split == "train" and patient % 3 == 1 and not visit else ""
                views = _views(patient + visit, fault)
                pictures = tuple(_picture(subject, number, split, view, chest) for view in views)
                yield Study(subject, number, split, views, pictures, chest, fault)


def _views(place: int, fault: Fault) -> tuple[View, ...]:
    if fault == "no findings":
        return ("AP",)
    if place % 9 == 5:
        return ("LATERAL",)
    return (("PA", "LATERAL"), ("AP",), ("PA",))[place % 3]


def _invent(generator: random.Random, number: int, split: PublisherSplit) -> Chest:
    """A chest at random; findings are commoner in the test split, as the publisher's are."""
    likely = 0.5 if split == "test" else 0.38
    ratio = generator.uniform(0.58, 0.68) if generator.random() < likely else generator.uniform(0.4, 0.5)
    effusion: Side = generator.choice(("left", "right", "both")) if generator.random() < likely else ""
    opacity: Side = generator.choice(("left", "right")) if generator.random() < likely else ""
    zone: Zone = generator.choice(("upper", "middle"))
    return Chest("PA", round(ratio, 3), effusion, opacity, zone, generator.random() < 0.2, number)


def _picture(subject: int, number: int, split: PublisherSplit, view: View, chest: Chest) -> Picture:
    shown = Chest(view, chest.heart_ratio, chest.effusion, chest.opacity, chest.zone, chest.device, number)
    return Picture(
        f"drawn_s{number}_{view}",
        f"drawn_p{subject}",
        SIDES[split],
        "synthetic",
        "radiograph",
        SIDE_PX,
        SIDE_PX,
        partial(draw_chest, shown),
        body_part="chest",
        plane=view,
    )


def report(study: Study) -> str:
    """The study's report, in the publisher's shape: a leading blank on every line, lines of at most 79 characters."""
    if study.fault == "empty":
        return "                                 FINAL REPORT\n \n"
    views = " and ".join(VIEW_WORDS[view] for view in study.views)
    findings, impression = _sentences(study)
    heads = {"misspelt": ("FIDINGS", "IMPRESSON"), "lower case": ("findings", "impression")}
    first, second = heads.get(study.fault, ("FINDINGS", "IMPRESSION"))
    parts = [
        f"EXAMINATION:  CHEST ({', '.join(study.views)})",
        "INDICATION:  ___ year old patient with ___.",
        f"TECHNIQUE:  Chest, {views}.",
        "COMPARISON:  ___",
    ]
    if study.fault != "no findings":
        parts += [f"{first}:", findings]
    parts += [f"{second}:", impression]
    body = "\n \n".join(_wrapped(part) for part in parts)
    text = f"                                 FINAL REPORT\n{body}\n"
    if study.fault == "addendum":
        text = f" ADDENDUM:  The wording was revised on ___.\n ______________________________________\n{text}"
    return text


def _sentences(study: Study) -> tuple[str, str]:
    """Findings and impression, true of the drawing."""
    chest = study.findings
    if chest is None:
        view = VIEW_WORDS[study.views[0]]
        return f"This is a {view} radiograph of the chest.", "Chest radiograph without a clinical reading."
    large = chest.heart_ratio >= LARGE_HEART
    findings = ["The heart is enlarged." if large else "The heart is normal in size."]
    sides = f"{chest.effusion} pleural effusion" if chest.effusion != "both" else "bilateral pleural effusions"
    verb = "are" if chest.effusion == "both" else "is a"
    findings.append(f"There {verb} {sides}." if chest.effusion else "There is no pleural effusion.")
    haze = f"hazy opacity in the {chest.opacity} {chest.zone} lung"
    findings.append(f"There is a {haze}." if chest.opacity else "The lungs are clear.")
    if chest.device:
        findings.append("A pacemaker projects over the left chest.")
    named = [word for word, there in (("Cardiomegaly", large), (sides, chest.effusion), (haze, chest.opacity)) if there]
    impression = ". ".join(word[0].upper() + word[1:] for word in named) or "No acute cardiopulmonary process"
    return " ".join(findings), f"{impression}."


def _labels(chest: Chest | None) -> dict[str, str]:
    if chest is None:
        return {}
    large, effusion, opacity = chest.heart_ratio >= LARGE_HEART, bool(chest.effusion), bool(chest.opacity)
    found = {"Cardiomegaly": large, "Pleural Effusion": effusion, "Lung Opacity": opacity}
    labels = {name: "1.0" if there else "0.0" for name, there in found.items()}
    if chest.device:
        labels["Support Devices"] = "1.0"
    if not (large or effusion or opacity):
        labels["No Finding"] = "1.0"
    return labels


def _metadata(study: Study, view: View, picture: Picture) -> dict[str, str]:
    return {
        "PerformedProcedureStepDescription": f"CHEST ({', '.join(study.views)})",
        "ViewPosition": view,
        "Rows": str(picture.height),
        "Columns": str(picture.width),
        "StudyDate": f"21{study.number % 80 + 10}0101",
        "StudyTime": "120000.000",
        "ProcedureCodeSequence_CodeMeaning": f"CHEST ({', '.join(study.views)})",
        "ViewCodeSequence_CodeMeaning": VIEW_WORDS[view],
        "PatientOrientationCodeSequence_CodeMeaning": "Erect",
    }


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _wrapped(text: str) -> str:
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + len(word) > 76:
            lines.append(line)
            line = ""
        line = f"{line} {word}"
    return "\n".join((*lines, line))


LAYOUT = Layout("mimic_cxr", lambda pool: mimic_cxr(pool.own))
