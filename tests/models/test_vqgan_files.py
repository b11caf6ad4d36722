"""An image tokenizer in each form it comes in: the same codes, the same pictures, and refusals."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ChameleonConfig, ChameleonVQVAEConfig

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.models.vqgan_files import read_yaml, sound_config
from medmax_pipeline.models.vqgan_keys import TABLE, from_published, to_published
from tests.models.original import YAML, Original, lay_original


def pixels(count: int, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module", params=[[], [8], [4]], ids=["plain", "attention", "attention_out_of_reach"])
def laid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Original]:
    """An original checkpoint on disk, and the network that wrote it."""
    folder = tmp_path_factory.mktemp("original")
    return folder / "vqgan.ckpt", lay_original(folder, request.param)


def test_an_original_checkpoint_gives_the_codes_of_its_own_network(laid: tuple[Path, Original]) -> None:
    path, network = laid
    expected = network.encode(pixels(4))
    assert len(expected.unique()) > 3
    assert torch.equal(VQGAN.load(path).encode(pixels(4)), expected)


def test_an_original_checkpoint_gives_the_pictures_of_its_own_network(laid: tuple[Path, Original]) -> None:
    path, network = laid
    codes = torch.randint(24, (3, 64), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(VQGAN.load(path).decode(codes), network.decode(codes), atol=1e-5, rtol=0)


def test_our_folder_made_of_a_checkpoint_gives_the_same_bits(laid: tuple[Path, Original], tmp_path: Path) -> None:
    original = VQGAN.load(laid[0])
    original.save(tmp_path / "ours")
    ours = VQGAN.load(tmp_path / "ours")
    codes = original.encode(pixels(3))
    assert torch.equal(ours.encode(pixels(3)), codes)
    assert torch.equal(ours.decode(codes), original.decode(codes))
    assert ours.digest() == original.digest()


def test_our_tensors_under_the_published_names_are_the_checkpoint(laid: tuple[Path, Original]) -> None:
    path, network = laid
    ours = VQGAN.load(path).state_dict()
    back = {to_published(name): tensor for name, tensor in ours.items()}
    published = network.state_dict()
    assert back.keys() == published.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in published.items())


def test_every_tensor_of_the_published_size_has_its_row_both_ways() -> None:
    with torch.device("meta"):
        names = list(VQGAN(ChameleonVQVAEConfig()).state_dict())
    for name in names:
        published = to_published(name)
        assert published is not None, name
        assert from_published(published) == name


def test_every_row_of_the_table_is_met_by_some_tensor() -> None:
    with torch.device("meta"):
        config = ChameleonVQVAEConfig(resolution=32, channel_multiplier=[1, 2], attn_resolutions=[16])
        names = set(VQGAN(config).state_dict())
    holes = {"n": "1", "m": "0", "layer": "conv1", "part": "q"}
    for row in TABLE:
        makes = {f"{row.ours.format(**holes | {'n': n})}.weight" for n in "01"}
        assert names & makes, row


@pytest.mark.parametrize(
    "name", ["loss.x.weight", "encoder.conv_in.weight.x", "xencoder.conv_in.weight", "decoder.up.0.block.0.norm3.bias"]
)
def test_names_outside_the_table_have_no_translation(name: str) -> None:
    assert from_published(name) is None
    assert to_published(name) is None


@pytest.fixture(scope="module")
def chameleon(tmp_path_factory: pytest.TempPathFactory, vqgan_folder: Path) -> Path:
    """A whole Chameleon's folder in two shards, the image tokenizer inside without its decoder, as published."""
    folder = tmp_path_factory.mktemp("chameleon")
    state = load_file(vqgan_folder / "model.safetensors")
    inner = {f"model.vqmodel.{n}": t for n, t in state.items() if not n.startswith("decoder.")}
    names = sorted(inner)
    halves = (names[::2], names[1::2])
    other = {"model.embed_tokens.weight": torch.zeros(2, 2)}
    for number, half in enumerate(halves):
        save_file({name: inner[name] for name in half} | (other if number else {}), folder / f"m-{number}.safetensors")
    values = json.loads((vqgan_folder / "config.json").read_text())
    config = ChameleonConfig(vocabulary_map={}).to_diff_dict() | {"vq_config": values, "model_type": "chameleon"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_whole_chameleons_folder_gives_the_same_codes(chameleon: Path, vqgan_folder: Path) -> None:
    inside = VQGAN.load(chameleon)
    assert torch.equal(inside.encode(pixels(3)), VQGAN.load(vqgan_folder).encode(pixels(3)))


def test_a_tokenizer_without_decoder_says_so_when_a_picture_is_asked_of_it(chameleon: Path) -> None:
    inside = VQGAN.load(chameleon)
    with pytest.raises(WeightsError, match=r"without a decoder.*vqgan\.ckpt"):
        inside.decode(torch.zeros(1, 16, dtype=torch.int64))


def test_a_chameleon_that_keeps_its_decoder_draws(chameleon: Path, vqgan_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(chameleon, tmp_path / "whole"))
    state = load_file(vqgan_folder / "model.safetensors")
    decoder = {f"model.vqmodel.{name}": tensor for name, tensor in state.items() if name.startswith("decoder.")}
    save_file(decoder, folder / "m-3.safetensors")
    assert VQGAN.load(folder).digest() == VQGAN.load(vqgan_folder).digest()


def test_vq_fields_that_a_chameleon_leaves_out_are_transformers_defaults(chameleon: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(chameleon, tmp_path / "whole"))
    config = json.loads((folder / "config.json").read_text())
    del config["vq_config"]["latent_channels"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"expected \(256, 64, 3, 3\)"):  # that is, 256 latent channels
        VQGAN.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"vq_config": 3}, "without vq_config"), ({"vq_config": {"resolution": "wide"}}, "resolution")],
)
def test_a_chameleon_whose_tokenizer_cannot_be_told_is_refused(
    chameleon: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(chameleon, tmp_path / "whole"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(WeightsError, match=message):
        VQGAN.load(folder)


def test_a_chameleon_without_image_tokenizer_is_refused(chameleon: Path, tmp_path: Path) -> None:
    folder = tmp_path / "text_only"
    folder.mkdir()
    shutil.copyfile(chameleon / "config.json", folder / "config.json")
    save_file({"model.embed_tokens.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"begins with 'model\.vqmodel\.'"):
        VQGAN.load(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("out_ch: 3", "out_ch: 1", "1 colours out"),
        ("dropout: 0.0", "resamp_with_conv: false", "resamp_with_conv"),
        ("dropout: 0.0", "num_groups: 16", "num_groups"),
        ("n_embed: 24", "n_embed: 24\n    remap: used.npy", "remap"),
        ("n_embed: 24", "n_embed: many", "num_embeddings"),
        ("ch: 128", "ch: 100", "out of bounds"),
        ("ch: 128", "ch: 64", "64 channels at a level"),
        ("resolution: 16", "resolution: 1048576", "out of bounds"),
        ("double_z: false", "double_z: true", "double_latent"),
        ("    ddconfig:\n", "    config:\n", "not a VQGAN's configuration"),
        ("model:", "- model:", "not a VQGAN's configuration"),
        ("target: somewhere.models.vqgan.VQModel", "target: !!python/name:os.system ''", "not a VQGAN's"),
        ("target: somewhere.models.vqgan.VQModel", "target: " + "[" * 5000, "not a VQGAN's"),
        ("n_embed: 24", "n_embed: 24 #" + "x" * 70_000, "bytes, at most"),
    ],
)
def test_a_configuration_of_something_else_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = YAML.format(attended=[])
    assert old in text
    (tmp_path / "vqgan.yaml").write_text(text.replace(old, new))
    with pytest.raises(WeightsError, match=message):
        read_yaml(tmp_path / "vqgan.yaml")


def test_a_checkpoint_without_its_configuration_says_what_is_missing(tmp_path: Path) -> None:
    lay_original(tmp_path)
    (tmp_path / "vqgan.yaml").unlink()
    with pytest.raises(WeightsError, match=r"vqgan\.yaml: no such file"):
        VQGAN.load(tmp_path / "vqgan.ckpt")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    lay_original(tmp_path, callbacks=Path("a class of somebody's"))
    with pytest.raises(WeightsError, match="plain tensors"):
        VQGAN.load(tmp_path / "vqgan.ckpt")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("bare", [False, True])
def test_a_pickle_that_calls_a_function_does_not_get_to(tmp_path: Path, bare: bool) -> None:
    lay_original(tmp_path)
    trap = {"state_dict": Trap(tmp_path / "sprung")}
    if bare:
        (tmp_path / "vqgan.ckpt").write_bytes(pickle.dumps(trap, protocol=2))
    else:
        torch.save(trap, tmp_path / "vqgan.ckpt")
    with pytest.raises(WeightsError, match="plain tensors"):
        VQGAN.load(tmp_path / "vqgan.ckpt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"state_dict": {"a": 1}}, "no state_dict of tensors"),
        ([1], "no state_dict of tensors"),
        ({"state_dict": {3: torch.zeros(1)}}, "no state_dict of tensors"),
        ({"state_dict": {"a": torch.zeros(2).to_sparse()}}, "no state_dict of tensors"),
        ({"state_dict": {"quant_conv.weight": torch.zeros(2)}}, "do not fit a VQGAN"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    lay_original(tmp_path)
    torch.save(value, tmp_path / "vqgan.ckpt")
    with pytest.raises(WeightsError, match=message):
        VQGAN.load(tmp_path / "vqgan.ckpt")


@pytest.mark.parametrize("data", [b"", b"<html>" * 100, b"PK\5\6" + b"\0" * 18])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    lay_original(tmp_path)
    (tmp_path / "vqgan.ckpt").write_bytes(data)
    with pytest.raises(WeightsError, match="plain tensors"):
        VQGAN.load(tmp_path / "vqgan.ckpt")


def test_a_checkpoint_in_torchs_old_form_is_read_too(tmp_path: Path) -> None:
    network = lay_original(tmp_path)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "vqgan.ckpt", _use_new_zipfile_serialization=False)
    assert torch.equal(VQGAN.load(tmp_path / "vqgan.ckpt").encode(pixels(1)), network.encode(pixels(1)))


def test_a_checkpoint_of_another_size_names_what_differs(tmp_path: Path) -> None:
    lay_original(tmp_path)
    text = (tmp_path / "vqgan.yaml").read_text()
    (tmp_path / "vqgan.yaml").write_text(text.replace("n_embed: 24", "n_embed: 32"))
    with pytest.raises(WeightsError, match=r"quantize\.embedding\.weight is \(24, 8\), expected \(32, 8\)"):
        VQGAN.load(tmp_path / "vqgan.ckpt")


def test_nothing_at_a_path_says_what_may_be_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such file or folder.*vqgan\.yaml"):
        VQGAN.load(tmp_path / "nowhere")


def test_attention_that_no_level_reaches_is_no_other_network() -> None:
    fields = ChameleonVQVAEConfig().to_dict()
    assert sound_config(fields | {"attn_resolutions": [16]}, Path("x")).attn_resolutions is None
    assert sound_config(fields | {"attn_resolutions": [16, 32]}, Path("x")).attn_resolutions == [32]
