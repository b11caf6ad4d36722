"""Chameleon's original form: a forward pass of its own description, round trips bit for bit, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from medmax_pipeline.cli import main
from medmax_pipeline.errors import StoreError, TokenError, WeightsError
from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.models.chameleon import MixedModalChameleon, seeded_base
from medmax_pipeline.models.original_format import Sizes, halves, pairs
from medmax_pipeline.models.original_format_files import read_original
from medmax_pipeline.models.original_format_params import Params, read_params, to_json
from medmax_pipeline.models.original_format_write import write_original
from tests.models.conftest import SIZE
from tests.models.original import lay_original


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image tokenizer in its original form, as wide as one can be told in it."""
    folder = tmp_path_factory.mktemp("image")
    lay_original(folder)
    return folder / "vqgan.ckpt"


@pytest.fixture(scope="module")
def ours(text_folder: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder whose norms are no ones and zeros, the same in each head; nobody writes into it."""
    model = seeded_base(text_folder, image, SIZE, seed=2)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and "vqmodel" not in name:
                drawn = torch.rand(parameter.shape[-1], generator=generator) + 0.5
                parameter.copy_(drawn.expand_as(parameter))
            elif parameter.dim() > 1 and "vqmodel" not in name:
                parameter.mul_(6.0)
    folder = tmp_path_factory.mktemp("ours") / "model"
    model.save(folder, text_folder=text_folder)
    return folder


@pytest.fixture(scope="module")
def original(ours: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in the original form; nobody writes into it."""
    folder = tmp_path_factory.mktemp("original") / "chameleon"
    write_original(ours, folder, image)
    return folder


def checkpoint(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder in the original form."""
    state: dict[str, Tensor] = torch.load(folder / "models" / "7b" / "consolidated.pth", weights_only=True)
    return state


def forward(state: Mapping[str, Tensor], params: Mapping[str, Any], ids: Tensor) -> Tensor:
    """Logits (T, V) of the original network, from its description: interleaved rotary position, norms of queries and
    keys over each head's dimensions and shared by heads, RMS norms before both halves of a layer, SwiGLU."""
    heads, eps = params["n_heads"], params["norm_eps"]
    length = len(ids)
    x = state["tok_embeddings.weight"][ids]
    size = x.shape[1] // heads
    turns = 1.0 / params["rope_theta"] ** (torch.arange(0, size, 2).float() / size)
    turned = torch.polar(torch.ones(length, size // 2), torch.outer(torch.arange(length).float(), turns))

    def scaled(x: Tensor, name: str) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * state[name]

    def placed(x: Tensor, name: str) -> Tensor:
        """(H, T, D) normed, then each neighbouring pair turned as one complex number."""
        normed = functional.layer_norm(x, (size,), state[name + ".weight"], state[name + ".bias"], eps=1e-5)
        whole = torch.view_as_complex(normed.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(whole * turned).flatten(-2)

    for number in range(params["n_layers"]):
        at = f"layers.{number}."
        seen = scaled(x, at + "attention_norm.weight")
        q, k, v = (
            (seen @ state[f"{at}attention.w{which}.weight"].T).unflatten(-1, (heads, size)).transpose(0, 1)
            for which in "qkv"
        )
        q, k = placed(q, at + "attention.q_normalization"), placed(k, at + "attention.k_normalization")
        scores = q @ k.transpose(1, 2) / size**0.5
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = x + mixed @ state[at + "attention.wo.weight"].T
        seen = scaled(x, at + "ffn_norm.weight")
        gate = functional.silu(seen @ state[at + "feed_forward.w1.weight"].T)
        x = x + (gate * (seen @ state[at + "feed_forward.w3.weight"].T)) @ state[at + "feed_forward.w2.weight"].T
    return scaled(x, "norm.weight") @ state["output.weight"].T


def test_the_original_network_gives_our_logits(ours: Path, original: Path) -> None:
    model = MixedModalChameleon.load(ours)
    ids = torch.randint(model.config.vocab_size, (40,), generator=torch.Generator().manual_seed(1))
    theirs = forward(checkpoint(original), read_json(original / "models/7b/params.json")["model"], ids)
    with torch.no_grad():
        mine = model(input_ids=ids[None]).logits[0]
    assert theirs.std() > 0.1
    torch.testing.assert_close(theirs, mine, atol=2e-4, rtol=1e-4)


def test_without_the_permutation_it_would_not(ours: Path, original: Path) -> None:
    model = MixedModalChameleon.load(ours)
    ids = torch.randint(model.config.vocab_size, (40,), generator=torch.Generator().manual_seed(1))
    state = checkpoint(original)
    for name in [name for name in state if ".wq." in name]:
        state[name] = halves(state[name], SIZE["num_attention_heads"])
    theirs = forward(state, read_json(original / "models/7b/params.json")["model"], ids)
    assert (theirs - model(input_ids=ids[None]).logits[0]).abs().max() > 0.1


def test_there_and_back_every_tensor_is_the_same_bit_for_bit(ours: Path, original: Path, tmp_path: Path) -> None:
    read_original(original, tmp_path / "back")
    before, after = load_file(ours / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (ours / name).read_bytes() == (tmp_path / "back" / name).read_bytes()


def test_back_and_there_too_in_bfloat16_and_the_files_are_the_same_bytes(
    ours: Path, image: Path, tmp_path: Path
) -> None:
    half = MixedModalChameleon.load(ours, dtype=torch.bfloat16)
    half.save(tmp_path / "half", text_folder=ours)
    write_original(tmp_path / "half", tmp_path / "first", image)
    read_original(tmp_path / "first", tmp_path / "back")
    write_original(tmp_path / "back", tmp_path / "second", image)
    first, second = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "first", tmp_path / "second")
    )
    assert first == second
    assert {tensor.dtype for tensor in checkpoint(tmp_path / "first").values()} == {torch.bfloat16}


def test_the_checkpoint_holds_plain_tensors_and_no_more_than_their_bytes(original: Path) -> None:
    state = checkpoint(original)
    assert all(type(tensor) is Tensor and tensor.is_contiguous() for tensor in state.values())
    size = (original / "models" / "7b" / "consolidated.pth").stat().st_size
    assert size < 1.2 * sum(tensor.nbytes for tensor in state.values()) + 20_000
    assert sorted(path.name for path in (original / "tokenizer").iterdir()) == [
        "text_tokenizer.json", "vqgan.ckpt", "vqgan.yaml",
    ]  # fmt: skip


def test_pairs_undoes_halves() -> None:
    rows = torch.arange(24.0)[:, None].repeat(1, 3)
    assert halves(rows, 3)[:8, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert torch.equal(pairs(halves(rows, 3), 3), rows)


def drifted(ours: Path, folder: Path) -> Path:
    """The model, one head's query norm of the last layer moved."""
    model = MixedModalChameleon.load(ours)
    with torch.no_grad():
        model.model.layers[1].self_attn.q_norm.weight[2, 5] += 0.25
    model.save(folder, text_folder=ours)
    return folder


def test_heads_with_norms_of_their_own_are_refused_with_the_distance(ours: Path, tmp_path: Path) -> None:
    folder = drifted(ours, tmp_path / "drifted")
    with pytest.raises(
        WeightsError, match=r"1 of 8 query and key norms differ .* 0\.25, in .*layers\.1\.self_attn\.q_norm"
    ):
        write_original(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_their_mean_is_written_where_it_is_asked_for(ours: Path, original: Path, tmp_path: Path) -> None:
    write_original(drifted(ours, tmp_path / "drifted"), tmp_path / "out", average_heads=True)
    name = "layers.1.attention.q_normalization.weight"
    moved = checkpoint(tmp_path / "out")[name] - checkpoint(original)[name]
    torch.testing.assert_close(moved.max(), torch.tensor(0.25 / SIZE["num_attention_heads"]), atol=1e-6, rtol=0)
    assert int((moved.abs() > 1e-6).sum()) == 1


def changed(original: Path, folder: Path, **params: Any) -> Path:
    """A copy with other words in `params.json`."""
    shutil.copytree(original, folder)
    path = folder / "models" / "7b" / "params.json"
    values = read_json(path)
    values["model"] |= params
    write_json(path, values)
    return folder


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"n_layers": 3}, r"consolidated.pth: tensors do not fit .* 13 missing \(layers.2"),
        ({"dim": 32}, "of another shape"),
        ({"dim": 10**9}, "out of bounds"),
        ({"dim": "wide"}, "not the measures of a Chameleon"),
        ({"n_heads": 64}, "out of bounds"),
        ({"norm_eps": float("nan")}, "out of bounds"),
        ({"swin_norm": True}, "the 34B's is not"),
        ({"qk_normalization": False}, "the 34B's is not"),
    ],
)
def test_odd_measures_are_refused(original: Path, tmp_path: Path, params: dict[str, Any], told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        read_original(changed(original, tmp_path / "odd", **params), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '{"model": 3}', '{"model": {"dim": 1e999}}'])
def test_a_params_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.json").write_text(text)
    with pytest.raises(WeightsError, match=r"params\.json: "):
        read_params(tmp_path)


def test_a_params_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(WeightsError, match="at most 1,048,576 expected"):
        read_params(tmp_path)


def test_a_model_in_several_parts_is_refused(original: Path, tmp_path: Path) -> None:
    folder = changed(original, tmp_path / "parts")
    whole = folder / "models" / "7b" / "consolidated.pth"
    whole.rename(whole.with_name("consolidated.00.pth"))
    with pytest.raises(WeightsError, match=r"comes in 1 parts .* as the 34B's does"):
        read_original(folder, tmp_path / "out")
    shutil.copytree(original, tmp_path / "other")
    write_json(tmp_path / "other" / "models" / "7b" / "consolidate_params.json", {"model_parallel_size": 4})
    with pytest.raises(WeightsError, match="model_parallel_size 4"):
        read_original(tmp_path / "other", tmp_path / "out")


class Evil:
    """Pickled, it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


@pytest.mark.parametrize("value", [{"norm.weight": Evil()}, [torch.zeros(3)], {"norm.weight": "x"}])
def test_a_checkpoint_of_anything_else_is_not_run(
    original: Path, tmp_path: Path, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(original, tmp_path / "evil")
    torch.save(value, folder / "models" / "7b" / "consolidated.pth")
    with pytest.raises(WeightsError, match=r"plain tensors|state_dict of tensors"):
        read_original(folder, tmp_path / "out")
    assert "ran" not in capsys.readouterr().out


def test_joined_projections_of_a_dump_are_taken_apart(original: Path, tmp_path: Path) -> None:
    folder = changed(original, tmp_path / "joined")
    state = checkpoint(folder)
    for number in range(SIZE["num_hidden_layers"]):
        at = f"layers.{number}."
        joined = [state.pop(f"{at}attention.w{which}.weight") for which in "qkv"]
        state[at + "attention.wqkv.weight"] = torch.cat(joined)
        joined = [state.pop(f"{at}feed_forward.w{which}.weight") for which in "13"]
        state[at + "feed_forward.w13.weight"] = torch.cat(joined)
    torch.save(state | {"rope.freqs": torch.ones(8)}, folder / "models" / "7b" / "consolidated.pth")
    read_original(folder, tmp_path / "out")
    read_original(original, tmp_path / "plain")
    both = [load_file(tmp_path / name / "model.safetensors") for name in ("out", "plain")]
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[1])


def test_the_published_placeholder_keeps_its_old_name_in_the_file(original: Path, tmp_path: Path) -> None:
    folder = changed(original, tmp_path / "old")
    path = folder / "tokenizer" / "text_tokenizer.json"
    path.write_text(path.read_text().replace('"<image>"', '"<reserved08707>"'))
    read_original(folder / "models" / "7b", tmp_path / "out")
    config = read_json(tmp_path / "out" / "config.json")
    assert config["image_token_id"] == config["vocabulary_map"]["<image>"]
    assert '"<reserved08707>"' in (tmp_path / "out" / "tokenizer.json").read_text()


def test_another_models_image_tokenizer_is_refused(ours: Path, vqgan_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="its codebook is not the one inside"):
        write_original(ours, tmp_path / "out", vqgan_folder)


def test_more_names_than_rows_are_refused(original: Path, tmp_path: Path) -> None:
    rows = read_json(original / "models/7b/params.json")["model"]["vocab_size"] - 4
    folder = changed(original, tmp_path / "few", vocab_size=rows)
    state = checkpoint(folder)
    few = {name: state[name][:rows].clone() for name in ("tok_embeddings.weight", "output.weight")}
    torch.save(state | few, folder / "models" / "7b" / "consolidated.pth")
    with pytest.raises(TokenError, match=f"the model has {rows} rows"):
        read_original(folder, tmp_path / "out")


def test_a_filled_folder_is_not_written_into(ours: Path, original: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="holds something already"):
        write_original(ours, tmp_path)
    with pytest.raises(StoreError, match="holds something already"):
        read_original(original, tmp_path)


@pytest.mark.parametrize(("dim", "feed_forward"), [(4096, 11_008), (8192, 22_016), (64, 96), (128, 97), (512, 2048)])
def test_any_width_of_the_feed_forward_can_be_said(tmp_path: Path, dim: int, feed_forward: int) -> None:
    params = Params(Sizes(dim, 2, 4, 2, feed_forward, 100), 1e-5, 10_000.0, 4096)
    write_json(tmp_path / "params.json", to_json(params))
    assert read_params(tmp_path) == params


def test_the_command_converts_both_ways(
    ours: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, back = str(tmp_path / "there"), str(tmp_path / "back")
    assert main(["convert", str(ours), "--to", "chameleon", "--out", there]) == 0
    assert "left out: tokenizer/vqgan.ckpt" in capsys.readouterr().err
    assert main(["convert", there, "--to", "transformers", "--out", back]) == 2
    assert "vqgan.ckpt" in capsys.readouterr().err
    assert main(["convert", there, "--to", "transformers", "--out", back, "--image", str(image)]) == 0
    assert json.loads((tmp_path / "back" / "config.json").read_text())["model_type"] == "chameleon"
