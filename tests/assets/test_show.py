"""What an asset's page shows of curation: the funnel's table and what was left out, with the data's text as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.assets.show import metadata_of
from medmax_pipeline.ledger import Ledger
from tests.report.conftest import HOSTILE, build


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A small build with a funnel; to be read only."""
    return build(tmp_path_factory.mktemp("shown"))


def shown(ledger: Ledger, key: str, entry: str, landing: Path) -> str:
    return str(metadata_of(ledger.need(key), True, landing)[entry].value)


def test_the_funnel_over_all_sources_is_a_table_with_every_reason(ledger: Ledger, tmp_path: Path) -> None:
    text = shown(ledger, "funnel", "all_sources", tmp_path)
    assert "| vqa_rad | samples | in |  | 5 | 100.0% |" in text
    assert "| vqa_rad | curated | dropped | eval_image | 1 | 33.3% |" in text
    assert "| vqa_rad | curated | out |  | 1 | 33.3% |" in text


def test_a_dropped_sample_is_shown_with_its_reason_and_its_text_is_no_markup(ledger: Ledger, tmp_path: Path) -> None:
    text = shown(ledger, "vqa_rad/curated", "left_out", tmp_path)
    assert "| eval_image | aaaaaaaa | vqa_open |" in text
    assert "&lt;script&gt;" in text
    assert HOSTILE not in text


def test_a_source_without_open_examples_shows_none(ledger: Ledger, tmp_path: Path) -> None:
    assert len(shown(ledger, "pmc_oa/curated", "left_out", tmp_path).splitlines()) == 2
