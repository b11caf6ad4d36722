"""Publish or reuse: what runs, what does not, and what becomes visible."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline import files
from medmax_pipeline.errors import ConfigError, Imbalance, NotPublished, StepBusy, StoreError
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import External, Lock
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Need, Outcome, Run, Step


def raw_of(landing: Path, cache: files.DigestCache) -> tuple[External, ...]:
    return tuple(External(p.name, cache.sha256(p), p.stat().st_size, "CC0") for p in sorted(landing.glob("*.txt")))


class Line:
    """A line of three steps that count how often they ran: raw -> upper -> length."""

    def __init__(self, store: Path, threshold: int = 0) -> None:
        self.ran: list[str] = []
        self.ledger = Ledger(store, "test", store.parent / "landing")
        self.ledger.landing.mkdir(exist_ok=True)
        self.steps = [
            Step("raw", self.counted("raw", lambda run: "".join(self.read())), "1", external=raw_of),
            Step(
                "upper",
                self.counted("upper", lambda run: (run.inputs["raw"].folder / "data").read_text().upper()),
                "1",
                needs=(Need("raw"),),
                params={"threshold": threshold},
            ),
            Step(
                "length",
                self.counted("length", lambda run: str(len((run.inputs["upper"].folder / "data").read_text()))),
                "1",
                needs=(Need("upper"),),
            ),
        ]

    def read(self) -> list[str]:
        return [p.read_text() for p in sorted(self.ledger.landing.glob("*.txt"))]

    def counted(self, key: str, make: Callable[[Run], str]) -> Callable[[Run], Outcome]:
        def run(run: Run) -> Outcome:
            self.ran.append(key)
            files.write_text(run.out / "data", make(run))
            return Outcome()

        return run

    def build(self, steps: Sequence[Step] | None = None) -> list[str]:
        self.ran.clear()
        for step in steps or self.steps:
            self.ledger.execute(step)
        return list(self.ran)


@pytest.fixture
def line(store: Path) -> Line:
    made = Line(store)
    (made.ledger.landing / "a.txt").write_text("abc")
    return made


def actions(line: Line, steps: Sequence[Step] | None = None) -> dict[str, str]:
    return {planned.key: planned.action for planned in line.ledger.plan(steps or line.steps)}


def test_an_unchanged_build_runs_nothing(line: Line) -> None:
    assert line.build() == ["raw", "upper", "length"]
    assert line.build() == []
    assert actions(line) == {"raw": "reuse", "upper": "reuse", "length": "reuse"}


def test_a_changed_byte_runs_its_cone_and_stops_where_bytes_are_equal(line: Line) -> None:
    line.build()
    (line.ledger.landing / "a.txt").write_text("abd")
    assert actions(line) == {"raw": "run", "upper": "after", "length": "after"}
    assert line.build() == ["raw", "upper", "length"]
    (line.ledger.landing / "a.txt").write_text("ABD")
    assert line.build() == ["raw", "upper"], "upper gave the same bytes, so length must not run"


def test_a_file_added_to_the_raw_data_is_named_as_the_reason(line: Line) -> None:
    line.build()
    (line.ledger.landing / "b.txt").write_text("x")
    assert line.ledger.plan(line.steps)[0].reason == "b.txt is new"


def test_a_bumped_code_version_runs_that_step_alone_when_bytes_stay(line: Line) -> None:
    line.build()
    bumped = [line.steps[0], replace(line.steps[1], code_version="2"), line.steps[2]]
    assert line.ledger.plan(bumped)[1].reason == "code version 1 -> 2"
    assert line.build(bumped) == ["upper"]


def test_a_changed_parameter_is_named(line: Line) -> None:
    line.build()
    changed = [line.steps[0], replace(line.steps[1], params={"threshold": 3}), line.steps[2]]
    assert line.ledger.plan(changed)[1].reason == "parameter threshold changed"


def test_going_back_to_an_old_parameter_reuses_what_was_published_then(line: Line) -> None:
    line.build()
    line.build([line.steps[0], replace(line.steps[1], params={"threshold": 3}), line.steps[2]])
    assert line.build() == []


def test_a_raised_counter_runs_the_step_again(line: Line) -> None:
    line.build()
    line.ledger.raise_counter("upper")
    assert line.build() == ["upper"]


def test_a_second_build_in_the_same_store_reuses_the_first_ones_artifacts(line: Line) -> None:
    line.build()
    line.ledger = Ledger(line.ledger.store, "other", line.ledger.landing)
    assert line.build() == []


def test_counts_that_do_not_add_up_publish_nothing(line: Line) -> None:
    def lossy(run: Run) -> Outcome:
        return Outcome(counts=Counts(taken=3, kept=1, dropped={"dull": 1}))

    with pytest.raises(Imbalance, match="3 in, but 1 kept"):
        line.ledger.execute(Step("lossy", lossy, "1"))
    assert line.ledger.current("lossy") is None


def test_a_locked_step_publishes_no_rows_and_locks_what_stands_on_it(line: Line) -> None:
    locked = replace(line.steps[0], lock=lambda landing: Lock("no files", "put them there"))
    steps = [locked, *line.steps[1:]]
    assert line.build(steps) == []
    artifact = line.ledger.need("length")
    assert artifact.locked
    assert artifact.manifest.lock == Lock("raw is locked: no files", "put them there")
    assert not artifact.manifest.files


def test_an_optional_input_that_is_locked_does_not_lock(line: Line) -> None:
    locked = replace(line.steps[0], lock=lambda landing: Lock("no files", "put them there"))
    line.ledger.execute(locked)
    seen = {}

    def run(run: Run) -> Outcome:
        seen["locked"] = run.inputs["raw"].locked
        return Outcome()

    artifact, _ = line.ledger.execute(Step("late", run, "1", needs=(Need("raw"),), locks_on=()))
    assert seen == {"locked": True}
    assert not artifact.locked


def test_unlocking_runs_the_cone(line: Line) -> None:
    line.build([replace(line.steps[0], lock=lambda landing: Lock("no files", "…")), *line.steps[1:]])
    assert line.ledger.plan(line.steps)[0].reason == "unlocked"
    assert line.build() == ["raw", "upper", "length"]


def test_a_step_that_depends_on_a_part_ignores_the_other_parts(store: Path) -> None:
    ledger = Ledger(store, "test", store)

    def parts(left: str, right: str) -> Callable[[Run], Outcome]:
        def run(run: Run) -> Outcome:
            files.write_text(run.out / "l", left)
            files.write_text(run.out / "r", right)
            return Outcome(parts={"left": ["l"], "right": ["r"]})

        return run

    reader = Step("reader", lambda run: Outcome(), "1", needs=(Need("parts", "left"),))
    ledger.execute(Step("parts", parts("a", "b"), "1"))
    ledger.execute(reader)
    ledger.execute(Step("parts", parts("a", "CHANGED"), "2"))
    assert ledger.execute(reader)[1] is False
    ledger.execute(Step("parts", parts("CHANGED", "CHANGED"), "3"))
    assert ledger.execute(reader)[1] is True


def test_logs_do_not_count_in_the_digest(store: Path) -> None:
    ledger = Ledger(store, "test", store)

    def run(seconds: str) -> Callable[[Run], Outcome]:
        def inner(run: Run) -> Outcome:
            files.write_text(run.out / "data", "same")
            files.write_text(run.out / "log" / "timing", seconds)
            return Outcome()

        return inner

    first, _ = ledger.execute(Step("a", run("1.0"), "1"))
    second, _ = ledger.execute(Step("a", run("2.0"), "2"))
    assert first.manifest.digest == second.manifest.digest
    assert first.manifest.fingerprint != second.manifest.fingerprint


def test_a_step_that_fails_keeps_its_work_and_the_published_version(line: Line) -> None:
    line.build()
    old = line.ledger.need("upper").manifest.fingerprint

    def fails(run: Run) -> Outcome:
        files.write_text(run.work / "progress", "half")
        raise RuntimeError("broke")

    broken = replace(line.steps[1], run=fails, code_version="2")
    with pytest.raises(RuntimeError):
        line.ledger.execute(broken)
    assert line.ledger.need("upper").manifest.fingerprint == old
    fingerprint = line.ledger.resolve(broken).fingerprint
    assert (line.ledger.store / "work" / "upper" / fingerprint / "state" / "progress").read_text() == "half"


def test_work_left_by_a_killed_run_is_seen_by_the_next_and_gone_after_it(line: Line) -> None:
    line.build()
    fingerprint = line.ledger.resolve(replace(line.steps[1], code_version="2")).fingerprint
    state = line.ledger.store / "work" / "upper" / fingerprint / "state"
    state.mkdir(parents=True)
    (state / "progress").write_text("half")
    found = []

    def resumes(run: Run) -> Outcome:
        found.append((run.work / "progress").read_text())
        return Outcome()

    line.ledger.execute(replace(line.steps[1], run=resumes, code_version="2"))
    assert found == ["half"]
    assert not state.exists()


HOLD = """
import sys, time
from pathlib import Path
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.steps import Outcome, Step
def run(run):
    print("holding", flush=True)
    time.sleep(60)
    return Outcome()
Ledger(Path(sys.argv[1]), "test", Path(sys.argv[1])).execute(Step("slow", run, "1"))
"""


def test_another_live_process_is_named_and_a_killed_one_blocks_nobody(store: Path) -> None:
    step = Step("slow", lambda run: Outcome(), "1")
    ledger = Ledger(store, "test", store)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "holding\n"
        with pytest.raises(StepBusy, match=str(child.pid)):
            ledger.execute(step)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert ledger.execute(step)[1] is True


def test_what_was_laid_out_elsewhere_is_made_again_when_it_is_gone(store: Path, tmp_path: Path) -> None:
    ledger = Ledger(store, "test", tmp_path)

    def lay_out(run: Run) -> Outcome:
        (run.landing / "laid.txt").write_text("x")
        return Outcome()

    step = Step("corpus", lay_out, "1", intact=lambda landing: (landing / "laid.txt").exists())
    ledger.execute(step)
    assert ledger.execute(step)[1] is False
    (tmp_path / "laid.txt").unlink()
    assert ledger.plan([step])[0].reason == "what it laid out is gone"
    assert ledger.execute(step)[1] is True
    assert (tmp_path / "laid.txt").exists()


def test_steps_made_together_run_once_and_only_the_stale_ones(line: Line) -> None:
    line.build()
    calls = []

    def together(runs: dict[str, Run]) -> dict[str, Outcome]:
        calls.append(sorted(runs))
        return {key: Outcome() for key in runs}

    both = [Step(key, lambda run: Outcome(), "1", needs=(Need("length"),)) for key in ("eval/a", "eval/b")]
    line.ledger.execute_together(both, together)  # type: ignore[arg-type]
    both[1] = replace(both[1], code_version="2")
    line.ledger.execute_together(both, together)  # type: ignore[arg-type]
    line.ledger.execute_together(both, together)  # type: ignore[arg-type]
    assert calls == [["eval/a", "eval/b"], ["eval/b"]]


def test_a_plan_that_is_not_transitive_compares_with_what_is_published_now(line: Line) -> None:
    line.build()
    (line.ledger.landing / "a.txt").write_text("changed")
    now = {planned.key: planned.action for planned in line.ledger.plan(line.steps, transitive=False)}
    assert now == {"raw": "run", "upper": "reuse", "length": "reuse"}


def test_an_input_without_a_published_version_is_named(line: Line) -> None:
    with pytest.raises(NotPublished, match="raw"):
        line.ledger.execute(line.steps[1])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("a", ("b",)), ("b", ("a",))], "circle"),
        ([("a", ("nowhere",))], "nowhere"),
        ([("a", ()), ("a", ())], "two steps"),
    ],
)
def test_a_graph_that_is_none_is_refused(line: Line, steps: list[tuple[str, tuple[str, ...]]], message: str) -> None:
    made = [Step(key, lambda run: Outcome(), "1", needs=tuple(Need(need) for need in needs)) for key, needs in steps]
    with pytest.raises(ConfigError, match=message):
        line.ledger.plan(made)


def test_a_link_in_the_output_is_refused(line: Line) -> None:
    def links(run: Run) -> Outcome:
        (run.out / "link").symlink_to("/etc/passwd")
        return Outcome()

    with pytest.raises(StoreError, match="plain file"):
        line.ledger.execute(Step("links", links, "1"))
