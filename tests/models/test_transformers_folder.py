"""A saved model as stock transformers reads it: ids by name, greedy text as ours, conversations as in training."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer, ChameleonForConditionalGeneration, GenerationConfig
from transformers.utils.logging import is_progress_bar_enabled

from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.models import chameleon
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.generate import generate_text
from medmax_pipeline.models.transformers_folder import write_companions
from medmax_pipeline.records import Turn
from medmax_pipeline.tokens.sequence import Sequencer
from medmax_pipeline.tokens.text import TextTokenizer
from medmax_pipeline.tokens.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def saved(model: MixedModalChameleon, text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a folder; nobody writes into it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save(folder, text_folder=text_folder)
    return folder


def test_stock_generation_says_what_ours_says(
    saved: Path, model: MixedModalChameleon, vocabulary: Vocabulary, questions: list[list[int]]
) -> None:
    stock = ChameleonForConditionalGeneration.from_pretrained(saved).eval()
    silent = sorted({*range(vocabulary.size)} - {*vocabulary.text_ids.tolist(), vocabulary.eos})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for prompt in questions[4:7]:  # those without pictures
            said = stock.generate(torch.tensor([prompt]), max_new_tokens=12, suppress_tokens=silent)
            reply = said[0, len(prompt) :].tolist()
            reply = reply[: reply.index(vocabulary.eos)] if vocabulary.eos in reply else reply
            assert [reply] == generate_text(model, [prompt], vocabulary, 12)


def test_stock_classes_read_the_special_ids_by_name(saved: Path, vocabulary: Vocabulary) -> None:
    tokenizer, defaults = AutoTokenizer.from_pretrained(saved), GenerationConfig.from_pretrained(saved)
    ids = vocabulary
    assert (defaults.bos_token_id, defaults.pad_token_id, defaults.eos_token_id) == (ids.bos, ids.pad, ids.eos)
    found = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert found == (ids.bos, ids.pad, ids.eos, ids.unk)
    assert tokenizer.sep_token_id == ids.sep
    named = [tokenizer.convert_tokens_to_ids(name) for name in (tokenizer.image_token, tokenizer.boi_token)]
    assert named == [ids.image_placeholder, ids.boi]


def test_the_chat_template_gives_the_ids_of_training(saved: Path, text_folder: Path, vocabulary: Vocabulary) -> None:
    tokenizer = AutoTokenizer.from_pretrained(saved)
    texts = ["is there an effusion?", "no ", " is this a chest radiograph?", "yes"]
    turns = [Turn("user" if place % 2 == 0 else "assistant", text) for place, text in enumerate(texts)]
    outline = Sequencer(vocabulary, TextTokenizer(text_folder, vocabulary)).outlines([turns])[0]
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    assert tokenizer.apply_chat_template(messages)["input_ids"] == outline.ids.tolist()
    asked = tokenizer.apply_chat_template(messages[:1])["input_ids"]
    assert asked == outline.ids.tolist()[: len(asked)]
    assert asked[-1] == vocabulary.sep


def test_the_chat_template_takes_parts_and_refuses_other_roles(saved: Path) -> None:
    from jinja2.exceptions import TemplateError

    tokenizer = AutoTokenizer.from_pretrained(saved)
    parts = [{"type": "image"}, {"type": "text", "text": "what is it?"}]
    shown = tokenizer.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    assert shown == "<s><image>what is it?<reserved08706>"
    with pytest.raises(TemplateError, match="there is no system prompt"):
        tokenizer.apply_chat_template([{"role": "system", "content": "be kind"}], tokenize=False)


def test_the_processor_opens_a_picture_into_as_many_places_as_it_has_codes(saved: Path, vocabulary: Vocabulary) -> None:
    from PIL import Image

    processor = AutoProcessor.from_pretrained(saved)
    white = Image.new("RGB", (40, 20), (255, 255, 255))
    made = processor(text="<image>what is it?", images=white, return_tensors="pt")
    assert int((made["input_ids"] == vocabulary.image_placeholder).sum()) == vocabulary.codes_per_image
    assert made["pixel_values"].shape == (1, 3, 16, 16)
    torch.testing.assert_close(made["pixel_values"].max(), torch.tensor(1.0))  # 255 is 1, not 0.989
    assert made["input_ids"][0, -1] == vocabulary.sep


def test_wrong_ids_of_a_published_model_are_set_right(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    shutil.copytree(saved, folder)
    config = read_json(folder / "config.json") | {"bos_token_id": 1, "pad_token_id": None}
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "temperature": 0.7})
    MixedModalChameleon.load(folder).save(tmp_path / "again", text_folder=folder)
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in saved.iterdir()}


def test_a_tokenizer_that_keeps_the_placeholders_old_name_is_told_so(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        text = (saved / name).read_text()
        (folder / name).write_text(text.replace('"<image>"', '"<reserved08707>"'))
    write_companions(folder)
    assert read_json(folder / "processor_config.json")["image_token"] == "<reserved08707>"
    assert "<reserved08707>" in (folder / "chat_template.jinja").read_text()


def test_a_large_model_comes_in_several_files_with_an_index(
    saved: Path, model: MixedModalChameleon, text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chameleon, "SHARD_SIZE", "300KB")
    for name in ("one", "two"):
        model.save(tmp_path / name, text_folder=text_folder)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    shards = sorted(name for name in files if name.endswith(".safetensors"))
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert len(shards) > 1
    assert {*json.loads(files["model.safetensors.index.json"])["weight_map"].values()} == {*shards}
    ids = torch.tensor([[0, 5, 9]])
    again = MixedModalChameleon.load(tmp_path / "one")
    assert torch.equal(again(input_ids=ids).logits, MixedModalChameleon.load(saved)(input_ids=ids).logits)


def test_a_log_gets_no_progress_bars(saved: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ChameleonForConditionalGeneration.from_pretrained(saved).save_pretrained(tmp_path / "stock")
    assert "Loading weights" in capfd.readouterr().err, "what is kept out is not there"
    MixedModalChameleon.load(saved).save(tmp_path / "ours", text_folder=saved)
    assert capfd.readouterr().err == ""
    assert is_progress_bar_enabled(), "other uses of transformers keep theirs"
