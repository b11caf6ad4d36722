"""Weights folders: what is read, what is refused, and what a tokenizer's digest covers."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from medmax_pipeline.errors import DiskFull, WeightsError
from medmax_pipeline.models.weights import (
    STATE,
    check_state,
    numeric_mode,
    picture_geometry,
    read_checkpoint,
    read_config,
    read_state,
    set_options,
    tokenizer_digest,
    weights_written,
)


def test_digest_is_sixty_four_hex_digits_and_stable(vqgan_folder: Path, tmp_path: Path) -> None:
    digest = tokenizer_digest(vqgan_folder, preprocessing="1")
    moved = Path(shutil.copytree(vqgan_folder, tmp_path / "elsewhere"))
    assert len(digest) == 64
    assert tokenizer_digest(moved, preprocessing="1") == digest


def test_digest_follows_weights_configuration_and_preprocessing(vqgan_folder: Path, tmp_path: Path) -> None:
    base = tokenizer_digest(vqgan_folder, preprocessing="1")
    other = Path(shutil.copytree(vqgan_folder, tmp_path / "config"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"resolution": 32}))
    weights = Path(shutil.copytree(vqgan_folder, tmp_path / "weights"))
    (weights / "model.safetensors").write_bytes(b"other")
    found = {
        base,
        tokenizer_digest(vqgan_folder, preprocessing="2"),
        tokenizer_digest(other, preprocessing="1"),
        tokenizer_digest(weights, preprocessing="1"),
    }
    assert len(found) == 4


def test_digest_ignores_fields_that_shape_no_code(vqgan_folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(vqgan_folder, tmp_path / "config"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"transformers_version": "9"}))
    assert tokenizer_digest(other, preprocessing="1") == tokenizer_digest(vqgan_folder, preprocessing="1")


def test_another_geometry_of_pictures_is_another_tokenizer(vqgan_folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(vqgan_folder, tmp_path / "letterbox"))
    base = tokenizer_digest(vqgan_folder, preprocessing="1")
    set_options(other, {"picture_geometry": "letterbox"})
    assert picture_geometry(other) == "letterbox"
    assert tokenizer_digest(other, preprocessing="1") != base
    set_options(other, {"picture_geometry": "centre_crop"})
    assert tokenizer_digest(other, preprocessing="1") == base


def test_another_numeric_mode_is_another_tokenizer(vqgan_folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(vqgan_folder, tmp_path / "fast"))
    assert numeric_mode(other) == "exact"
    set_options(other, {"numeric_mode": "fast"})
    assert numeric_mode(other) == "fast"
    assert tokenizer_digest(other, preprocessing="1") != tokenizer_digest(vqgan_folder, preprocessing="1")


def test_a_mode_nobody_knows_is_refused(vqgan_folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(vqgan_folder, tmp_path / "other"))
    set_options(other, {"numeric_mode": "faster"})
    with pytest.raises(WeightsError, match="numeric_mode is 'faster', expected one of exact, fast"):
        numeric_mode(other)


def test_a_geometry_nobody_knows_is_refused(vqgan_folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(vqgan_folder, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"picture_geometry": "stretch"}))
    with pytest.raises(WeightsError, match="'stretch', expected one of centre_crop, letterbox"):
        tokenizer_digest(other, preprocessing="1")


def test_a_checkpoint_names_no_geometry(tmp_path: Path) -> None:
    assert picture_geometry(tmp_path / "vqgan.ckpt") == "centre_crop"


def test_digest_costs_no_torch() -> None:
    code = "import sys, medmax_pipeline.models.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000])
def test_configurations_that_are_no_object_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(tmp_path)


def test_an_oversized_configuration_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as handle:
        handle.truncate(17 << 20)
    with pytest.raises(WeightsError, match="at most"):
        read_config(tmp_path)


def test_a_missing_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        read_config(tmp_path)


def test_a_pickle_in_the_place_of_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04}q\x00." * 10)
    with pytest.raises(WeightsError, match="not a whole safetensors"):
        read_state(tmp_path)


def test_a_missing_state_names_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "vqgan.ckpt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"found: vqgan\.ckpt"):
        read_state(tmp_path)


def test_all_differences_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"1 missing \(a\); 1 foreign \(b\); 1 of another shape \(c is \(2,\)"):
        check_state({"b": (1,), "c": (2,)}, {"a": (1,), "c": (3,)}, tmp_path, "a net")


class Evil:
    """What a checkpoint must not be able to do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, tmp_path / "evil.bin")
    with pytest.raises(WeightsError, match=r"plain tensors.*Expected somebody's file"):
        read_checkpoint(tmp_path / "evil.bin", "somebody's file")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_over_its_limit_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"\0" * 11)
    with pytest.raises(WeightsError, match="11 bytes, at most 10 expected"):
        read_checkpoint(tmp_path / "large.bin", "a small one", most_bytes=10)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a\.bin: no such file. Expected somebody's"):
        read_checkpoint(tmp_path / "a.bin", "somebody's")


def test_a_checkpoint_is_its_dictionary_or_the_state_dict_in_it(tmp_path: Path) -> None:
    for value in ({"a": torch.ones(2)}, {"state_dict": {"a": torch.ones(2)}, "epoch": 3}):
        torch.save(value, tmp_path / "a.bin")
        assert read_checkpoint(tmp_path / "a.bin", "any")["a"].tolist() == [1, 1]


def test_a_full_disk_is_told_as_everywhere(tmp_path: Path) -> None:
    """The kernel lets no file grow beyond 100 bytes, for as long as it is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(DiskFull, match=r"model\.safetensors: no space left"), weights_written(tmp_path / STATE):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            save_file({"weight": torch.zeros(99)}, tmp_path / STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
