"""Which licences a build admits."""

from __future__ import annotations

import pytest

from medmax_pipeline.curation.licence import COMMERCIAL, admitted, decide
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.sources import SOURCES
from tests.curation.published import sample

KNOWN = {one.licence.name for one in SOURCES.values()}


def test_a_build_that_names_none_admits_any() -> None:
    assert admitted((), KNOWN) is None
    assert decide(sample("a", "p", credentialed=True), None) is None


def test_a_licence_that_is_not_named_is_dropped_by_its_name() -> None:
    stay = admitted(("MIT",), KNOWN)
    drop = decide(sample("a", "p"), stay)
    assert drop is not None
    assert (drop.reason, drop.detail) == ("licence_not_admitted", "Open")


def test_the_commercial_set_and_further_names_add_up() -> None:
    assert admitted(("commercial", "CC-BY-NC-4.0"), KNOWN) == COMMERCIAL | {"CC-BY-NC-4.0"}


@pytest.mark.parametrize(
    "name", ["CC-BY-NC-4.0", "CC-BY-NC-ND-3.0", "CC-BY-ND-4.0", "unstated", "Quilt-1M data use agreement"]
)
def test_terms_that_forbid_or_say_nothing_are_not_commercial(name: str) -> None:
    assert name in KNOWN
    assert name not in COMMERCIAL


def test_credentialed_sources_are_not_commercial() -> None:
    assert not {one.licence.name for one in SOURCES.values() if one.credentialed} & COMMERCIAL


def test_every_commercial_licence_is_on_a_record() -> None:
    assert COMMERCIAL <= KNOWN


def test_an_unknown_licence_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"\['GPL'\].*they have .*MIT"):
        admitted(("GPL", "MIT"), KNOWN)
