"""The steps of the set: what locks them, what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.config import Endpoint, Interleave
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.interleave.steps import written_step
from tests.interleave.writing import House, pair

RULES = Endpoint(kind="sample", model="sample_author")


def house(tmp_path: Path) -> House:
    return House(tmp_path, {"pmc_oa": [pair("a"), pair("b")]})


def test_without_an_endpoint_the_set_is_locked_with_the_cure(tmp_path: Path) -> None:
    own = replace(house(tmp_path), wanted=Interleave(sources=("pmc_oa",)))
    lock = own.build().manifest.lock
    assert lock is not None
    assert "[interleave] endpoint" in lock.cure
    assert own.ledger.need("interleaved/curated").locked


def test_without_a_key_the_set_is_locked_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    endpoint = Endpoint(kind="openai", model="author-1", key="NO_SUCH_KEY")
    lock = replace(house(tmp_path), endpoints={"author": endpoint}).build().manifest.lock
    assert lock is not None
    assert "NO_SUCH_KEY" in lock.cure


def test_the_embedded_author_writes_under_its_own_name(tmp_path: Path) -> None:
    own = replace(house(tmp_path), endpoints={"author": RULES})
    made = own.build()
    assert (made.manifest.counts.kept, made.manifest.summary["author"]) == (2, "sample_author")
    assert "Caption of a." in next(read_samples(made.folder / "samples.parquet")).turns[1].text
    assert "no language model" in own.steps()[-2].description


def test_another_author_or_prompt_is_another_set_and_more_hands_are_not(tmp_path: Path) -> None:
    wanted = house(tmp_path).wanted

    def params(endpoint: Endpoint) -> object:
        return written_step(wanted, {"author": endpoint}, ("pmc_oa",)).params

    plain = Endpoint(kind="openai", model="author-1")
    assert params(plain) == params(replace(plain, concurrency=32, retries=1, budget_usd=None))
    assert params(plain) != params(replace(plain, model="author-2"))
    assert params(plain) != params(RULES)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Interleave(endpoint="nobody", sources=("pmc_oa",)), "endpoints of the build are author"),
        (Interleave(endpoint="author", sources=("slake",)), r"\['slake'\]"),
        (Interleave(endpoint="author", sources=("pmc_oa",), limit={"slake": 3}), r"\['slake'\]"),
        (Interleave(endpoint="author", sources=()), "expected some of pmc_oa"),
        (Interleave(endpoint="author", sources=("pmc_oa",), prompt="v0"), "are v1"),
        (Interleave(endpoint="author", sources=("pmc_oa",), attempts=0), "at least 1"),
        (Interleave(endpoint="author", sources=("pmc_oa",), limit={"pmc_oa": -1}), "no limit below 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(wanted: Interleave, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        written_step(wanted, {"author": RULES}, ("pmc_oa",))
