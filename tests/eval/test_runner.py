"""Whole jobs with a tiny random model: the same records whatever was interrupted, and none without a reason."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import medmax_pipeline.sample
from medmax_pipeline.arrow import samples_to_table
from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.eval.__main__ import main
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.items import as_items
from medmax_pipeline.eval.job import Job, SimilarityJob, read_job
from medmax_pipeline.eval.journal import Journal
from medmax_pipeline.eval.records import ITEMS, ItemRecord, read_records
from medmax_pipeline.eval.runner import JOURNAL, run_job
from medmax_pipeline.eval.tasks import TASKS, task
from medmax_pipeline.files import sha256_file, write_json, write_table
from medmax_pipeline.tokens.store import CodeStore
from tests.eval.conftest import CAPTIONED, CLOSED, CODES, JUDGE, World, sample

ALL = ("vqa_rad/closed", "image_captioning/pmc_oa", "image_generation/pmc_oa")


def quiet(line: str) -> None:
    """No log."""


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of all tasks: the folder of its outputs."""
    at = tmp_path_factory.mktemp("whole")
    run_job(world.job(at, *ALL), quiet)
    return at / "out"


def records(out: Path, key: str) -> list[ItemRecord]:
    """The records of one task, published or laid out."""
    return read_records(out / key / ITEMS)


def test_every_item_has_one_record_sorted_by_id(whole: Path) -> None:
    for key, expected in zip(ALL, (CLOSED, CAPTIONED, CAPTIONED), strict=True):
        assert [each.item_id for each in records(whole, key)] == sorted(each.sample_id for each in expected)


def test_closed_records_hold_both_verdicts_and_what_they_rest_on(whole: Path) -> None:
    for each in records(whole, "vqa_rad/closed"):
        assert set(each.option_logprobs) == {"yes", "no"}
        assert all(value < 0 for value in each.option_logprobs.values())
        likeliest = max(each.option_logprobs, key=lambda option: each.option_logprobs[option])
        assert each.predictions["strict"] == likeliest
        assert each.correct_strict == (likeliest == each.reference)
        assert each.correct_compat == (each.predictions["compat"] == each.reference)
        assert each.cluster == each.image_ids[0]


def test_a_locked_metric_is_null_with_its_reason_in_every_record(whole: Path) -> None:
    for key in ALL[1:]:
        for each in records(whole, key):
            assert each.metrics["clip_score@biomedclip"] is None
            assert "metric_locked:clip_score@biomedclip" in each.unscored


def test_generated_pictures_lie_under_the_digest_of_their_bytes(whole: Path) -> None:
    folder = whole / "image_generation/pmc_oa" / "images"
    made = records(whole, "image_generation/pmc_oa")
    named = {name for each in made for name in (each.generated_image, each.reference_image)}
    assert {path.stem for path in folder.iterdir()} == named
    for path in folder.iterdir():
        assert sha256_file(path) == path.stem
        assert np.asarray(Image.open(path)).shape == (16, 16, 3)


def test_generation_is_seeded_by_item(whole: Path) -> None:
    assert len({each.seed for each in records(whole, "image_generation/pmc_oa")}) == len(CAPTIONED)


def test_the_generated_picture_does_not_depend_on_its_batch(world: World, engine: Engine, whole: Path) -> None:
    this = task("image_generation/pmc_oa")
    alone = this.answer(engine, this, as_items(CAPTIONED[3:4], "tiny", CodeStore(world.codes, CODES), 0)).records[0]
    among = next(each for each in records(whole, this.key) if each.item_id == alone.item_id)
    assert alone.generated_image == among.generated_image
    assert alone.metrics["code_histogram_margin"] is None
    assert "no_other_reference" in alone.unscored


def test_another_seed_draws_other_pictures_and_leaves_text_alone(world: World, whole: Path, tmp_path: Path) -> None:
    job = world.job(tmp_path, *ALL)
    run_job(replace(job, tasks=tuple(replace(each, seed=1) for each in job.tasks)), quiet)
    assert records(tmp_path / "out", ALL[0]) == records(whole, ALL[0])
    before = [each.generated_image for each in records(whole, ALL[2])]
    assert all(
        a != b for a, b in zip(before, (r.generated_image for r in records(tmp_path / "out", ALL[2])), strict=True)
    )


def kill_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run die, as by a signal, right after it kept so many batches."""
    append = Journal.append

    def dying(self: Journal, number: int, kept: list[ItemRecord]) -> None:
        append(self, number, kept)
        if len(self.done) == batches:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "append", dying)


@pytest.mark.parametrize("torn", [b"", b'{"batch": 1, "rec', b"\x00\x00\x00\x00"])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    torn: bytes, world: World, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "image_generation/pmc_oa"
    job = world.job(tmp_path, key)
    with monkeypatch.context() as patched:
        kill_after(1, patched)
        with pytest.raises(KeyboardInterrupt):
            run_job(job, quiet)
    with (tmp_path / "work" / key / JOURNAL).open("ab") as handle:
        handle.write(torn)
    told: list[str] = []
    run_job(job, told.append)
    assert "1 of 2 batches kept" in told[0]
    for path in sorted((whole / key).rglob("*")):
        if path.is_file() and path.parent.name != "log":
            assert (tmp_path / "out" / key / path.relative_to(whole / key)).read_bytes() == path.read_bytes()


SUITE = ("vqa_rad/closed", "vqa_rad/open", "image_generation/pmc_oa")
WEIGHTS = Path(medmax_pipeline.sample.__file__).parent / "weights" / "similarity"
SIMILARITY = SimilarityJob(name="sample_similarity", folder=str(WEIGHTS))


def whole_suite(world: World, at: Path, tasks: tuple[str, ...] = SUITE) -> Job:
    """A small suite of three families, with a judge and a similarity model."""
    return replace(world.job(at, *tasks, limit=3, judge=JUDGE), similarity=SIMILARITY)


def files_of(out: Path) -> dict[str, str]:
    """Digests of all that a run laid out but its timings."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.parent.name != "log"]
    return {str(path.relative_to(out)): sha256_file(path) for path in sorted(paths)}


def run_and_kill(world: World, at: Path, first: int, last: int) -> None:
    """Runs killed at random points and then ended, one a seed, against one that was left alone."""
    for name in ("undisturbed", *map(str, range(first, last))):
        write_json(at / name / "job.json", whole_suite(world, at / name).to_json())
    arguments = [sys.executable, "-m", "tests.eval.killed", str(at), str(first), str(last)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [str(seed) for seed in range(first, last)], "not every run was killed"
    undisturbed = files_of(at / "undisturbed" / "out")
    assert sum(name.endswith(ITEMS) for name in undisturbed) == len(SUITE)
    for seed in range(first, last):
        assert files_of(at / str(seed) / "out") == undisturbed, seed
        for key in SUITE:
            ids = [record.item_id for record in records(at / str(seed) / "out", key)]
            assert len(ids) == len(set(ids)) == 3


def test_ten_suites_killed_while_answering_or_scoring_end_with_the_records_of_an_undisturbed_one(
    world: World, tmp_path: Path
) -> None:
    run_and_kill(world, tmp_path, 0, 10)


@pytest.mark.torture
def test_fifty_suites_killed_end_with_the_records_of_an_undisturbed_one(world: World, tmp_path: Path) -> None:
    run_and_kill(world, tmp_path, 10, 60)


def test_records_do_not_depend_on_the_order_of_tasks(world: World, tmp_path: Path) -> None:
    for name, tasks in (("forth", SUITE), ("back", SUITE[::-1])):
        run_job(whole_suite(world, tmp_path / name, tasks), quiet)
    assert files_of(tmp_path / "forth" / "out") == files_of(tmp_path / "back" / "out")


def test_leaked_items_are_named_and_nobody_knows_where_nobody_looked(world: World, tmp_path: Path) -> None:
    gone = pa.table({"sample_id": [CLOSED[0].sample_id], "image_id": [CLOSED[0].images[0]]})
    write_table(tmp_path / "evaluated.parquet", gone)
    job = world.job(tmp_path / "looked", "vqa_rad/closed")
    job = replace(job, tasks=(replace(job.tasks[0], leaked=str(tmp_path / "evaluated.parquet")),))
    run_job(job, quiet)
    found = records(tmp_path / "looked" / "out", "vqa_rad/closed")
    assert {each.item_id for each in found if each.leaked} == {CLOSED[0].sample_id}
    assert sum(each.leaked is False for each in found) == len(CLOSED) - 1
    run_job(world.job(tmp_path / "never", "vqa_rad/closed"), quiet)
    assert {each.leaked for each in records(tmp_path / "never" / "out", "vqa_rad/closed")} == {None}


def test_a_journal_of_another_model_is_begun_anew(world: World, tmp_path: Path) -> None:
    job = world.job(tmp_path, "vqa_rad/closed", limit=3)
    run_job(replace(job, model_digest="one"), quiet)
    told: list[str] = []
    run_job(replace(job, model_digest="other"), told.append)
    assert "0 of 1 batches kept" in told[0]


def test_items_that_cannot_be_asked_are_unscored_and_not_wrong(world: World, tmp_path: Path) -> None:
    odd = [
        sample(1, image="picture0"),
        sample(2, image="never encoded"),
        sample(3, image="picture0", text="<image>" + "why " * 200),
        sample(4, image="picture0", text="no mark"),
        sample(5, image="picture0", answer="left"),
    ]
    write_table(tmp_path / "samples.parquet", samples_to_table(odd))
    job = world.job(tmp_path, "vqa_rad/closed")
    job = replace(job, tasks=(replace(job.tasks[0], samples=(str(tmp_path / "samples.parquet"),)),))
    run_job(job, quiet)
    found = {each.item_id: each for each in records(tmp_path / "out", "vqa_rad/closed")}
    reasons = [found[each.sample_id].unscored for each in odd]
    assert reasons == ["", "image_without_codes", "prompt_too_long", "prompt_refused", "reference_not_an_option"]
    for each in odd[1:4]:
        unasked = found[each.sample_id]
        assert (unasked.correct_strict, unasked.correct_compat) == (None, None)
        assert unasked.metrics == dict.fromkeys(("accuracy_strict", "accuracy_parsed", "accuracy_compat"))
    left = found[odd[4].sample_id]
    assert (left.correct_strict, left.correct_compat) == (None, False)  # the reference's rule calls it wrong


def test_a_task_without_items_is_an_error_and_not_an_empty_score(world: World, tmp_path: Path) -> None:
    write_table(tmp_path / "samples.parquet", samples_to_table([sample(1, split="train")]))
    job = world.job(tmp_path, "vqa_rad/closed")
    job = replace(job, tasks=(replace(job.tasks[0], samples=(str(tmp_path / "samples.parquet"),)),))
    with pytest.raises(StoreError, match="no evaluation sample"):
        run_job(job, quiet)


def test_an_unknown_task_is_named_before_the_model_is_loaded(world: World, tmp_path: Path) -> None:
    job = replace(world.job(tmp_path, "vqa_rad/closed"), model="nowhere")
    with pytest.raises(ConfigError, match="no such task"):
        run_job(replace(job, tasks=(replace(job.tasks[0], task="vqa_rad/opened"),)), quiet)


def test_the_command_says_what_is_wrong_with_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "job.json", {"modle": "x"})
    assert main([str(tmp_path / "job.json")]) == 1
    assert "unknown key modle" in capsys.readouterr().err
    assert main([]) == 2


def test_a_job_survives_its_file(world: World, tmp_path: Path) -> None:
    job: Job = world.job(tmp_path, *ALL)
    write_json(tmp_path / "job.json", job.to_json())
    assert read_job(tmp_path / "job.json") == job


def test_the_registry_has_the_tasks_of_the_sample_build() -> None:
    assert set(ALL) <= set(TASKS)


def test_a_picture_whose_bytes_changed_in_the_work_folder_is_not_published(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "image_generation/pmc_oa"
    job = world.job(tmp_path, key, limit=2)
    run_job(job, quiet)
    name = records(tmp_path / "out", key)[0].generated_image
    kept = tmp_path / "work" / key / "images" / f"{name}.png"
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(StoreError, match="other bytes"):
        run_job(job, quiet)


def test_the_journal_is_one_line_a_batch(world: World, tmp_path: Path) -> None:
    run_job(world.job(tmp_path, "image_generation/pmc_oa"), quiet)
    lines = (tmp_path / "work" / "image_generation/pmc_oa" / JOURNAL).read_bytes().splitlines()
    assert [json.loads(line).get("batch") for line in lines] == [None, 0, 1]
