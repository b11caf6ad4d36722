"""The rows of the suite about pictures and text: whose samples they take, and a whole job of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.arrow import samples_to_table
from medmax_pipeline.eval.job import Job, SimilarityJob, TaskJob
from medmax_pipeline.eval.records import ITEMS, ItemRecord, read_records
from medmax_pipeline.eval.runner import run_job
from medmax_pipeline.eval.scorers import Names, bound
from medmax_pipeline.eval.scores import score_task
from medmax_pipeline.eval.tasks import TASKS, task
from medmax_pipeline.files import write_table
from medmax_pipeline.records import Kind, Sample
from tests.eval.conftest import JUDGE, World, sample
from tests.models.clips import lay_clip

PUBLISHED = "medmax_eval_data"
SOURCES: Mapping[str, tuple[str, ...]] = {
    "image_captioning/pmc_oa": ("pmc_oa", PUBLISHED),
    "image_captioning/quilt": ("quilt_1m", PUBLISHED),
    "image_captioning/report": ("mimic_cxr", PUBLISHED),
    "image_generation/pmc_oa": ("pmc_oa", PUBLISHED),
    "image_generation/quilt": ("quilt_1m", PUBLISHED),
    "image_generation/report": ("mimic_cxr", PUBLISHED),
    "visual_chat": ("llava_med_chat", PUBLISHED),
    "mm_out/pmc_oa": (PUBLISHED,),
    "mm_out/quilt": (PUBLISHED,),
}
KINDS: Mapping[str, Kind] = {
    "image_captioning/pmc_oa": "captioning",
    "image_captioning/quilt": "captioning",
    "image_captioning/report": "report_generation",
    "image_generation/pmc_oa": "generation",
    "image_generation/quilt": "generation",
    "image_generation/report": "radiograph_generation",
    "visual_chat/conversation": "visual_chat",
    "visual_chat/detailed_description": "visual_chat",
    "mm_out/pmc_oa": "interleaved",
    "mm_out/quilt": "interleaved",
    "vqa_rad/open": "vqa_open",
}
"""Kinds of the published evaluation set by its task and type."""
NAMES = Names("sample_judge", "tiny_clip")


def published(number: int, answer_type: str) -> Sample:
    """A row of the published evaluation set."""
    kind = KINDS[answer_type]
    shown = kind not in ("generation", "radiograph_generation", "interleaved")
    made = sample(number, source=PUBLISHED, kind=kind, text="<image>What is it?" if shown else "a retina")
    secret = answer_type.endswith("/report")
    images = sample(0, image=f"figure{number % 10}").images
    return replace(made, answer_type=answer_type, images=images, answer="a retina", credentialed=secret)


ROWS = [published(3 * n + k, answer_type) for n, answer_type in enumerate(KINDS) for k in range(3)]


@pytest.mark.parametrize("key", SOURCES)
def test_a_row_knows_its_sources_and_takes_the_publishers_first(key: str) -> None:
    assert tuple(task(key).rows) == SOURCES[key]


@pytest.mark.parametrize("key", SOURCES)
def test_of_the_published_set_a_row_takes_its_own_rows_alone(key: str) -> None:
    taken = {each.answer_type for each in ROWS if task(key).accepts(each)}
    assert taken == {name for name in KINDS if name == key or name.startswith(f"{key}/")}


@pytest.mark.parametrize(
    ("key", "source", "kind"),
    [
        ("image_captioning/quilt", "quilt_1m", "captioning"),
        ("image_captioning/report", "mimic_cxr", "report_generation"),
        ("image_generation/quilt", "quilt_1m", "captioning"),
        ("image_generation/report", "mimic_cxr", "report_generation"),
        ("visual_chat", "llava_med_chat", "visual_chat"),
    ],
)
def test_a_publishers_held_out_samples_are_items(key: str, source: str, kind: Kind) -> None:
    assert task(key).accepts(sample(1, source=source, kind=kind))
    assert not task(key).accepts(sample(1, source=source, kind=kind, split="train"))
    assert not task(key).accepts(sample(1, source="slake", kind=kind))


@pytest.fixture(scope="module")
def out(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole job of the nine rows, with the embedded build's judge and a small CLIP."""
    at = tmp_path_factory.mktemp("suite")
    samples = at / "samples.parquet"
    write_table(samples, samples_to_table(ROWS))
    clip = lay_clip(at / "tiny_clip")
    job = Job(
        model_name="tiny",
        model=str(world.model),
        text_tokenizer=str(world.text),
        image_tokenizer=str(world.vqgan),
        codes=str(world.codes),
        device="cpu",
        judge=JUDGE,
        replies=str(at / "replies"),
        similarity=SimilarityJob(name="tiny_clip", folder=str(clip)),
        tasks=tuple(
            TaskJob(task=key, samples=(str(samples),), seed=0, work=str(at / "work" / key), out=str(at / "out" / key))
            for key in SOURCES
        ),
    )
    run_job(job, lambda line: None)
    return at / "out"


def records(out: Path, key: str) -> list[ItemRecord]:
    """The records of one task."""
    return read_records(out / key / ITEMS)


@pytest.mark.parametrize("key", SOURCES)
def test_a_figure_is_known_or_its_record_says_why(out: Path, key: str) -> None:
    found = records(out, key)
    assert len(found) == (6 if key == "visual_chat" else 3)
    for each in found:
        promised = {m.name for m in bound(TASKS[key], NAMES).metrics if m.lock is None}
        assert promised <= each.metrics.keys()
        assert bool(each.unscored) == (None in each.metrics.values())


def test_judged_rows_are_known_by_the_judges_score_and_the_papers_stays_locked(out: Path) -> None:
    for key in ("visual_chat", "mm_out/quilt"):
        rows = score_task(bound(task(key), NAMES), records(out, key))
        found = {row.metric: row for row in reversed(rows)}  # rows of parts follow those of all items
        mine, paper = found["relative_score@sample_judge"], found["relative_score@gpt-4o-mini"]
        assert (mine.status, mine.headline, mine.share) == ("ok", True, False)
        assert (paper.status, paper.headline) == ("locked", False)


def test_chats_records_know_both_question_types(out: Path) -> None:
    assert {each.question_type for each in records(out, "visual_chat")} == {"conversation", "detailed_description"}


def test_credentialed_reports_are_asked_of_the_model_and_of_nobody_else(out: Path) -> None:
    for key in ("image_captioning/report", "image_generation/report"):
        assert all(each.credentialed for each in records(out, key))
        assert not {metric.by for metric in task(key).metrics} & {"judge"}
