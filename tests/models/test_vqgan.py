"""The image tokenizer: the stock encoder's codes, the published decoder's names, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

from medmax_pipeline.errors import StoreError, TokenError, WeightsError
from medmax_pipeline.models import vqgan as vqgan_module
from medmax_pipeline.models.agreement import agreement
from medmax_pipeline.models.decoder import Decoder
from medmax_pipeline.models.vqgan import VQGAN, full_float32
from medmax_pipeline.models.weights import set_options


@pytest.fixture(scope="module")
def vqgan(vqgan_folder: Path) -> VQGAN:
    return VQGAN.load(vqgan_folder)


def pixels(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_geometry_follows_the_configuration(vqgan: VQGAN) -> None:
    assert (vqgan.resolution, vqgan.codes_per_image, vqgan.codebook_size) == (16, 16, 24)


def test_codes_equal_those_of_transformers(vqgan: VQGAN) -> None:
    stock = ChameleonVQVAE(vqgan.config).eval()
    stock.load_state_dict({k: v for k, v in vqgan.state_dict().items() if not k.startswith("decoder.")})
    expected = stock.encode(pixels(5)).image_tokens.view(5, -1)
    found = vqgan.encode(pixels(5))
    assert found.dtype == torch.int64
    assert len(found.unique()) > 3
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("side", "attended"), [(16, None), (16, [8]), (256, None)], ids=["small", "attention", "channels_last"]
)
def test_an_encoder_gives_the_codes_of_transformers_at_every_size(side: int, attended: list[int] | None) -> None:
    """Bit for bit below 256 px; from there a CPU convolves in another order, and the codes are still equal."""
    config = ChameleonVQVAEConfig(
        resolution=side,
        base_channels=32,
        channel_multiplier=[1, 1, 2],
        num_res_blocks=1,
        latent_channels=16,
        embed_dim=8,
        num_embeddings=64,
        attn_resolutions=attended,
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = VQGAN(config).eval().requires_grad_(False)
        torch.nn.init.normal_(made.quantize.embedding.weight, std=0.05)
    given = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = made.quant_conv(made.encoder(given))
    expected = made.quantize(latents)[2].view(2, -1)
    assert len(expected.unique()) > 3
    assert torch.equal(made.encode(given), expected)
    assert side >= 256 or torch.equal(made.latents(given), latents)


def test_the_shipped_tokenizers_latents_are_those_of_transformers_bit_for_bit() -> None:
    shipped = VQGAN.load(Path(vqgan_module.__file__).parent.parent / "sample" / "weights" / "vqgan")
    given = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert torch.equal(shipped.latents(given), shipped.quant_conv(shipped.encoder(given)))


def test_gradients_are_those_of_transformers(vqgan_folder: Path) -> None:
    """The lean forward trains the same."""
    one, other = (VQGAN.load(vqgan_folder).requires_grad_(True) for _ in range(2))
    one.latents(pixels(2)).square().sum().backward()
    other.quant_conv(other.encoder(pixels(2))).square().sum().backward()
    grads = {name: parameter.grad for name, parameter in other.encoder.named_parameters()}
    for name, parameter in one.encoder.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, grads[name])


def test_fast_mode_rounds_the_encoder_and_nothing_else(vqgan: VQGAN, vqgan_folder: Path) -> None:
    fast = VQGAN.load(vqgan_folder, "fast")
    types = {name: tensor.dtype for name, tensor in fast.state_dict().items()}
    assert {types[name] for name in types if name.startswith("encoder.")} == {torch.bfloat16}
    assert {types[name] for name in types if not name.startswith("encoder.")} == {torch.float32}
    codes = vqgan.encode(pixels(2))
    assert torch.equal(fast.decode(codes), vqgan.decode(codes))
    torch.testing.assert_close(fast.latents(pixels(4)), vqgan.latents(pixels(4)), atol=0.05, rtol=0.05)


def test_agreement_counts_equal_codes_and_pictures(vqgan: VQGAN, vqgan_folder: Path) -> None:
    fast = VQGAN.load(vqgan_folder, "fast")
    given = pixels(20)  # more than one batch
    equal = fast.encode(given) == vqgan.encode(given)
    found = agreement(fast, vqgan, given)
    assert found.codes == pytest.approx(float(equal.float().mean()))
    assert found.pictures == pytest.approx(float(equal.all(1).float().mean()))
    assert found.compared == 20
    assert 0.5 < found.codes < 1.0
    assert agreement(vqgan, vqgan, given) == (1.0, 1.0, 20)


def test_a_rounded_encoder_is_neither_saved_nor_named(vqgan_folder: Path, tmp_path: Path) -> None:
    fast = VQGAN.load(vqgan_folder, "fast")
    with pytest.raises(AssertionError, match="exact"):
        fast.save(tmp_path / "again")
    with pytest.raises(AssertionError, match="exact"):
        fast.digest()


def test_the_digest_moves_with_any_weight(vqgan_folder: Path) -> None:
    one, other = VQGAN.load(vqgan_folder), VQGAN.load(vqgan_folder)
    assert one.digest() == other.digest()
    assert other.decoder is not None
    other.decoder.conv_out.weight[0, 0, 0, 0] += 1e-6
    assert one.digest() != other.digest()


@pytest.mark.gpu
def test_modes_on_an_accelerator(vqgan: VQGAN, vqgan_folder: Path) -> None:
    there = pixels(8).cuda()
    exact = VQGAN.load(vqgan_folder).cuda()
    assert (exact.encode(there).cpu() == vqgan.encode(pixels(8))).float().mean() > 0.98
    fast = VQGAN.load(vqgan_folder, "fast").cuda()
    assert agreement(fast, exact, there).codes > 0.5


def test_codes_do_not_depend_on_the_batch(vqgan: VQGAN) -> None:
    together = vqgan.encode(pixels(6))
    alone = torch.cat([vqgan.encode(picture[None]) for picture in pixels(6)])
    assert torch.equal(together, alone)


def test_encoding_leaves_the_pixels_alone(vqgan: VQGAN) -> None:
    given = pixels(1)
    vqgan.encode(given)
    assert torch.equal(given, pixels(1))


def test_decoded_pictures_are_clamped_pixels(vqgan: VQGAN) -> None:
    codes = vqgan.encode(pixels(3))
    made = vqgan.decode(codes)
    assert made.shape == (3, 3, 16, 16)
    assert made.dtype == torch.float32
    assert made.abs().max() <= 1
    assert not torch.allclose(made[0], made[1])


def test_codes_are_row_by_row_from_the_top_left(vqgan: VQGAN) -> None:
    codes = torch.arange(16)[None]
    placed = torch.zeros(1, 8, 4, 4)
    for row in range(4):
        for column in range(4):
            placed[0, :, row, column] = vqgan.quantize.embedding.weight[4 * row + column]
    torch.testing.assert_close(vqgan.decode(codes), vqgan.pixels(placed).clamp(-1, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("codes", [torch.zeros(1, 15), torch.full((1, 16), 24), torch.full((1, 16), -1)])
def test_codes_that_are_no_picture_are_refused(vqgan: VQGAN, codes: torch.Tensor) -> None:
    with pytest.raises(TokenError, match="codes"):
        vqgan.decode(codes.long())


@pytest.mark.parametrize(
    "given", [torch.zeros(1, 3, 8, 8), torch.zeros(3, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)]
)
def test_pixels_of_another_shape_or_type_are_refused(vqgan: VQGAN, given: torch.Tensor) -> None:
    with pytest.raises(TokenError, match="pixels are"):
        vqgan.encode(given)


def test_published_decoder_names_and_shapes() -> None:
    with torch.device("meta"):
        decoder = Decoder(ChameleonVQVAEConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in decoder.state_dict().items()}
    assert shapes["conv_in.weight"] == (512, 256, 3, 3)
    assert shapes["mid.attn_1.proj_out.weight"] == (512, 512, 1, 1)
    assert shapes["up.4.block.0.conv1.weight"] == (512, 512, 3, 3)
    assert shapes["up.3.block.0.nin_shortcut.weight"] == (256, 512, 1, 1)
    assert shapes["up.1.block.0.nin_shortcut.weight"] == (128, 256, 1, 1)
    assert shapes["up.1.upsample.conv.weight"] == (128, 128, 3, 3)
    assert shapes["up.0.block.2.norm2.weight"] == (128,)
    assert shapes["norm_out.weight"] == (128,)
    assert shapes["conv_out.weight"] == (3, 128, 3, 3)
    assert not any(name.startswith(("up.0.upsample", "up.0.block.3", "up.5")) for name in shapes)


def test_attention_is_built_at_the_asked_resolutions() -> None:
    config = ChameleonVQVAEConfig(resolution=32, base_channels=32, channel_multiplier=[1, 2], attn_resolutions=[16])
    with torch.device("meta"):
        names = set(Decoder(config).state_dict())
    assert "up.1.attn.2.q.weight" in names
    assert not any(name.startswith("up.0.attn") for name in names)


def test_the_geometry_of_pictures_is_saved_and_read_again(vqgan_folder: Path, tmp_path: Path) -> None:
    model = VQGAN.load(vqgan_folder)
    assert model.geometry == "centre_crop"
    model.geometry = "letterbox"
    model.save(tmp_path / "letterbox")
    assert VQGAN.load(tmp_path / "letterbox").geometry == "letterbox"


def test_saved_weights_have_the_same_bytes_again(vqgan: VQGAN, vqgan_folder: Path, tmp_path: Path) -> None:
    vqgan.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (vqgan_folder / name).read_bytes()
    with pytest.raises(StoreError, match="published already"):
        vqgan.save(tmp_path / "again")


@pytest.mark.parametrize("fault", ["missing", "foreign", "shape"])
def test_weights_of_another_network_are_refused(vqgan_folder: Path, tmp_path: Path, fault: str) -> None:
    folder = Path(shutil.copytree(vqgan_folder, tmp_path / "vqgan"))
    state = load_file(folder / "model.safetensors")
    if fault == "missing":
        del state["decoder.conv_in.bias"]
    elif fault == "foreign":
        state["loss.discriminator.weight"] = torch.zeros(1)
    else:
        state["quantize.embedding.weight"] = torch.zeros(23, 8)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"decoder\.conv_in\.bias|loss\.discriminator|quantize\.embedding"):
        VQGAN.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"base_channels": 48},
        {"resolution": 18},
        {"resolution": 1 << 20},
        {"num_embeddings": 1 << 30},
        {"channel_multiplier": []},
        {"channel_multiplier": "wide"},
        {"double_latent": True},
        {"embed_dim": None},
    ],
)
def test_configurations_out_of_bounds_are_refused(
    vqgan_folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(vqgan_folder, tmp_path / "vqgan"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(WeightsError, match=r"config\.json"):
        VQGAN.load(folder)


def test_loading_moves_nobodys_chance(vqgan_folder: Path) -> None:
    state = torch.random.get_rng_state()
    VQGAN.load(vqgan_folder)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_tf32_is_off_inside_and_as_before_outside() -> None:
    before = torch.backends.cudnn.allow_tf32
    with full_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_a_thread_that_leaves_first_turns_nothing_on_for_those_inside() -> None:
    before = torch.backends.cudnn.allow_tf32
    first, second = full_float32(), full_float32()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not torch.backends.cudnn.allow_tf32
    second.__exit__(None, None, None)
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_configurations_mode_is_taken_where_none_is_asked_for(vqgan_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vqgan_folder, tmp_path / "fast"))
    set_options(folder, {"numeric_mode": "fast"})
    assert VQGAN.load(vqgan_folder).mode == "exact"
    assert VQGAN.load(folder).mode == "fast"
    assert VQGAN.load(folder, "exact").mode == "exact"
