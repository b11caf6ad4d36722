"""Published weights: records, locks, and what is made of the files when they are there. All files are made up."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medmax_pipeline.config import Weights
from medmax_pipeline.errors import ConfigError, TokenError, WeightsError
from medmax_pipeline.ingest.weights import weights_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models import conversion, steps
from medmax_pipeline.models.chameleon import MixedModalChameleon, seeded_base
from medmax_pipeline.models.original_format_write import write_original
from medmax_pipeline.models.published import ANOLE_7B, MEDMAX_7B, PUBLISHED, TEXT_TOKENIZER, VQGAN, published
from medmax_pipeline.models.weights import numeric_mode, picture_geometry, read_shapes
from medmax_pipeline.steps import Step
from tests.models.conftest import SIZE
from tests.models.original import lay_original

BASE = Weights(kind="published", name="anole_7b")
TEXT = Weights(kind="published", name="text_tokenizer")
IMAGE = Weights(kind="published", name="vqgan")


@pytest.fixture
def ledger(store: Path, tmp_path: Path) -> Ledger:
    return Ledger(store, "test", tmp_path / "landing")


def lay_chameleon(folder: Path, model: MixedModalChameleon, text: Path, shards: int = 2) -> Path:
    """A transformers folder as publishers ship them: some shards, decoder tensors beside the encoder, a wrong index."""
    whole = folder.with_name("whole")
    model.save(whole, text)
    state = load_file(whole / "model.safetensors")
    folder.mkdir(parents=True)
    names = sorted(state)
    for shard in range(shards):
        part = {name: state[name] for name in names[shard::shards]}
        if shard == 0:
            part["model.vqmodel.decoder.conv_in.weight"] = torch.zeros(2, 2)
        save_file(part, folder / f"model-{shard + 1:05}-of-{shards:05}.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    shutil.copyfile(whole / "config.json", folder / "config.json")
    shutil.rmtree(whole)
    return folder


def lay_text(landing: Path, text: Path, name: str = "text_tokenizer_modified.json") -> None:
    folder = landing / "weights" / "text_tokenizer" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(text / "tokenizer.json", folder / name)


def run_all(ledger: Ledger, *made: Step) -> None:
    for step in made:
        ledger.execute(step)


@pytest.mark.parametrize("key", list(PUBLISHED))
def test_a_record_is_complete(key: str) -> None:
    record = PUBLISHED[key]
    assert record.key == key
    assert record.access.page.startswith("https://")
    assert record.licence.name
    assert record.licence.read[:10].count("-") == 2
    assert any(not item.optional for item in record.files)
    assert record.folder == f"weights/{key}"


def test_unknown_weights_are_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="anole_7b"):
        published("gpt")


@pytest.mark.parametrize("key", list(PUBLISHED))
def test_absent_weights_lock_and_the_build_goes_on(key: str, ledger: Ledger) -> None:
    artifact, _ = ledger.execute(weights_step(PUBLISHED[key]))
    lock = artifact.manifest.lock
    assert lock is not None
    assert PUBLISHED[key].access.page in lock.cure
    if PUBLISHED[key].access.kind == "hub":
        assert "HF_HUB_OFFLINE" in lock.reason or "no hub token" in lock.reason


def test_what_is_made_of_absent_weights_is_locked_too(ledger: Ledger) -> None:
    run_all(ledger, weights_step(VQGAN), steps.image_tokenizer_step(IMAGE))
    assert ledger.need("image_tokenizer").locked


def test_a_published_chameleon_is_linked_checked_and_loads(
    ledger: Ledger, model: MixedModalChameleon, text_folder: Path
) -> None:
    folder = lay_chameleon(ledger.landing / "weights" / "anole_7b", model, text_folder)
    lay_text(ledger.landing, text_folder)
    run_all(ledger, weights_step(TEXT_TOKENIZER), steps.text_tokenizer_step(TEXT))
    run_all(ledger, weights_step(ANOLE_7B), steps.base_model_step(BASE))
    made = ledger.need("base_model")
    assert made.manifest.licences == ("Chameleon-Research",)
    assert not made.locked
    assert (made.folder / "tokenizer.json").read_bytes() == (text_folder / "tokenizer.json").read_bytes()
    shard = "model-00001-of-00002.safetensors"
    assert (made.folder / shard).samefile(folder / shard)
    assert [entry.path for entry in ledger.need("weights/anole_7b").manifest.external] == [
        "weights/anole_7b/config.json",
        f"weights/anole_7b/{shard}",
        "weights/anole_7b/model-00002-of-00002.safetensors",
        "weights/anole_7b/model.safetensors.index.json",
    ]
    loaded = MixedModalChameleon.load(made.folder)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_a_model_in_the_original_form_becomes_a_folder_that_loads(ledger: Ledger, text_folder: Path) -> None:
    folder = ledger.landing / "weights" / "medmax_7b"
    lay_original(folder / "image")
    model = seeded_base(text_folder, folder / "image" / "vqgan.ckpt", SIZE, seed=3)
    model.save(folder / "whole", text_folder)
    write_original(folder / "whole", folder / "form", folder / "image" / "vqgan.ckpt")
    for name in ("models", "tokenizer"):
        (folder / "form" / name).rename(folder / name)
    for name in ("image", "whole", "form"):
        shutil.rmtree(folder / name)
    lay_text(ledger.landing, text_folder)
    run_all(ledger, weights_step(TEXT_TOKENIZER), steps.text_tokenizer_step(TEXT))
    run_all(ledger, weights_step(MEDMAX_7B), steps.base_model_step(replace(BASE, name="medmax_7b")))
    made = ledger.need("base_model")
    assert made.manifest.licences == ("Chameleon-Research",)
    ids = torch.tensor([[0, 5, 40]])
    assert torch.equal(MixedModalChameleon.load(made.folder)(input_ids=ids).logits, model(input_ids=ids).logits)


def test_shards_are_copied_where_no_link_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"x")

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    conversion.link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x"


def spoilt(folder: Path, change: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "expected 'chameleon'"),
        ({"intermediate_size": 128}, "of another shape"),
        ({"num_hidden_layers": 3}, "missing"),
        ({"num_hidden_layers": 1}, "foreign"),
        ({"hidden_size": "wide"}, "describes no Chameleon"),
    ],
)
def test_a_chameleon_that_is_not_its_configurations_is_refused(
    tmp_path: Path, model: MixedModalChameleon, text_folder: Path, change: dict[str, Any], message: str
) -> None:
    folder = lay_chameleon(tmp_path / "in", model, text_folder)
    spoilt(folder, change)
    (tmp_path / "out").mkdir()
    with pytest.raises(WeightsError, match=message):
        conversion.place_chameleon(folder, sorted(p.name for p in folder.iterdir()), text_folder, tmp_path / "out")


def test_another_publishers_vocabulary_is_refused(
    tmp_path: Path, model: MixedModalChameleon, text_folder: Path
) -> None:
    folder = lay_chameleon(tmp_path / "in", model, text_folder)
    config = json.loads((folder / "config.json").read_text())
    names = config["vocabulary_map"]
    spoilt(folder, {"vocabulary_map": {**names, "<s>": names["<pad>"], "<pad>": names["<s>"]}})
    (tmp_path / "out").mkdir()
    with pytest.raises(WeightsError, match="not that of the text tokenizer"):
        conversion.place_chameleon(folder, ["config.json"], text_folder, tmp_path / "out")


def test_headers_tell_what_loading_tells(vqgan_folder: Path) -> None:
    state = load_file(vqgan_folder / "model.safetensors")
    assert read_shapes(vqgan_folder) == {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04}q\x00." * 9,
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 4) + b"[[[[",
        b"\2" + b"\0" * 9,
    ],
)
def test_a_broken_header_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="not a whole safetensors"):
        read_shapes(tmp_path)


def test_a_shard_that_ends_early_is_refused(tmp_path: Path, vqgan_folder: Path) -> None:
    data = (vqgan_folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-100])
    with pytest.raises(WeightsError, match="its header tells of"):
        read_shapes(tmp_path)


def test_two_shards_with_one_name_are_refused(tmp_path: Path, vqgan_folder: Path) -> None:
    for name in ("a", "b"):
        shutil.copyfile(vqgan_folder / "model.safetensors", tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="again"):
        read_shapes(tmp_path)


def test_a_vqgan_checkpoint_becomes_the_folder_that_our_network_loads(ledger: Ledger) -> None:
    from medmax_pipeline.models.vqgan import VQGAN as Network

    folder = ledger.landing / "weights" / "vqgan" / "tokenizer"
    network = lay_original(folder)
    run_all(ledger, weights_step(VQGAN), steps.image_tokenizer_step(IMAGE))
    made = ledger.need("image_tokenizer")
    loaded = Network.load(made.folder)
    assert made.manifest.summary["weights_sha256"] == loaded.digest()
    state = network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert made.manifest.summary["parameters"] == sum(tensor.numel() for tensor in state.values())


def test_a_vqgan_without_its_configuration_is_locked(ledger: Ledger) -> None:
    folder = ledger.landing / "weights" / "vqgan" / "tokenizer"
    lay_original(folder)
    (folder / "vqgan.yaml").unlink()
    run_all(ledger, weights_step(VQGAN), steps.image_tokenizer_step(IMAGE))
    assert ledger.need("image_tokenizer").locked


def test_a_vqgan_checkpoint_without_decoder_is_no_image_tokenizer(tmp_path: Path) -> None:
    network = lay_original(tmp_path)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("decoder.")}
    torch.save({"state_dict": state}, tmp_path / "vqgan.ckpt")
    with pytest.raises(WeightsError, match="holds no decoder"):
        conversion.convert_vqgan(tmp_path / "vqgan.ckpt", tmp_path / "out")


def test_of_two_tokenizer_files_the_changed_one_is_taken(ledger: Ledger, text_folder: Path) -> None:
    lay_text(ledger.landing, text_folder)
    lay_text(ledger.landing, text_folder, "text_tokenizer.json")
    run_all(ledger, weights_step(TEXT_TOKENIZER), steps.text_tokenizer_step(TEXT))
    assert ledger.need("text_tokenizer").manifest.summary["ids"] > 300  # type: ignore[operator]


def test_a_tokenizer_without_the_published_names_is_refused(ledger: Ledger, text_folder: Path) -> None:
    lay_text(ledger.landing, text_folder)
    path = ledger.landing / "weights" / "text_tokenizer" / "tokenizer" / "text_tokenizer_modified.json"
    path.write_text(path.read_text().replace("<racm3:break>", "<other>"))
    ledger.execute(weights_step(TEXT_TOKENIZER))
    with pytest.raises(TokenError, match="racm3"):
        ledger.execute(steps.text_tokenizer_step(TEXT))


def test_a_tokenizer_of_another_geometry_says_so_and_is_another_step(ledger: Ledger) -> None:
    boxed = steps.image_tokenizer_step(Weights(kind="sample", geometry="letterbox"))
    run_all(ledger, steps.image_tokenizer_step(Weights(kind="sample")))
    before = ledger.need("image_tokenizer").folder
    assert picture_geometry(before) == "centre_crop"
    run_all(ledger, boxed)
    after = ledger.need("image_tokenizer").folder
    assert picture_geometry(after) == "letterbox"
    assert after != before
    assert (after / "model.safetensors").read_bytes() == (before / "model.safetensors").read_bytes()


def test_a_builds_numeric_mode_stands_in_the_tokenizers_configuration(ledger: Ledger) -> None:
    run_all(ledger, steps.image_tokenizer_step(Weights(kind="sample", mode="fast")))
    assert numeric_mode(ledger.need("image_tokenizer").folder) == "fast"
    run_all(ledger, steps.image_tokenizer_step(Weights(kind="sample")))
    assert numeric_mode(ledger.need("image_tokenizer").folder) == "exact"


@pytest.mark.parametrize(
    ("make", "weights", "message"),
    [
        (steps.image_tokenizer_step, replace(IMAGE, name="anole_7b"), "expected one of 'vqgan'"),
        (steps.text_tokenizer_step, Weights(kind="sample", mode="fast"), "fast: only an image tokenizer"),
        (steps.text_tokenizer_step, Weights(kind="sample", geometry="letterbox"), "letterbox: only an image tokenizer"),
        (steps.base_model_step, Weights(kind="sample"), "expected one of 'seeded', 'published'"),
        (steps.base_model_step, Weights(kind="published"), "'anole_7b', 'chameleon_7b'"),
        (steps.similarity_model_step, Weights(kind="seeded"), "expected one of 'sample', 'published'"),
    ],
)
def test_weights_that_fit_no_asset_are_refused(make: Any, weights: Weights, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(weights)
