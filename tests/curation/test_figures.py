"""Statistical figures: charts go under their name, pictures stay, every score is told, only `off` lets data pass."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medmax_pipeline.config import Curation, Weights
from medmax_pipeline.curation import figure_sheets
from medmax_pipeline.curation.figure_prompts import PROMPTS, prompts_named
from medmax_pipeline.curation.figure_scores import Job, Scorer, run_job
from medmax_pipeline.curation.figures import BINS, SCORE_SCHEMA, Shown, distribution, seen_by_anybody, verdicts
from medmax_pipeline.curation.planted_charts import charts_missed
from medmax_pipeline.curation.steps import curated_step, figure_sources, figures_step
from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.files import sha256_bytes, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models.similarity import open_similarity
from medmax_pipeline.models.steps import similarity_model_step
from medmax_pipeline.sample.charts import HELD_OUT, draw_chart
from medmax_pipeline.sample.drawn import Chest, draw_chest
from medmax_pipeline.sources import source
from medmax_pipeline.sources.pmc_oa import split_of
from medmax_pipeline.steps import Artifact, Step
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, question
from tests.models.clips import lay_clip, png

TRAIN = next(f"PMC{number}" for number in range(1, 99) if split_of(f"PMC{number}") == "train")
EVAL = next(f"PMC{number}" for number in range(1, 99) if split_of(f"PMC{number}") == "eval")
SOURCES = ("pmc_oa", "vqa_rad")
ON = {"figures": "similarity", "figures_threshold": 0.1, "leakage": "off", "duplicates": "off"}


def drawn(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


CHARTS = [drawn(draw_chart(HELD_OUT + 500 + number)) for number in range(4)]
CHESTS = [drawn(draw_chest(Chest("PA", 0.45, seed=7000 + number))) for number in range(3)]


class House:
    """Articles with charts and chests, and a question about a chart that nobody looks at; the shipped scorer."""

    def __init__(self, root: Path) -> None:
        self.landing = root / "landing"
        self.ledger = Ledger(root / "store", "test", self.landing)
        self.launched = 0
        pictures = {f"{TRAIN}_Fig{number}_1.jpg": data for number, data in enumerate([*CHARTS, *CHESTS])}
        pictures[f"{EVAL}_Fig1_1.jpg"] = CHARTS[0]
        lay_pmc_oa(self.landing, [{"image": name, "caption": f"A figure {name}."} for name in pictures], pictures)
        lay_vqa_rad(self.landing, [question(0, "chart.jpg")], {"chart.jpg": CHARTS[1]})

    def launch(self, arguments: Sequence[str], *, state: Path | None = None) -> None:
        self.launched += 1
        done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LaunchError(done.stderr)

    def steps(self, scorer: Weights | None, changes: dict[str, Any]) -> list[Step]:
        curation = Curation(**{**ON, **changes})
        steps = [step for key in SOURCES for step in (raw_step(source(key), False), samples_step(source(key)))]
        steps += [similarity_model_step(scorer)] if scorer is not None else []
        steps.append(figures_step(SOURCES, curation, scorer is not None))
        return steps + [curated_step(key, curation) for key in SOURCES]

    def build(self, scorer: Weights | None = Weights(kind="sample"), **changes: Any) -> list[str]:  # noqa: B008
        """Build all; keys of the steps that ran."""
        return [step.key for step in self.steps(scorer, changes) if self.ledger.execute(step, launch=self.launch)[1]]

    def need(self, key: str) -> Artifact:
        return self.ledger.need(key)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Built once; tests only read it, but for the one that builds on."""
    made = House(tmp_path_factory.mktemp("house"))
    made.build()
    return made


def test_charts_go_by_name_and_pictures_stay(house: House) -> None:
    counts = house.need("pmc_oa/curated").manifest.counts
    assert counts.dropped == {"statistical_figure": 4, "evaluation_row": 1}
    assert counts.kept == 3
    assert house.need("figures").manifest.counts.dropped == {"statistical_figure": 4}


def test_a_drop_tells_score_and_picture(house: House) -> None:
    rows = pq.read_table(house.need("figures").folder / "pmc_oa.parquet").to_pylist()
    assert {row["image_id"] for row in rows} == {sha256_bytes(data) for data in CHARTS}
    assert all(row["detail"].endswith("above 0.1") for row in rows)


def test_every_picture_of_training_samples_has_its_scores(house: House) -> None:
    rows = pq.read_table(house.need("figures").folder / "scores.parquet").to_pylist()
    assert {row["image_id"] for row in rows} == {sha256_bytes(data) for data in (*CHARTS, *CHESTS)}
    for row in rows:
        assert row["score"] == pytest.approx(row["figure"] - row["medical"], abs=1e-3)
        assert row["nearest_figure"] in PROMPTS["v1"].figure
        assert row["unscored"] == ""


def test_distribution_and_both_sides_are_there_to_see(house: House) -> None:
    summary = house.need("figures").manifest.summary
    shown: Any = summary["distribution"]
    assert sum(shown["counts"]) == summary["pictures"] == 7
    assert (summary["scorer"], summary["pictures_above"]) == ("sample_similarity", 4)
    for name in ("figure_scores", "figures_dropped", "figures_kept"):
        with Image.open(house.need("figures").folder / "log" / f"{name}.png") as image:
            assert image.width > 100


def test_a_source_that_is_not_named_is_not_looked_at(house: House) -> None:
    assert house.need("vqa_rad/curated").manifest.counts.kept == 1
    assert list(house.need("figures").manifest.parts) == ["pmc_oa"]
    assert figure_sources(Curation(), ("vqa_rad", "pmc_oa")) == ["pmc_oa"]


def test_another_threshold_runs_its_cone_and_scores_nothing_again(house: House) -> None:
    before = house.launched
    assert house.build(figures_threshold=2.0) == ["figures", "pmc_oa/curated"]
    assert house.need("pmc_oa/curated").manifest.counts.kept == 7
    assert house.build() == []
    assert house.need("figures").manifest.params["threshold"] == 0.1
    assert house.launched == before


def test_without_a_similarity_model_figures_and_their_cone_are_locked(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.build(scorer=None)
    assert house.need("figures").locked
    assert house.need("pmc_oa/curated").locked
    assert not house.need("vqa_rad/curated").locked
    lock = house.need("figures").manifest.lock
    assert lock is not None
    assert "similarity_model" in lock.cure
    house.build(scorer=None, figures="off")
    assert house.need("pmc_oa/curated").manifest.counts.kept == 7
    assert house.need("pmc_oa/curated").manifest.params["figures"] == "off"
    assert house.need("figures").manifest.params["mode"] == "off"
    assert house.launched == 0


def test_an_unknown_list_of_descriptions_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="v1"):
        prompts_named("v0")


def test_one_figure_among_several_pictures_is_enough_and_the_threshold_itself_is_not() -> None:
    samples = [Shown("a", ("x", "y"), False), Shown("b", ("x",), False), Shown("c", ("z",), False)]
    found = list(verdicts(samples, {"x": 0.5, "y": 0.6}, 0.5))
    assert [(row["sample_id"], row["image_id"]) for row in found] == [("a", "y")]


def test_a_picture_of_any_credentialed_sample_is_on_no_sheet() -> None:
    samples = [Shown("a", ("x", "y"), False), Shown("b", ("y",), True)]
    assert seen_by_anybody(samples, {"x": 0.1, "y": 0.2}) == {"x": 0.1}


def test_bars_hold_every_score_the_ends_too() -> None:
    told: Any = distribution([-1.0, 0.0, 1.0])
    assert (len(told["counts"]), sum(told["counts"]), told["counts"][-1]) == (BINS, 3, 1)
    assert distribution([]) == {"from": 0.0, "width": 0.0, "counts": []}
    assert figure_sheets.histogram([0.25], 0.25).startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_read_is_told_and_spoils_no_other(tmp_path: Path) -> None:
    scorer = Scorer(open_similarity(lay_clip(tmp_path / "clip")), ["a chart"], ["a chest"])
    rows = scorer.rows(["a", "b", "c"], [png(40, 40), b"no picture", png(50, 40)])
    assert [row["unscored"] for row in rows] == ["", "image_not_an_image", ""]
    assert rows[1]["score"] is None
    assert rows[0] == scorer.rows(["a"], [png(40, 40)])[0]


def test_a_part_that_is_there_is_not_made_again(house: House, tmp_path: Path) -> None:
    images = house.need("pmc_oa/samples").folder / "images.parquet"
    ids = [sha256_bytes(data) for data in CHESTS]
    row = dict.fromkeys(SCORE_SCHEMA.names) | {"image_id": ids[0], "unscored": "made before"}
    write_table(tmp_path / "part-000000.parquet", pa.Table.from_pylist([row], schema=SCORE_SCHEMA))
    write_table(tmp_path / "wanted.parquet", pa.table({"image_id": ids}))
    job = Job(
        similarity="",
        landing=str(house.landing),
        images=(str(images),),
        wanted=str(tmp_path / "wanted.parquet"),
        results=str(tmp_path),
        figure=("a chart",),
        medical=("a chest",),
    )
    with ImageReader(house.landing, [images]) as reader:
        run_job(job, reader, open_similarity(lay_clip(tmp_path / "clip")))
    found = {
        row["image_id"]: row["unscored"] for path in tmp_path.glob("part-*") for row in pq.read_table(path).to_pylist()
    }
    assert found == {ids[0]: "made before", ids[1]: "", ids[2]: ""}


def corpus(folder: Path, house: House) -> Path:
    """Who the house's pictures are, as the sample corpus tells it."""
    rows = [{"image_id": sha256_bytes(data), "image_flag": "synthetic", "planted": "chart"} for data in CHARTS]
    rows += [{"image_id": sha256_bytes(data), "image_flag": "real", "planted": ""} for data in CHESTS]
    write_table(folder / "pmc_oa.parquet", pa.Table.from_pylist(rows))
    return folder / "pmc_oa.parquet"


def test_the_check_passes_here_and_names_missed_charts_and_accused_pictures(house: House, tmp_path: Path) -> None:
    figures, planted = house.need("figures").folder, corpus(tmp_path, house)
    assert charts_missed(figures, planted, 0.1) == []
    (missed,) = charts_missed(figures, planted, 2.0)
    assert "0 of 4 planted charts" in missed
    (accused,) = charts_missed(figures, planted, -2.0)
    assert "3 of 3 real pictures" in accused
