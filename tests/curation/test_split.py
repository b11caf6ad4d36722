"""Evaluation rows never train, and what a build holds out itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.curation.split import decide, held_out_share
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources import source
from medmax_pipeline.sources.pmc_oa import split_of
from medmax_pipeline.sources.splits import held_out
from tests.curation.published import sample
from tests.ingest.landings import lay_pmc_oa, picture

IMAGES = [f"{number:064x}" for number in range(3000)]


def test_a_training_row_stays_and_an_evaluation_row_goes() -> None:
    assert decide(sample("a", "p"), 0.0) is None
    drop = decide(sample("a", "p", split="eval"), 0.0)
    assert drop is not None
    assert drop.reason == "evaluation_row"


def test_what_the_build_held_out_is_named_for_that() -> None:
    drop = decide(sample("a", "p", split="eval"), 0.1)
    assert drop is not None
    assert drop.reason == "held_out"


def test_a_source_with_a_split_keeps_it() -> None:
    with pytest.raises(ConfigError, match="pmc_oa, which has a split"):
        held_out_share({"pmc_oa": 0.1}, source("pmc_oa"))


def test_a_source_without_a_split_gives_the_share_that_is_asked() -> None:
    assert held_out_share({"llava_med_pmc": 0.1}, source("llava_med_pmc")) == 0.1
    assert held_out_share({"llava_med_pmc": 0.1}, source("pmc_oa")) == 0.0


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_share_that_leaves_no_training_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="expected 0 to below 1"):
        held_out_share({"llava_med_pmc": share}, source("llava_med_pmc"))


def test_a_larger_share_holds_out_the_same_images_and_more() -> None:
    small, large = ({image for image in IMAGES if held_out("one", image, share)} for share in (0.02, 0.1))
    assert small < large
    assert len(large) / len(IMAGES) == pytest.approx(0.1, abs=0.02)


def test_sources_hold_out_images_of_their_own() -> None:
    one, two = ({image for image in IMAGES if held_out(key, image, 0.1)} for key in ("one", "two"))
    assert one != two


def test_rows_of_held_out_images_become_evaluation_rows_before_anybody_looks_for_leaks(tmp_path: Path) -> None:
    record = source("pmc_oa")
    articles = [name for name in (f"PMC{number}" for number in range(1, 40)) if split_of(name) == "train"][:12]
    names = [f"{article}_Fig1_1.jpg" for article in articles]
    rows = [{"image": name, "caption": f"{words} {name}"} for name in names for words in ("A knee.", "A hand.")]
    lay_pmc_oa(tmp_path / "landing", rows, {name: picture(number) for number, name in enumerate(names)})
    ledger = Ledger(tmp_path / "store", "test", tmp_path / "landing")
    ledger.execute(raw_step(record, False))
    made, _ = ledger.execute(samples_step(record, hold_out=0.5))
    sides: dict[str, set[str]] = {}
    for item in read_samples(made.folder / "samples.parquet"):
        sides.setdefault(item.images[0], set()).add(item.split)
    assert sides == {
        image: {"eval" if held_out("pmc_oa", image, 0.5) else "train"}
        for image in (sha256_bytes(picture(number)) for number in range(12))
    }
    assert {"eval", "train"} == {side for one in sides.values() for side in one}
    assert made.manifest.params == {"hold_out": 0.5}
