"""Published ids held against ours: each disagreement by its name, and the step over a real ledger."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch

from medmax_pipeline import config, graph
from medmax_pipeline.arrow import read_samples, samples_to_table
from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import write_table
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import Counts, Sample, Turn
from medmax_pipeline.sample.drawn import SIDE_PX, draw_limb
from medmax_pipeline.sample.layout import write_tree
from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.medmax_data import CODES_CHANGED, LAYOUT, WEIGHTS
from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Row
from medmax_pipeline.steps import Artifact, Need, Outcome, Run, Step
from medmax_pipeline.tokens.__main__ import main
from medmax_pipeline.tokens.published import Checker, Verdict, pair_up
from medmax_pipeline.tokens.sequence import Sequencer
from medmax_pipeline.tokens.steps import image_codes_step, published_tokens_step
from medmax_pipeline.tokens.store import CodeStore
from tests.tokens.small import CODES, N, image_id, make_sequencer, random_codes, sample


class Small(NamedTuple):
    """A checker over small tokenizers, whose store holds the codes of picture 1."""

    checker: Checker
    sequencer: Sequencer

    def ids(self, asked: Sample) -> list[int]:
        """Our ids of a sample that shows picture 1 wherever it shows one."""
        found: list[int] = self.sequencer.sequence(asked.turns, [random_codes(1)] * len(asked.images)).ids.tolist()
        return found

    def verdict(self, asked: Sample, tokens: Any) -> Verdict:
        (verdict,) = self.checker.check([(asked, tokens)])
        return verdict


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    sequencer = make_sequencer(folder / "text")
    store = CodeStore(folder / "codes", N)
    store.add([image_id(1)], random_codes(1)[None], credentialed=False)
    return Small(Checker(sequencer.vocabulary, sequencer, store), sequencer)


ASKED = sample(1, images=(image_id(1),))


def test_our_own_ids_agree(small: Small) -> None:
    assert small.verdict(ASKED, small.ids(ASKED)) == Verdict("agree", "", 0, N)


def test_a_row_without_a_picture_agrees_by_its_text(small: Small) -> None:
    plain = sample(2)
    assert small.verdict(plain, small.ids(plain)) == Verdict("agree")


@pytest.mark.parametrize("tokens", [None, []])
def test_a_row_without_ids_is_told(small: Small, tokens: list[int] | None) -> None:
    assert small.verdict(ASKED, tokens).verdict == "no_tokens"


@pytest.mark.parametrize(
    "tokens", ["0 1 2", [0, "1"], [[0], [1]], [[0], [1, 2]], [-1], [1 << 40], [1 << 80], [0.5], [None], {"a": 1}]
)
def test_what_is_no_list_of_ids_is_told(small: Small, tokens: Any) -> None:
    assert small.verdict(ASKED, tokens).verdict == "tokens_malformed"


def test_other_codes_are_counted(small: Small) -> None:
    ids, voc = small.ids(ASKED), small.sequencer.vocabulary
    start = ids.index(voc.boi) + 1
    for place in (start, start + 2):
        ids[place] = voc.first_code + (ids[place] - voc.first_code + 1) % CODES
    assert small.verdict(ASKED, ids) == Verdict("codes_differ", f"2 of {N} codes are not ours", 2, N)


def test_another_word_is_told_with_its_place(small: Small) -> None:
    ids = small.ids(ASKED)
    ids[-2] = ids[-3]
    verdict = small.verdict(ASKED, ids)
    length = len(ids) - N - 1
    assert verdict.verdict == "text_differs"
    assert verdict.detail == f"from id {length - 2} on, an image counted as one; {length} ids, ours {length}"


def test_a_text_that_was_cut_off_is_told_with_its_place(small: Small) -> None:
    ids = small.ids(ASKED)
    verdict = small.verdict(ASKED, ids[:-3])
    assert verdict.verdict == "text_differs"
    assert verdict.detail.startswith(f"from id {len(ids) - N - 4} on")


def test_a_separator_after_each_reply_is_told_apart_from_other_words(small: Small) -> None:
    turns = tuple(Turn(role, role) for role in ("user", "assistant", "user", "assistant"))
    chat = replace(sample(3), turns=turns)
    ids, voc = small.ids(chat), small.sequencer.vocabulary
    assert small.verdict(chat, ids).verdict == "agree"
    marked = [voc.sep if token == voc.eos else token for token in ids[:-1]] + ids[-1:]
    assert small.verdict(chat, marked).verdict == "turn_marks_differ"


@pytest.mark.parametrize(
    "change", ["short", "long", "no end", "text inside", "stray code", "stray end", "twice", "none"]
)
def test_an_image_of_another_shape_is_told(small: Small, change: str) -> None:
    ids, voc = small.ids(ASKED), small.sequencer.vocabulary
    start, end = ids.index(voc.boi), ids.index(voc.eoi)
    changed = {
        "short": ids[: end - 1] + ids[end:],
        "long": [*ids[:end], voc.first_code, *ids[end:]],
        "no end": ids[:end] + ids[end + 1 :],
        "text inside": [*ids[: start + 1], ids[-2], *ids[start + 2 :]],
        "stray code": [*ids[:-1], voc.first_code, *ids[-1:]],
        "stray end": [*ids[:-1], voc.eoi, *ids[-1:]],
        "twice": ids[: end + 1] + ids[start : end + 1] + ids[end + 1 :],
        "none": ids[:start] + ids[end + 1 :],
    }
    assert small.verdict(ASKED, changed[change]).verdict == "shape_differs"


def test_a_picture_without_codes_of_ours_is_told(small: Small) -> None:
    unknown = sample(4, images=(image_id(2),))
    assert small.verdict(unknown, small.ids(unknown)).verdict == "picture_not_encoded"


def test_a_text_that_we_refuse_hides_no_other_row(small: Small) -> None:
    torn = sample(5, question="half a pair: \ud800")
    first, second = small.checker.check([(torn, [0, 2]), (ASKED, small.ids(ASKED))])
    assert first.verdict == "text_differs"
    assert "we refuse this text" in first.detail
    assert second.verdict == "agree"


def test_rows_that_became_no_sample_are_passed_over() -> None:
    rows = [Row("train.json", number, {"tokens": [number]}) for number in range(4)]
    assert list(pair_up([sample(1), sample(3)], rows)) == [(sample(1), [1]), (sample(3), [3])]


def test_a_sample_without_its_row_is_an_error() -> None:
    with pytest.raises(StoreError, match=r"train.json has no row 7"):
        list(pair_up([sample(7)], [Row("train.json", 0, {})]))


def limbs(count: int) -> Pool:
    size = (SIDE_PX, SIDE_PX)
    names = [f"limb_{seed}" for seed in range(count)]
    drawn = [
        Picture(name, name, "train", "synthetic", "radiograph", *size, partial(draw_limb, seed), body_part="limb")
        for seed, name in enumerate(names)
    ]
    return Pool(tuple(drawn), ())


def weights_step(key: str, folder: Path) -> Step:
    def run(ctx: Run) -> Outcome:
        shutil.copytree(folder, ctx.out, dirs_exist_ok=True)
        return Outcome(licences=("Apache-2.0",))

    return Step(key, run, "1")


def curated_without_interleaved() -> Step:
    """Curation that leaves one sample out, so that its picture has no codes."""

    def run(ctx: Run) -> Outcome:
        samples = list(read_samples(ctx.inputs["medmax_data/samples"].folder / "samples.parquet"))
        kept = [each for each in samples if each.kind != "interleaved"]
        write_table(ctx.out / "samples.parquet", samples_to_table(kept))
        return Outcome(counts=Counts(len(samples), len(kept), {"left_out": len(samples) - len(kept)}))

    return Step("medmax_data/curated", run, "1", needs=(Need("medmax_data/samples"),))


def encode_here(arguments: Sequence[str], *, state: Path | None = None) -> None:
    """The encoder without a process of its own: importing torch costs seconds."""
    assert main(list(arguments[1:])) == 0
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The step's artifact over the sample's own copy of the published set."""
    folder = tmp_path_factory.mktemp("checked")
    tree = LAYOUT.lay(limbs(LAYOUT.train))
    write_tree(folder / "landing" / "medmax_data", tree, "test", print)
    ledger = Ledger(folder / "store", "test", folder / "landing")
    record = source("medmax_data")
    for step in (
        weights_step("image_tokenizer", WEIGHTS / "vqgan"),
        weights_step("text_tokenizer", WEIGHTS / "text"),
        raw_step(record, corpus=False),
        samples_step(record),
        curated_without_interleaved(),
        image_codes_step(["medmax_data"], ["medmax_data"]),
    ):
        ledger.execute(step, launch=encode_here)
    artifact, made = ledger.execute(published_tokens_step())
    assert made
    return artifact


def test_every_planted_disagreement_is_found_and_nothing_else(checked: Artifact) -> None:
    counts = checked.manifest.counts
    assert (counts.taken, counts.kept) == (10, 5)
    assert dict(counts.dropped) == {
        "codes_differ": 1,
        "no_tokens": 1,
        "picture_not_encoded": 1,
        "text_differs": 1,
        "turn_marks_differ": 1,
    }
    assert counts.balanced


def test_the_table_holds_a_line_a_row_with_its_number_in_the_file(checked: Artifact) -> None:
    lines = pq.read_table(checked.folder / "rows.parquet").to_pylist()
    verdicts = {line["row"]: line["verdict"] for line in lines}
    assert len(lines) == 10
    assert (verdicts[0], verdicts[4], verdicts[11]) == ("agree", "no_tokens", "text_differs")
    (differing,) = (line for line in lines if line["verdict"] == "codes_differ")
    assert (differing["codes_differing"], differing["codes"]) == (CODES_CHANGED, 64)


def test_the_summary_tells_how_many_codes_agree_and_whose_licence_holds(checked: Artifact) -> None:
    summary = checked.manifest.summary
    assert (summary["agree"], summary["codes_differing"], summary["codes_compared"]) == (5, CODES_CHANGED, 6 * 64)
    assert checked.manifest.licences == (source("medmax_data").licence.name,)
    assert not checked.manifest.credentialed


@pytest.mark.parametrize("wanted", [True, False])
def test_the_step_is_in_the_graph_of_a_build_that_has_the_published_set_alone(project: Path, wanted: bool) -> None:
    settings = config.load(project / "configs" / "sample.toml")
    others = tuple(key for key in settings.build.sources if key != "medmax_data")
    build = replace(settings.build, sources=(*others, "medmax_data") if wanted else others, recipes=())
    keys = {step.key for step in graph.steps(replace(settings, build=build, recipes={}))}
    assert ("published_tokens" in keys) is wanted
