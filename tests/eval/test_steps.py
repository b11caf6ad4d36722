"""The steps of the room in a real ledger: one process a model, reuse, locks, and a task that changed alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest

from medmax_pipeline import withdrawal
from medmax_pipeline.config import Endpoint, Evaluation
from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.eval.__main__ import main
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.publish import read_scores
from medmax_pipeline.eval.records import GENERATED, ITEMS, read_records, record_faults
from medmax_pipeline.eval.scorers import Names, bound
from medmax_pipeline.eval.steps import NOTHING_BESIDE, Beside, eval_step, scores_step
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.files import write_table
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Outcome, Run, Step
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.tokens.store import code_folder
from tests.eval.conftest import CLOSED, JUDGE, World

SOURCES = ("vqa_rad", "pmc_oa")
TASKS = ("vqa_rad/closed", "image_generation/pmc_oa")
LIMITS = Evaluation(tasks=TASKS, limit={"vqa_rad/closed": 6, "image_generation/pmc_oa": 3, "vqa_rad/open": 5})
JUDGED = "vqa_rad/open"
SAMPLE = Beside(judge=JUDGE)
ABSENT = Beside(judge=Endpoint(kind="openai", model="some-model", url="http://127.0.0.1:9/v1", key="MEDMAX_TEST_KEY"))
"""An endpoint with a key that tests do not have."""


@dataclass
class Line:
    """A store in which everything before the evaluation is published."""

    ledger: Ledger
    upstream: dict[str, Step]
    launched: list[Sequence[str]] = field(default_factory=list)

    def launch(self, arguments: Sequence[str], *, state: Path | None = None) -> None:
        """Run the launched module in this process."""
        self.launched.append(arguments)
        assert arguments[0] == "medmax_pipeline.eval"
        if main(list(arguments[1:])):
            raise LaunchError("the evaluation ended badly")

    def steps(self, model: str, beside: Beside, tasks: Sequence[str] = TASKS) -> list[Step]:
        """The evaluation of one model."""
        return [eval_step(model, "base_model", key, LIMITS, SOURCES, beside) for key in tasks]

    def build(self, model: str = "tiny", beside: Beside = NOTHING_BESIDE, tasks: Sequence[str] = TASKS) -> list[str]:
        """Evaluate one model on all tasks; keys of what had to be made."""
        steps = self.steps(model, beside, tasks)
        assert steps[0].together is not None
        done = self.ledger.execute_together(steps, steps[0].together, launch=self.launch)
        return [key for key, (_, made) in done.items() if made]


def laid_out(key: str, files: Path, lock: Lock | None = None) -> Step:
    """A step that publishes a copy of a folder."""

    def run(run: Run) -> Outcome:
        shutil.copytree(files, run.out, dirs_exist_ok=True)
        return Outcome(Counts(taken=1, kept=1), licences=("CC0-1.0",), credentialed=False)

    return Step(key, run, "1", lock=(lambda landing: lock) if lock else None)


@pytest.fixture
def line(world: World, store: Path) -> Line:
    """The world as published artifacts."""
    folders = {
        "base_model": world.model,
        "text_tokenizer": world.text,
        "image_tokenizer": world.vqgan,
        "image_codes": world.text,
        "vqa_rad/samples": world.root / "vqa_rad",
        "pmc_oa/samples": world.root / "pmc_oa",
    }
    made = Line(Ledger(store, "test", store), {key: laid_out(key, folder) for key, folder in folders.items()})
    for step in made.upstream.values():
        made.ledger.execute(step)
    shutil.copytree(world.codes, code_folder(store, tokenizer_digest(world.vqgan, preprocessing=PREPROCESSING)))
    return made


def test_the_tasks_of_one_model_share_one_process_and_publish_their_records(line: Line) -> None:
    assert line.build() == [f"eval/tiny/{key}" for key in TASKS]
    assert len(line.launched) == 1
    for key, items in zip(TASKS, (6, 3), strict=True):
        artifact = line.ledger.need(f"eval/tiny/{key}")
        assert record_faults(artifact.folder, artifact.manifest) == []
        assert artifact.manifest.counts.kept == len(read_records(artifact.folder / ITEMS)) == items
        assert artifact.manifest.counts.dropped == {"over_limit": {6: 14, 3: 7}[items]}
        assert artifact.manifest.licences == ("CC0-1.0",)


def test_a_second_build_launches_nothing(line: Line) -> None:
    line.build()
    assert line.build() == []
    assert len(line.launched) == 1


def test_a_task_whose_version_is_raised_is_run_alone(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.build()
    raised = replace(task(TASKS[0]), version="raised")
    monkeypatch.setattr("medmax_pipeline.eval.steps.task", lambda key: raised if key == TASKS[0] else task(key))
    assert line.build() == [f"eval/tiny/{TASKS[0]}"]


def test_a_withdrawn_image_is_not_asked_about_and_the_rows_add_up(line: Line) -> None:
    line.build()
    gone = CLOSED[0].images[0]
    shown = sum(gone in item.images for item in CLOSED)
    withdrawal.mark(line.ledger.store, [gone], "asked for")
    assert line.build() == [f"eval/tiny/{TASKS[0]}"]
    artifact = line.ledger.need(f"eval/tiny/{TASKS[0]}")
    assert artifact.manifest.counts == Counts(20, 6, {"over_limit": 14 - shown, "withdrawn": shown})
    assert all(gone not in record.image_ids for record in read_records(artifact.folder / ITEMS))


def test_scores_hold_every_metric_of_both_models_and_the_paired_gain(line: Line) -> None:
    line.build("tiny")
    line.build("base")
    artifact, _ = line.ledger.execute(scores_step("tiny", TASKS, base=True))
    every = [row for row in read_scores(artifact.folder) if not row.tasks]
    rows = {(row.model, row.task, row.metric): row for row in every if not row.part}
    reported = sum(len(bound(task(key), Names()).metrics) for key in TASKS)
    assert len(rows) == 2 * reported
    tuned = rows["tiny", "vqa_rad/closed", "accuracy_strict"]
    assert tuned.value == rows["base", "vqa_rad/closed", "accuracy_strict"].value == tuned.base_value
    assert (tuned.gain, tuned.gain_low, tuned.gain_high, tuned.n_paired) == (0.0, 0.0, 0.0, 6)
    assert {row.status for row in rows.values() if row.metric.endswith("@biomedclip")} == {"locked"}
    for row in rows.values():
        records = read_records(line.ledger.need(f"eval/{row.model}/{row.task}").folder / ITEMS)
        assert row.n == len(records), "a score counts more items than it has records"


def test_a_locked_source_locks_its_task_and_leaves_the_other_scores(line: Line, world: World) -> None:
    lock = Lock("PMC-OA is not here.", "Place its files.")
    line.ledger.execute(laid_out("pmc_oa/samples", world.root / "pmc_oa", lock))
    line.build()
    artifact, _ = line.ledger.execute(scores_step("tiny", TASKS, base=False))
    assert not artifact.locked
    rows = read_scores(artifact.folder)
    assert {row.status for row in rows if row.task == "vqa_rad/closed"} == {"ok"}
    locked = [row for row in rows if row.task == "image_generation/pmc_oa"]
    assert {(row.status, row.value) for row in locked} == {("locked", None)}
    assert "PMC-OA is not here." in locked[0].reason
    assert locked[0].cure == "Place its files."


def told(line: Line, step: Step) -> str:
    """Why a step would run now; `unchanged` where it would not."""
    planned = line.ledger.plan([*line.upstream.values(), step], transitive=False)
    return next(each.reason for each in planned if each.key == step.key)


def no_model(*args: object, **more: object) -> Engine:
    """Loads nothing."""
    raise AssertionError("a model was loaded")


def test_another_judge_makes_judged_tasks_alone_stale_and_generates_nothing_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = (*TASKS, JUDGED)
    line.build(tasks=tasks)
    folder = line.ledger.need(f"eval/tiny/{JUDGED}").folder
    before = read_records(folder / GENERATED)
    monkeypatch.setattr(Engine, "load", no_model)
    assert told(line, line.steps("tiny", SAMPLE, [JUDGED])[0]) == "parameter judge changed"
    assert line.build(beside=SAMPLE, tasks=tasks) == [f"eval/tiny/{JUDGED}"]
    artifact = line.ledger.need(f"eval/tiny/{JUDGED}")
    after = read_records(artifact.folder / ITEMS)
    assert [each.generated_text for each in after] == [each.generated_text for each in before]
    assert all(each.metrics["judge_correct@sample_judge"] is not None for each in after)
    assert all(each.verdicts for each in after)
    assert read_records(artifact.folder / GENERATED) == before
    assert record_faults(artifact.folder, artifact.manifest) == []


def test_another_model_is_asked_although_the_judge_changed_too(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.build(tasks=[JUDGED])
    other = laid_out("base_model", line.ledger.need("base_model").folder)
    line.ledger.execute(replace(other, run=_with_more(other), code_version="2"))
    monkeypatch.setattr(Engine, "load", no_model)
    with pytest.raises(AssertionError, match="a model was loaded"):
        line.build(beside=SAMPLE, tasks=[JUDGED])


def _with_more(step: Step) -> Callable[[Run], Outcome]:
    """A step that publishes one file more."""

    def run(run: Run) -> Outcome:
        outcome = step.run(run)
        (run.out / "manifest.json").unlink()
        (run.out / "more").write_text("more")
        return outcome

    return run


def test_a_judge_without_its_key_locks_its_metrics_and_the_build_goes_on(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDMAX_TEST_KEY", raising=False)
    assert line.build(beside=ABSENT, tasks=[JUDGED]) == [f"eval/tiny/{JUDGED}"]
    artifact, _ = line.ledger.execute(scores_step("tiny", [JUDGED], base=False, names=ABSENT.names))
    rows = {row.metric: row for row in read_scores(artifact.folder)}
    locked = rows["judge_correct@some-model"]
    assert (locked.status, locked.value) == ("locked", None)
    assert "MEDMAX_TEST_KEY" in locked.reason + locked.cure
    assert rows["judge_correct@gpt-4o-mini"].status == "locked"
    assert rows["token_f1"].value is not None
    monkeypatch.setenv("MEDMAX_TEST_KEY", "a key")
    assert told(line, line.steps("tiny", ABSENT, [JUDGED])[0]) == "parameter judge_locked changed"


def leaks(line: Line, *ids: str) -> None:
    """Publish that these evaluation samples are in training data."""

    def run(run: Run) -> Outcome:
        write_table(run.out / "evaluated.parquet", pa.table({"sample_id": pa.array(ids, pa.string())}))
        return Outcome(Counts(), parts={"evaluated": ["evaluated.parquet"]})

    line.upstream["leakage"] = Step("leakage", run, "1", params={"found": list(ids)})
    line.ledger.execute(line.upstream["leakage"])


def test_leaks_that_are_found_later_are_named_and_nothing_is_asked_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, key = Beside(leakage=True), f"eval/tiny/{TASKS[0]}"
    leaks(line)
    line.build(beside=beside, tasks=TASKS[:1])
    records = read_records(line.ledger.need(key).folder / ITEMS)
    assert {each.leaked for each in records} == {False}
    leaks(line, records[2].item_id)
    monkeypatch.setattr(Engine, "load", no_model)
    assert told(line, line.steps("tiny", beside, TASKS[:1])[0]) == "leakage changed"
    assert line.build(beside=beside, tasks=TASKS[:1]) == [key]
    after = read_records(line.ledger.need(key).folder / ITEMS)
    assert after == [replace(each, leaked=each.item_id == records[2].item_id) for each in records]


def test_how_an_endpoint_is_reached_moves_no_score(line: Line) -> None:
    line.build(beside=SAMPLE, tasks=[JUDGED])
    faster = Beside(judge=replace(JUDGE, concurrency=99, timeout_s=1.0))
    assert told(line, line.steps("tiny", faster, [JUDGED])[0]) == "unchanged"


def test_a_task_whose_source_the_build_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no source for"):
        eval_step("tiny", "base_model", "vqa_rad/closed", Evaluation(), ("pmc_oa",))


def test_a_task_asks_the_source_that_the_build_names_for_it() -> None:
    other = Evaluation(tasks=("vqa_rad/closed",), sources={"vqa_rad/closed": "medmax_eval_data"})
    step = eval_step("tiny", "base_model", "vqa_rad/closed", other, ("vqa_rad", "medmax_eval_data"))
    assert "medmax_eval_data/samples" in {need.key for need in step.needs}
    assert "vqa_rad/samples" not in {need.key for need in step.needs}


def test_a_source_that_the_task_does_not_know_is_refused() -> None:
    other = Evaluation(sources={"vqa_rad/closed": "pmc_oa"})
    with pytest.raises(ConfigError, match="cannot ask samples of 'pmc_oa'"):
        eval_step("tiny", "base_model", "vqa_rad/closed", other, SOURCES)


def test_an_unknown_task_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="vqa_rad/closed"):
        eval_step("tiny", "base_model", "vqa_rad/shut", Evaluation(), SOURCES)


def test_in_another_prompt_style_everything_is_asked_again(line: Line) -> None:
    line.build(tasks=TASKS[:1])
    (plain,) = read_records(line.ledger.need(f"eval/tiny/{TASKS[0]}").folder / ITEMS)[:1]
    styled = replace(LIMITS, prompt_style="chameleon")
    step = eval_step("tiny", "base_model", TASKS[0], styled, SOURCES, NOTHING_BESIDE)
    assert step.together is not None
    ((artifact, made),) = line.ledger.execute_together([step], step.together, launch=line.launch).values()
    (other,) = read_records(artifact.folder / ITEMS)[:1]
    assert made
    assert other.prompt.endswith(f"\nQuestion: {plain.prompt.removeprefix('<image>')}\nAnswer:")
