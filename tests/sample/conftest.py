"""The corpus, laid out once by the function and once by its step, for all tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sample.corpus import CorpusReport, lay_out
from medmax_pipeline.sample.packaged import Skipped
from medmax_pipeline.sample.pictures import Picture, pictures, skipped
from medmax_pipeline.sample.step import corpus_step
from medmax_pipeline.steps import Artifact
from tests.conftest import absent


class Laid(NamedTuple):
    """A landing root with what was reported of it."""

    landing: Path
    report: CorpusReport
    log: list[str]


class Published(NamedTuple):
    """A landing root that the step laid out, and the artifact."""

    landing: Path
    ledger: Ledger
    artifact: Artifact


@pytest.fixture(scope="session", autouse=True)
def _packages() -> None:
    missing: tuple[Skipped, ...] = skipped()
    if missing:
        absent("corpus", f"the corpus is incomplete here: {missing[0].reason}")


@pytest.fixture(scope="session")
def every() -> list[Picture]:
    """All pictures of the corpus."""
    return list(pictures())


@pytest.fixture(scope="session")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    """The corpus laid out in an empty landing root."""
    landing, log = tmp_path_factory.mktemp("landing"), list[str]()
    return Laid(landing, lay_out(landing, log.append), log)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The corpus laid out by its step through the ledger, elsewhere."""
    landing = tmp_path_factory.mktemp("second")
    ledger = Ledger(tmp_path_factory.mktemp("store"), "sample", landing)
    artifact, made = ledger.execute(corpus_step())
    assert made
    return Published(landing, ledger, artifact)
