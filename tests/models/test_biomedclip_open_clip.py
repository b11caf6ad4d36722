"""BiomedCLIP against open_clip's own calls, on made-up weights: needs the extra `biomedclip`, else skipped by name.

The picture tower is timm's smallest; the text tower is BERT at its usual measures, since the package makes no other.
"""

from __future__ import annotations

import io
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.models.open_clip_libraries import missing_libraries
from medmax_pipeline.models.similarity import Similarity, open_similarity
from tests.conftest import absent
from tests.models.clips import png

pytestmark = pytest.mark.slow
STATE = "open_clip_pytorch_model.bin"
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": "a/bert-of-the-hub",
            "hf_tokenizer_name": "a/bert-of-the-hub",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 256,
        },
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Pair(NamedTuple):
    """The same weights in the package's reader and in open_clip's."""

    folder: Path
    ours: Similarity
    model: Any
    transform: Any
    tokenize: Any


def lay_tokenizer(folder: Path) -> None:
    """Word pieces of single letters and a few words, in the files that both readers take."""
    signs = [*string.ascii_lowercase, *string.digits]
    words = [*SPECIAL, *signs, *(f"##{sign}" for sign in signs), *".,;:()-/<>&%'\"", "chest", "of", "the", "##ray"]
    made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(SPECIAL)
    made.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    marks = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    values = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def seeded_state(name: str) -> dict[str, torch.Tensor]:
    """Weights of open_clip's own network, larger than at its start: else all texts are nearly one."""
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(2.0)
    state: dict[str, torch.Tensor] = model.state_dict()
    return state | {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    lock = missing_libraries()
    if lock is not None:
        absent("open_clip", f"{lock.reason} {lock.cure}")
    import open_clip

    root = tmp_path_factory.mktemp("biomedclip")
    folder, theirs, bert = (root / name for name in ("biomedclip", "theirs", "bert"))
    BertConfig().save_pretrained(bert)
    local = CONFIG["model_cfg"]["text_cfg"] | {"hf_model_name": str(bert)}  # open_clip would fetch the other
    for place, config in (
        (folder, CONFIG),
        (theirs, CONFIG | {"model_cfg": CONFIG["model_cfg"] | {"text_cfg": local}}),
    ):
        place.mkdir()
        (place / "open_clip_config.json").write_text(json.dumps(config))
        lay_tokenizer(place)
    name = f"local-dir:{theirs}"
    torch.save(seeded_state(name), folder / STATE)
    (theirs / STATE).hardlink_to(folder / STATE)
    model, transform = open_clip.create_model_from_pretrained(name)
    yield Pair(folder, open_similarity(folder), model.eval(), transform, open_clip.get_tokenizer(name))
    for place in (folder, theirs):
        (place / STATE).unlink()  # half a gigabyte, which the runner would keep for days


@pytest.mark.parametrize(
    ("width", "height"), [(224, 224), (300, 260), (224, 227), (231, 224), (90, 61), (61, 190), (640, 480)]
)
def test_pictures_are_those_of_open_clips_transform(pair: Pair, width: int, height: int) -> None:
    picture = png(width, height, seed=width)
    pixels = pair.transform(Image.open(io.BytesIO(picture)))[None]
    with torch.inference_mode():
        expected = pair.model.encode_image(pixels, normalize=True).numpy()
    assert pair.ours.images([picture]) == pytest.approx(expected, abs=1e-5)


def test_pictures_in_grey_are_those_of_open_clips_transform(pair: Pair) -> None:
    picture = png(301, 299, mode="L")
    with torch.inference_mode():
        expected = pair.model.encode_image(pair.transform(Image.open(io.BytesIO(picture)))[None], normalize=True)
    assert pair.ours.images([picture]) == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "a chest x ray",
        "",
        "of (a) 12-34 %",
        "Chest OF\n\t the  ",
        "a &amp;lt; b",
        "\u00e2\u20ac\u0153chest",
        "the " * 400,
    ],
    ids=["plain", "empty", "signs", "blanks", "marks", "mended", "cut"],
)
def test_texts_are_those_of_open_clips_tokenizer_and_tower(pair: Pair, text: str) -> None:
    with torch.inference_mode():
        expected = pair.model.encode_text(pair.tokenize([text]), normalize=True).numpy()
    assert pair.ours.texts([text]) == pytest.approx(expected, abs=1e-5)


def test_made_up_weights_tell_items_apart(pair: Pair) -> None:
    """What the comparisons above rest on."""
    pictures = pair.ours.images([png(224, 224), png(224, 224, seed=1)])
    texts = pair.ours.texts(["a chest", "the chest"])
    assert float(pictures[0] @ pictures[1]) < 0.999
    assert float(texts[0] @ texts[1]) < 0.999


def test_texts_of_a_batch_are_those_of_each_alone(pair: Pair) -> None:
    texts = ["a", "the chest of a b c d e f g", "x" * 40]
    alone = [pair.ours.texts([text])[0] for text in texts]
    assert list(pair.ours.texts(texts)) == [pytest.approx(row, abs=1e-5) for row in alone]


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        ("text_cfg", {"proj": "mlp"}, "open_clip makes no network"),
        ("vision_cfg", {"timm_model_name": "no_such_tower"}, "open_clip makes no network"),
        ("vision_cfg", {"timm_model_name": "hf-hub:a/b"}, "expected a timm picture tower"),
        ("text_cfg", {"hf_proj_type": "linear"}, "missing"),
    ],
)
def test_configurations_of_other_networks_are_refused(
    pair: Pair, tmp_path: Path, where: str, changes: dict[str, Any], message: str
) -> None:
    network = CONFIG["model_cfg"] | {where: CONFIG["model_cfg"][where] | changes}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(CONFIG | {"model_cfg": network}))
    lay_tokenizer(tmp_path)
    (tmp_path / STATE).hardlink_to(pair.folder / STATE)
    with pytest.raises(WeightsError, match=message):
        open_similarity(tmp_path)
