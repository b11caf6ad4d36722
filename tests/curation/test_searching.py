"""A training set seeded with changed copies of evaluation pictures loses them and says which."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from medmax_pipeline.config import Curation
from medmax_pipeline.curation.checks import planted_missed
from medmax_pipeline.curation.steps import curated_step, duplicates_step, leakage_step
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources import source
from tests.curation.real import png, real
from tests.curation.test_steps import TRAIN
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, question

SOURCES = ("pmc_oa", "vqa_rad")
NEAR = Curation(duplicates="near", leakage="near")


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Two evaluation pictures; changed copies of both, a clean picture twice, and another one in the training set."""
    root = tmp_path_factory.mktemp("seeded")
    tibia, colon, clean, other = (real(name)[0].image() for name in ("tibia", "colon", "shoulder_mr", "head_ct"))
    lay_vqa_rad(
        root / "landing",
        [question(0, "tibia.jpg", phrase_type="test_para"), question(1, "colon.jpg", phrase_type="test_freeform")],
        {"tibia.jpg": png(tibia), "colon.jpg": png(colon)},
    )
    seeded = {
        "flipped": jpeg(ImageOps.mirror(tibia)),
        "cut": jpeg(colon.crop((12, 6, colon.width - 9, colon.height - 15)).resize((190, 180))),
        "clean": png(clean),
        "again": jpeg(clean.resize((clean.width * 3 // 4, clean.height * 3 // 4), Image.Resampling.LANCZOS)),
        "other": png(other),
    }
    names = {name: f"{TRAIN}_Fig{at}_1.jpg" for at, name in enumerate(seeded)}
    said = {"clean": "A shoulder.", "again": "A  shoulder"}
    rows = [{"image": names[name], "caption": said.get(name, f"This is {name}.")} for name in seeded]
    lay_pmc_oa(root / "landing", rows, {names[name]: data for name, data in seeded.items()})
    made = Ledger(root / "store", "test", root / "landing")
    steps = [step for key in SOURCES for step in (raw_step(source(key), False), samples_step(source(key)))]
    steps += [duplicates_step(SOURCES, "near"), leakage_step(SOURCES, "near"), curated_step("pmc_oa", NEAR)]
    for step in steps:
        made.execute(step)
    return made


def test_the_copies_are_dropped_by_name_and_the_clean_stay(ledger: Ledger) -> None:
    counts = ledger.need("pmc_oa/curated").manifest.counts
    assert counts.dropped == {"leak_near": 2, "duplicate_near": 1}
    assert counts.kept == 2


def test_each_leak_says_which_picture_it_shows_and_how(ledger: Ledger) -> None:
    rows = pq.read_table(ledger.need("leakage").folder / "pmc_oa.parquet").to_pylist()
    shown = {row["eval_image"]: row["change"] for row in rows}
    tibia, colon = (sha256_bytes(png(real(name)[0].image())) for name in ("tibia", "colon"))
    assert shown.keys() == {tibia, colon}
    assert "flipped" in shown[tibia]


def test_the_evaluation_items_are_flagged_and_counted(ledger: Ledger) -> None:
    folder = ledger.need("leakage").folder
    items = pq.read_table(folder / "evaluated.parquet").to_pylist()
    assert {(item["source"], item["train_source"], item["reason"]) for item in items} == {
        ("vqa_rad", "pmc_oa", "leak_near")
    }
    (row,) = pq.read_table(folder / "table.parquet").to_pylist()
    assert (row["items"], row["of_items"], row["images"], row["near"]) == (2, 2, 2, 2)
    assert (folder / "log" / "leaks.png").is_file()


def test_the_search_was_proven(ledger: Ledger) -> None:
    assert planted_missed(ledger.need("leakage").manifest.summary) == []


def test_the_rescaled_copy_is_in_one_cluster_with_what_is_kept(ledger: Ledger) -> None:
    rows = pq.read_table(ledger.need("duplicates").folder / "clusters.parquet").to_pylist()
    clean = sha256_bytes(png(real("shoulder_mr")[0].image()))
    (cluster,) = {row["cluster"] for row in rows if row["image_id"] == clean}
    assert sorted(row["how"] for row in rows if row["cluster"] == cluster) == ["kept", "near"]
