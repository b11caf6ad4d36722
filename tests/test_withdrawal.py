"""What is withdrawn stays out of the next build, the rows add up, and nothing else is made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medmax_pipeline import withdrawal
from medmax_pipeline.config import Curation, Evaluation
from medmax_pipeline.curation.steps import curated_step
from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.eval.items import choose
from medmax_pipeline.eval.steps import eval_step
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.records import Counts, Sample
from medmax_pipeline.tokens.codes import wanted_pictures
from medmax_pipeline.tokens.steps import image_codes_step
from tests.curation.published import publish, sample
from tests.withdrawing import HELD, IMAGES, Store

A, B = IMAGES["a"], IMAGES["b"]
ONE_A = HELD["one"][0].sample_id


@pytest.fixture
def built(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.build()
    return made


def test_an_image_takes_along_what_shows_it_and_only_its_sources_are_made_again(built: Store) -> None:
    withdrawal.mark(built.ledger.store, [A, B], "asked for")
    assert built.reasons() == {"one/curated": "2 images withdrawn", "two/curated": "1 image withdrawn"}
    assert built.build() == ["one/curated", "two/curated", "shards/r", "checkpoint/r"]
    assert built.need("one/curated").manifest.counts == Counts(4, 0, {"evaluation_row": 2, "withdrawn": 2})
    assert built.need("two/curated").manifest.counts == Counts(2, 1, {"withdrawn": 1})
    drops = pq.read_table(built.need("two/curated").folder / "drops.parquet").to_pylist()
    assert [(row["reason"], row["detail"]) for row in drops] == [("withdrawn", f"image {A}")]
    assert pq.read_table(built.need("shards/r").folder / "index.parquet")["source"].to_pylist() == ["two"]
    assert built.build() == []


def test_a_sample_goes_alone(built: Store) -> None:
    withdrawal.mark(built.ledger.store, [ONE_A], "wrong answer")
    assert built.reasons() == {"one/curated": "1 sample withdrawn"}
    built.build()
    kept = pq.read_table(built.need("one/curated").folder / "samples.parquet")["sample_id"].to_pylist()
    assert kept == [HELD["one"][1].sample_id]


def test_what_is_taken_back_gives_the_old_version_without_work(built: Store) -> None:
    before = built.need("checkpoint/r").manifest.fingerprint
    withdrawal.mark(built.ledger.store, [A], "asked for")
    built.build()
    assert built.need("checkpoint/r").manifest.fingerprint != before
    withdrawal.mark(built.ledger.store, [A], "a mistake", undo=True)
    assert built.build() == []
    assert built.need("checkpoint/r").manifest.fingerprint == before


def test_without_a_mark_a_step_has_the_fingerprint_it_would_have_without_withdrawal(built: Store) -> None:
    step = curated_step("one", Curation(leakage="off", duplicates="off"))
    plain = replace(step, withdrawn=None)
    assert built.ledger.resolve(step) == built.ledger.resolve(plain)
    withdrawal.mark(built.ledger.store, ["f" * 64], "shown by nothing here")
    assert built.ledger.resolve(step) == built.ledger.resolve(plain)


def asked(name: str, image: str) -> Sample:
    """A closed question about that picture."""
    return sample(name, image, split="eval", kind="vqa_closed", source="vqa_rad")


def test_a_withdrawn_image_is_not_asked_about_and_the_limit_is_filled_by_others(tmp_path: Path) -> None:
    closed = task("vqa_rad/closed")
    folder = publish(tmp_path, [asked(str(n), A if n < 2 else B) for n in range(4)])
    gone = withdrawal.held(folder, withdrawal.Marks(frozenset([A])), "eval", closed.accepts)
    chosen = choose([folder / "samples.parquet"], closed, 2, frozenset(gone))
    assert len(gone) == 2
    assert {item.images for item in chosen.samples} == {(B,)}
    assert (len(chosen.samples), chosen.candidates) == (2, 4)


def test_only_tasks_of_the_kinds_that_ask_of_a_withdrawn_image_are_asked_again(built: Store) -> None:
    store, held = built.ledger.store, built.need("one/samples")
    withdrawal.mark(store, [A], "asked for")
    closed = eval_step("m", "m", "vqa_rad/closed", Evaluation(), ["vqa_rad"])
    assert closed.withdrawn is not None
    assert closed.withdrawn(store, {"vqa_rad/samples": held}) == {}
    named = withdrawal.parameters(store, [held], "eval", lambda held: held.kind == "captioning")
    assert named == {"withdrawn": {"images": [A], "samples": []}}


def test_codes_of_a_withdrawn_evaluation_image_are_not_wanted(built: Store) -> None:
    step = image_codes_step(list(HELD), list(HELD))
    withdrawal.mark(built.ledger.store, [A], "asked for")
    built.build()
    inputs = {need.key: built.need(need.key) for need in step.needs if need.key != "image_tokenizer"}
    assert step.withdrawn is not None
    params = step.withdrawn(built.ledger.store, inputs)
    assert params == {"withdrawn": {"images": [A], "samples": []}}
    assert [item.image_id for item in wanted_pictures(inputs, list(HELD), params)[0]] == [
        IMAGES[name] for name in "bcd"
    ]
    assert A in [item.image_id for item in wanted_pictures(inputs, list(HELD), {})[0]]


def test_the_last_mark_counts_and_one_that_changes_nothing_is_not_written(tmp_path: Path) -> None:
    assert withdrawal.mark(tmp_path, [A], "x", undo=True) == []
    assert not (tmp_path / withdrawal.FILE).exists()
    assert len(withdrawal.mark(tmp_path, [A, A, ONE_A], "x")) == 2
    assert withdrawal.mark(tmp_path, [A], "again") == []
    withdrawal.mark(tmp_path, [A], "a mistake", undo=True)
    assert withdrawal.marks(tmp_path) == withdrawal.Marks(frozenset(), frozenset([ONE_A]))
    assert len((tmp_path / withdrawal.FILE).read_text().splitlines()) == 3


def test_a_mark_needs_a_reason_and_a_whole_id(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reason"):
        withdrawal.mark(tmp_path, [A], " \n")
    with pytest.raises(ConfigError, match="64 hex digits"):
        withdrawal.mark(tmp_path, [A[:10]], "x")
    assert not (tmp_path / withdrawal.FILE).exists()


@pytest.mark.parametrize("line", ["{", "[]", '{"what": "image", "id": "x"}', '{"id": 1}', "9" * 9000])
def test_a_broken_line_is_named_and_never_read_as_nothing_withdrawn(tmp_path: Path, line: str) -> None:
    withdrawal.mark(tmp_path, [A], "x")
    with (tmp_path / withdrawal.FILE).open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(StoreError, match="line 2"):
        withdrawal.marks(tmp_path)


def test_a_list_has_comments_and_refuses_what_is_no_id(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# from the hospital\n\n{A}\n {ONE_A}\n")
    assert withdrawal.read_list(path) == [A, ONE_A]
    path.write_text("PMC1_Fig1.jpg\n")
    with pytest.raises(ConfigError, match="PMC1_Fig1"):
        withdrawal.read_list(path)
