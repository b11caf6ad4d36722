"""The transformer: nothing masked, documents apart, folders that stock classes load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ChameleonForConditionalGeneration

from medmax_pipeline.errors import ConfigError, StoreError, TokenError, WeightsError
from medmax_pipeline.models import head
from medmax_pipeline.models.chameleon import MixedModalChameleon, seeded_base
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens.vocabulary import Vocabulary
from tests.models.conftest import SIZE


def a_pack(vocabulary: Vocabulary, lengths: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(vocabulary.size, (sum(lengths),), generator=generator)
    positions = torch.cat([torch.arange(length) for length in lengths])
    return ids, positions, torch.tensor([0, *lengths]).cumsum(0)


def test_image_logits_are_not_masked(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    ids = torch.tensor([[vocabulary.bos, 100, vocabulary.boi]])
    image_logits = model(input_ids=ids).logits[..., torch.from_numpy(vocabulary.image_ids)]
    assert image_logits.abs().max() < 1e4
    assert image_logits.std() > 0


def test_stock_class_still_masks_them_which_is_why_ours_exists(
    model: MixedModalChameleon, vocabulary: Vocabulary, text_folder: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    stock = ChameleonForConditionalGeneration.from_pretrained(tmp_path / "model")
    ids = torch.tensor([[vocabulary.bos, 100, vocabulary.boi]])
    theirs, ours = stock(input_ids=ids).logits, model(input_ids=ids).logits
    codes = torch.zeros(vocabulary.size, dtype=torch.bool)
    codes[torch.from_numpy(vocabulary.image_ids)] = True
    assert (theirs[..., codes] == torch.finfo(torch.float32).min).all()
    torch.testing.assert_close(theirs[..., ~codes], ours[..., ~codes], atol=1e-4, rtol=1e-5)


def test_packed_documents_equal_separate_forwards(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    lengths = (7, 1, 30, 18)
    ids, positions, bounds = a_pack(vocabulary, lengths)
    packed = model.hidden_states(ids, positions, bounds)
    for document, piece in zip(ids.split(lengths), packed.split(lengths), strict=True):
        alone = model.model(input_ids=document[None], use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(piece, alone, atol=1e-5, rtol=0)


def test_packed_documents_equal_stock_separate_forwards(
    model: MixedModalChameleon, vocabulary: Vocabulary, text_folder: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    stock = ChameleonForConditionalGeneration.from_pretrained(tmp_path / "model", attn_implementation="eager").eval()
    lengths = (9, 21)
    ids, positions, bounds = a_pack(vocabulary, lengths)
    packed = model.hidden_states(ids, positions, bounds)
    for document, piece in zip(ids.split(lengths), packed.split(lengths), strict=True):
        alone = stock.model(input_ids=document[None]).last_hidden_state[0]
        torch.testing.assert_close(piece, alone, atol=1e-5, rtol=0)


def test_a_later_token_changes_nothing_before_it(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    ids, positions, bounds = a_pack(vocabulary, (12, 12))
    changed = ids.clone()
    changed[8] = (ids[8] + 1) % vocabulary.size
    before = model.hidden_states(ids, positions, bounds)
    after = model.hidden_states(changed, positions, bounds)
    assert torch.equal(before[:8], after[:8])
    assert torch.equal(before[12:], after[12:])
    assert not torch.allclose(before[8:12], after[8:12])


@pytest.mark.parametrize("bounds", [[0, 5], [0, 5, 5, 12], [1, 12], [0, 13], [0]])
def test_bounds_that_do_not_cover_the_pack_are_refused(
    model: MixedModalChameleon, vocabulary: Vocabulary, bounds: list[int]
) -> None:
    ids, positions, _ = a_pack(vocabulary, (12,))
    with pytest.raises(TokenError, match="document bounds"):
        model.hidden_states(ids, positions, torch.tensor(bounds))


def test_a_document_beyond_the_positions_is_refused(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    ids, positions, bounds = a_pack(vocabulary, (SIZE["max_position_embeddings"] + 1,))
    with pytest.raises(TokenError, match="positions"):
        model.hidden_states(ids, positions, bounds)


def test_two_dimensional_masks_and_labels_are_refused(model: MixedModalChameleon) -> None:
    ids = torch.ones(1, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="2-D"):
        model(input_ids=ids, attention_mask=torch.ones(1, 4))
    with pytest.raises(ValueError, match="labelled_loss"):
        model(input_ids=ids, labels=ids)


def test_labelled_loss_equals_cross_entropy_of_each_document(
    model: MixedModalChameleon, vocabulary: Vocabulary
) -> None:
    lengths = (10, 15)
    ids, positions, bounds = a_pack(vocabulary, lengths)
    trained = torch.zeros(25, dtype=torch.bool)
    trained[[4, 9, 11, 24]] = True
    loss = model.labelled_loss(ids, positions, bounds, trained)
    assert loss.at_L.tolist() == [4, 9, 11, 24]
    assert loss.targets_L.tolist() == ids[[4, 9, 11, 24]].tolist()
    first, second = (model(input_ids=document[None]).logits[0] for document in ids.split(lengths))
    predictors = torch.stack([first[3], first[8], second[0], second[13]])
    expected = torch.nn.functional.cross_entropy(predictors, loss.targets_L, reduction="none")
    torch.testing.assert_close(loss.losses_L, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss.log_z_L, predictors.logsumexp(1), atol=1e-5, rtol=1e-5)


def test_chunked_head_gives_the_same_losses_and_gradients(
    model: MixedModalChameleon, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, positions, bounds = a_pack(vocabulary, (20, 20))
    trained = torch.ones(40, dtype=torch.bool)
    trained[[0, 20]] = False

    def run() -> tuple[Tensor, Tensor]:
        model.zero_grad()
        losses = model.labelled_loss(ids, positions, bounds, trained).losses_L
        losses.mean().backward()
        return losses.detach(), model.lm_head.weight.grad.clone()

    whole = run()
    monkeypatch.setattr(head, "HEAD_CHUNK", 7)
    pieces = run()
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=1e-5)
    model.zero_grad()


def test_gradient_reaches_the_image_rows(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    code = vocabulary.first_code + 7
    ids = torch.tensor([vocabulary.bos, 100, vocabulary.sep, vocabulary.boi, code])
    trained = torch.tensor([False, False, False, False, True])
    model.zero_grad()
    loss = model.labelled_loss(ids, torch.arange(5), torch.tensor([0, 5]), trained)
    loss.losses_L.sum().backward()
    assert loss.losses_L.isfinite().all()
    assert model.lm_head.weight.grad[code].abs().sum() > 0
    assert model.lm_head.weight.grad[code + 1].abs().sum() > 0
    model.zero_grad()


def test_a_first_token_as_a_target_is_refused(model: MixedModalChameleon, vocabulary: Vocabulary) -> None:
    ids, positions, bounds = a_pack(vocabulary, (5, 5))
    trained = torch.zeros(10, dtype=torch.bool)
    trained[5] = True
    with pytest.raises(TokenError, match="first token"):
        model.labelled_loss(ids, positions, bounds, trained)


def test_saved_and_loaded_models_give_equal_logits(
    model: MixedModalChameleon, text_folder: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "one", text_folder=text_folder)
    again = MixedModalChameleon.load(tmp_path / "one")
    again.save(tmp_path / "two", text_folder=text_folder)
    ids = torch.arange(30)[None]
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    for file in sorted((tmp_path / "one").iterdir()):
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes(), file.name


def test_saved_folder_says_the_right_special_ids(model: MixedModalChameleon, text_folder: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    for name in ("config.json", "generation_config.json"):
        said = json.loads((tmp_path / "model" / name).read_text())
        assert (said["bos_token_id"], said["pad_token_id"], said["eos_token_id"]) == (0, 1, 2), name
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["ChameleonForConditionalGeneration"]
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == (text_folder / "tokenizer.json").read_bytes()


def test_published_conversions_with_a_wrong_begin_id_are_set_right(
    model: MixedModalChameleon, text_folder: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"bos_token_id": 1, "pad_token_id": None}))
    assert MixedModalChameleon.load(tmp_path / "model").config.bos_token_id == 0


def test_a_published_folder_never_changes(model: MixedModalChameleon, text_folder: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    with pytest.raises(StoreError, match="published already"):
        model.save(tmp_path / "model", text_folder=text_folder)


def test_stock_model_tokenizes_pictures_with_our_encoder(
    model: MixedModalChameleon, vocabulary: Vocabulary, text_folder: Path, vqgan_folder: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    stock = ChameleonForConditionalGeneration.from_pretrained(tmp_path / "model")
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    ids = stock.get_image_tokens(pixels)
    assert torch.equal(ids - vocabulary.first_code, VQGAN.load(vqgan_folder).encode(pixels))


@pytest.mark.parametrize("fault", ["missing", "foreign", "shape"])
def test_foreign_weights_are_refused(model: MixedModalChameleon, text_folder: Path, tmp_path: Path, fault: str) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    path = tmp_path / "model" / "model.safetensors"
    state = load_file(path)
    if fault == "missing":
        del state["lm_head.weight"]
    elif fault == "foreign":
        state["model.layers.0.extra"] = torch.zeros(2)
    else:
        state["lm_head.weight"] = torch.zeros(3, SIZE["hidden_size"])
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lm_head\.weight|extra|size mismatch|shape"):
        MixedModalChameleon.load(tmp_path / "model")


def test_pickled_weights_are_refused(model: MixedModalChameleon, text_folder: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "model", text_folder=text_folder)
    path = tmp_path / "model" / "model.safetensors"
    torch.save(load_file(path), tmp_path / "model" / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(WeightsError, match="no safetensors"):
        MixedModalChameleon.load(tmp_path / "model")


def test_same_seed_same_base_other_seed_other_base(text_folder: Path, vqgan_folder: Path) -> None:
    state = torch.random.get_rng_state()
    one, same, other = (seeded_base(text_folder, vqgan_folder, SIZE, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("change", [{"num_attention_heads": 3}, {"layers": 2}, {"hidden_size": 0}])
def test_sizes_that_make_no_model_are_refused(text_folder: Path, vqgan_folder: Path, change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="size is"):
        seeded_base(text_folder, vqgan_folder, SIZE | change, 1)


def test_a_folder_made_ready_and_empty_is_filled(model: MixedModalChameleon, text_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    model.save(tmp_path / "out", text_folder)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_tokenizers_of_different_codebooks_are_refused(text_folder: Path, vqgan_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(text_folder, tmp_path / "text")
    path = tmp_path / "text" / "tokenizer.json"
    path.write_text(path.read_text().replace("IMGIMGCDZ", "OTHER"))
    with pytest.raises(WeightsError, match="names 23 image codes"):
        seeded_base(tmp_path / "text", vqgan_folder, SIZE, 1)
