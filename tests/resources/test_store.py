"""The store resource: which build, and where."""

from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.resources.store import StoreResource


def test_paths_come_from_the_environment_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = StoreResource()
    monkeypatch.setenv("MEDMAX_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MEDMAX_LANDING", str(tmp_path / "landing"))
    ledger = resource.ledger()
    assert (ledger.store, ledger.landing) == (tmp_path / "store", tmp_path / "landing")
    assert ledger.build == "sample"


def test_a_named_file_is_the_build(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"other\.toml: no such file"):
        StoreResource(config_file=str(tmp_path / "other.toml")).settings()
