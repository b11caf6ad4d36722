"""Similarity models: they give what transformers' own classes give, and refuse files that are not theirs."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from medmax_pipeline.config import Weights
from medmax_pipeline.errors import ImageError, WeightsError
from medmax_pipeline.ingest.weights import weights_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models import biomedclip, open_clip_libraries, steps
from medmax_pipeline.models.open_clip_libraries import missing_libraries
from medmax_pipeline.models.published import BIOMEDCLIP, CLIP
from medmax_pipeline.models.similarity import BATCH, Similarity, identity_of, open_similarity
from medmax_pipeline.models.similarity_files import OPEN_CLIP_STATE, read_preprocessing
from tests.models.clips import lay_clip, png

PUBLISHED_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {"timm_model_name": "vit_base_patch16_224", "timm_proj": "linear", "image_size": 224},
        "text_cfg": {"hf_model_name": "microsoft/BiomedNLP-PubMedBERT", "hf_proj_type": "mlp", "context_length": 256},
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_clip(tmp_path_factory.mktemp("clip") / "any_clip")


@pytest.fixture(scope="module")
def model(folder: Path) -> Similarity:
    return open_similarity(folder)


def test_rows_have_length_one(model: Similarity) -> None:
    rows = model.images([png(40, 50), png(33, 90, mode="L"), png(70, 32, mode="RGBA")])
    assert rows.shape == (3, 16)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(model.texts(["a chart", ""]), axis=1) == pytest.approx(1, abs=1e-5)


def test_nothing_in_gives_no_rows_of_the_same_width(model: Similarity) -> None:
    assert model.images([]).shape == model.texts([]).shape == (0, 16)


def test_more_than_a_batch_keeps_its_order(model: Similarity) -> None:
    texts = [f"a chart of {number}" for number in range(BATCH + 3)]
    alone = np.concatenate([model.texts([text]) for text in texts])
    assert model.texts(texts) == pytest.approx(alone, abs=1e-5)


def test_features_are_those_of_transformers_own_model(folder: Path, model: Similarity) -> None:
    picture, text = png(50, 41, seed=3), "a bar chart"
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    pixels = torch.from_numpy(np.stack(processor(Image.open(io.BytesIO(picture)))["pixel_values"]))
    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids])
    with torch.inference_mode():
        expected = CLIPModel.from_pretrained(folder)(input_ids=ids, pixel_values=pixels)
    assert model.images([picture]) == pytest.approx(expected.image_embeds.numpy(), abs=1e-5)
    assert model.texts([text]) == pytest.approx(expected.text_embeds.numpy(), abs=1e-5)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (33, 200), (97, 41), (20, 31), (640, 480)])
def test_pictures_are_prepared_as_transformers_prepares_them(folder: Path, width: int, height: int) -> None:
    picture = png(width, height)
    expected = CLIPImageProcessorPil.from_pretrained(folder)(Image.open(io.BytesIO(picture)))["pixel_values"][0]
    made = read_preprocessing(folder / "preprocessor_config.json", 32).prepare(picture)
    assert made == pytest.approx(expected, abs=1e-5)


@pytest.mark.gpu
def test_on_a_gpu_rows_are_those_of_the_cpu(folder: Path, model: Similarity) -> None:
    pictures, texts = [png(50, 41, seed=seed) for seed in range(3)], ["a bar chart", "a chest radiograph of"]
    moved = open_similarity(folder, "cuda")
    assert moved.images(pictures) == pytest.approx(model.images(pictures), abs=1e-4)
    assert moved.texts(texts) == pytest.approx(model.texts(texts), abs=1e-4)


def test_a_text_beyond_the_networks_length_is_cut(model: Similarity) -> None:
    assert model.texts(["a chart " * 200]).shape == (1, 16)


def test_a_spelt_out_end_mark_does_not_end_a_text(model: Similarity) -> None:
    short, spelt = model.texts(["a", "a <|endoftext|> chart"])
    assert float(short @ spelt) < 0.999


def test_a_torn_picture_is_told_by_name(model: Similarity) -> None:
    with pytest.raises(ImageError, match="image_"):
        model.images([png(40, 40)[:200]])


def test_a_very_narrow_picture_is_refused(model: Similarity) -> None:
    with pytest.raises(ImageError, match="image_too_narrow"):
        model.images([png(1, 900)])


def test_the_name_is_the_cards_or_the_folders(tmp_path: Path, model: Similarity) -> None:
    assert model.name == "any_clip"
    folder = lay_clip(tmp_path / "b")
    (folder / "similarity.json").write_text('{"name": "mine", "form": "transformers"}')
    assert open_similarity(folder).name == "mine"
    (folder / "similarity.json").write_text('{"name": "mine", "form": "onnx"}')
    with pytest.raises(WeightsError, match="onnx"):
        open_similarity(folder)


def test_other_weights_are_another_identity_and_other_words_are_not(tmp_path: Path) -> None:
    first, second = lay_clip(tmp_path / "a" / "clip"), lay_clip(tmp_path / "b" / "clip", seed=1)
    assert identity_of(first) != identity_of(second)
    before = identity_of(first)
    for words in ("card.json", "manifest.json"):
        (first / words).write_text("{}")
    assert identity_of(first) == before


def spoil(folder: Path, name: str, **changes: Any) -> None:
    values = json.loads((folder / name).read_text())
    for key, value in changes.items():
        where, _, inner = key.partition("__")
        if inner:
            values[where][inner] = value
        else:
            values[where] = value
    (folder / name).write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("config.json", {"model_type": "siglip"}, "expected 'clip'"),
        ("config.json", {"vision_config__image_size": 1 << 20}, "out of bounds"),
        ("config.json", {"text_config__hidden_size": 1 << 30}, "out of bounds"),
        ("config.json", {"text_config__num_attention_heads": 0}, "can be made"),
        ("config.json", {"text_config__hidden_size": "wide"}, "can be made"),
        ("config.json", {"vision_config__num_hidden_layers": 2}, "missing"),
        ("config.json", {"vision_config__intermediate_size": 128}, "of another shape"),
        ("config.json", {"text_config__eos_token_id": 7}, "end mark 7"),
        ("config.json", {"text_config__vocab_size": 100}, "of another shape"),
        ("preprocessor_config.json", {"resample": 99}, "resample"),
        ("preprocessor_config.json", {"do_normalize": False}, "switched off: do_normalize"),
        ("preprocessor_config.json", {"image_std": [0.5, 0.5, 0]}, "image_std"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "image_mean"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}}, "32 px"),
        ("preprocessor_config.json", {"rescale_factor": "much"}, "rescale_factor"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str, changes: dict[str, Any], message: str) -> None:
    folder = lay_clip(tmp_path / "clip")
    spoil(folder, name, **changes)
    with pytest.raises(WeightsError, match=message):
        open_similarity(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["absent", "torn"])
def test_absent_and_torn_files_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    folder = lay_clip(tmp_path / "clip")
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "torn":
        (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError):
        open_similarity(folder)


def test_a_tokenizer_of_more_ids_than_the_network_has_is_refused(tmp_path: Path) -> None:
    folder = lay_clip(tmp_path / "clip")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(WeightsError, match="do not belong together"):
        open_similarity(folder)


def test_a_pickle_in_the_weights_place_is_not_opened(tmp_path: Path) -> None:
    folder = lay_clip(tmp_path / "clip")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightsError, match="no safetensors"):
        open_similarity(folder)


def test_a_configuration_of_megabytes_is_not_read(tmp_path: Path) -> None:
    folder = lay_clip(tmp_path / "clip")
    (folder / "preprocessor_config.json").write_text(" " * (2 << 20))
    with pytest.raises(WeightsError, match="at most"):
        open_similarity(folder)


def test_a_published_clip_becomes_an_artifact_under_its_records_name(store: Path, tmp_path: Path) -> None:
    ledger = Ledger(store, "test", tmp_path / "landing")
    lay_clip(ledger.landing / "weights" / "clip")
    ledger.execute(weights_step(CLIP))
    made, _ = ledger.execute(steps.similarity_model_step(Weights(kind="published", name="clip")))
    assert made.manifest.summary == {"name": "clip", "form": "transformers"}
    assert open_similarity(made.folder).name == "clip"


@pytest.fixture
def without_open_clip(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that lacks one of the libraries, whatever this one has."""
    monkeypatch.setattr(open_clip_libraries, "LIBRARIES", ("open_clip_of_nobody",))
    missing_libraries.cache_clear()
    yield
    missing_libraries.cache_clear()


@pytest.mark.usefixtures("without_open_clip")
def test_biomedclip_is_locked_with_its_cure_where_open_clip_is_not_installed(store: Path, tmp_path: Path) -> None:
    ledger = Ledger(store, "test", tmp_path / "landing")
    folder = ledger.landing / "weights" / "biomedclip"
    folder.mkdir(parents=True)
    for item in BIOMEDCLIP.files:
        (folder / item.path).write_bytes(b"{}")
    ledger.execute(weights_step(BIOMEDCLIP))
    made, _ = ledger.execute(steps.similarity_model_step(Weights(kind="published", name="biomedclip")))
    lock = made.manifest.lock
    assert lock is not None
    assert "not installed: open_clip_of_nobody" in lock.reason
    assert "medmax_pipeline[biomedclip]" in lock.cure
    with pytest.raises(WeightsError, match="open_clip"):
        biomedclip.load_biomedclip(folder, "cpu")


def test_biomedclips_configuration_gives_size_space_and_preparation(tmp_path: Path) -> None:
    network, side_px, dimensions = biomedclip.network_of(PUBLISHED_CONFIG, tmp_path)
    assert (side_px, dimensions, network["embed_dim"]) == (224, 512, 512)
    prepared = biomedclip.preparation(PUBLISHED_CONFIG, 224, tmp_path).prepare(png(300, 260))
    assert prepared.shape == (3, 224, 224)
    assert biomedclip.preparation({}, 224, tmp_path).mean == biomedclip.MEAN


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_cfg": {"embed_dim": 512}},
        {"model_cfg": PUBLISHED_CONFIG["model_cfg"] | {"embed_dim": "many"}},
        {"model_cfg": PUBLISHED_CONFIG["model_cfg"] | {"text_cfg": {"hf_model_name": "t5"}}},
        {"model_cfg": PUBLISHED_CONFIG["model_cfg"] | {"vision_cfg": {"image_size": 224}}},
        {
            "model_cfg": PUBLISHED_CONFIG["model_cfg"]
            | {"vision_cfg": {"timm_model_name": "hf-hub:a/b", "image_size": 224}}
        },
    ],
)
def test_another_networks_open_clip_configuration_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="open_clip_config"):
        biomedclip.network_of(config, tmp_path)


@pytest.mark.parametrize(("over", "margin"), [(1, 0), (2, 1), (3, 2), (5, 2), (7, 4)])
def test_biomedclips_margin_before_the_crop_is_rounded_halves_to_even(over: int, margin: int, tmp_path: Path) -> None:
    pixels = np.zeros((224, 224 + over, 3), np.uint8)
    pixels[:, margin] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    prepared = biomedclip.preparation({}, 224, tmp_path).prepare(buffer.getvalue())
    assert prepared[0, 0].argmax() == 0
    assert prepared[0, 0, 0] > prepared[0, 0, 1]


@pytest.mark.parametrize("asked", [{"interpolation": "nearest"}, {"resize_mode": "squash"}, {"std": [0, 1, 1]}, []])
def test_another_preparation_than_open_clips_usual_is_refused(asked: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="open_clip_config"):
        biomedclip.preparation({"preprocess_cfg": asked}, 224, tmp_path)


def test_biomedclips_checkpoint_gives_its_tensors_without_counted_positions(tmp_path: Path) -> None:
    state = {"text.transformer.embeddings.position_ids": torch.arange(3), "logit_scale": torch.tensor(1.0)}
    torch.save(state, tmp_path / OPEN_CLIP_STATE)
    assert biomedclip.read_tensors(tmp_path).keys() == {"logit_scale"}
