"""Evaluation rows never train, and what a build holds out itself."""

from __future__ import annotations

import pytest

from medmax_pipeline.curation.split import decide, held_out_share
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.sources import source
from medmax_pipeline.sources.splits import held_out
from tests.curation.published import sample

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
