"""Builds and recipes: what a file may say, and what happens when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline import config
from medmax_pipeline.errors import ConfigError


def test_every_build_and_recipe_that_is_shipped_can_be_read(project: Path) -> None:
    for path in sorted((project / "configs").glob("*.toml")):
        assert config.load(path).build.name == path.stem
    for path in sorted((project / "configs" / "recipes").glob("*.toml")):
        assert config.read_recipe(path).name == path.stem


def changed(project: Path, tmp_path: Path, old: str, new: str, file: str = "sample.toml") -> Path:
    """A copy of the sample's configuration in which `old` reads `new`."""
    (tmp_path / "recipes").mkdir()
    for name in ("sample.toml", "recipes/sample.toml"):
        text = (project / "configs" / name).read_text()
        if name == file:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / name).write_text(text)
    return tmp_path / "sample.toml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[curation]", "[curation]\nthreshhold = 1", "unknown key curation.threshhold"),
        ('executor = "in_process"', 'executor = "cloud"', "'in_process', 'multiprocess'"),
        ("base = true", 'base = "yes"', "evaluation.base is 'yes', expected bool"),
        ('recipes = ["sample"]', "", "recipes is missing"),
        ('name = "sample"', 'name = "other"', "expected 'sample'"),
        ('"vqa_rad"', '"pmc_vqa"', "mixture names .*vqa_rad"),
        ("[curation]", '[variants]\nmoon = "full"\n[curation]', "variants names .*moon"),
        ("[curation]", '[pins]\npmc_oa = "main"\n[curation]', "pins of .*pmc_oa.* are no commits"),
    ],
)
def test_a_build_that_says_something_wrong_is_refused(
    project: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(changed(project, tmp_path, old, new))


def test_several_faults_are_told_at_once(project: Path, tmp_path: Path) -> None:
    path = changed(
        project, tmp_path, '[curation]\nduplicates = "near"', '[curation]\none = 1\ntwo = 2\nduplicates = "maybe"'
    )
    with pytest.raises(ConfigError) as error:
        config.load(path)
    assert all(word in str(error.value) for word in ("curation.one", "curation.two", "'maybe'"))


def test_a_recipe_whose_sequences_fit_no_pack_is_refused(project: Path, tmp_path: Path) -> None:
    path = changed(project, tmp_path, "token_budget = 1024", "token_budget = 100", "recipes/sample.toml")
    with pytest.raises(ConfigError, match="must fit into a pack"):
        config.load(path)


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MEDMAX_CONFIG"):
        config.load(tmp_path / "none.toml")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.toml"
    path.write_text("= what")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        config.load(path)
