"""LPIPS from a weights file: names as published, a distance by its properties, other files refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.training.tokenizer import perceptual
from medmax_pipeline.training.tokenizer.job import Job
from medmax_pipeline.training.tokenizer.perceptual import Lpips, read_lpips
from tests.training.tokenizer.conftest import run
from tests.training.tokenizer.test_loop import MakeJob, metrics

NARROW = ((4, 4), (4, 4), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""VGG16's blocks with few channels: the file is small, the names are the same."""


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "SLICES", NARROW)


@pytest.fixture
def state(narrow: None) -> dict[str, Tensor]:
    """Seeded weights, the heads positive as trained ones are."""
    torch.manual_seed(0)
    return {
        name: tensor.abs() if name.startswith("lin") else tensor.clone()
        for name, tensor in Lpips().state_dict().items()
    }


def lpips_file(folder: Path, state: dict[str, Tensor]) -> Path:
    save_file(state, folder / "lpips.safetensors")
    return folder / "lpips.safetensors"


def test_published_names_and_shapes() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Lpips().state_dict().items()}
    convolutions = ["1.0", "1.2", "2.5", "2.7", "3.10", "3.12", "3.14", "4.17", "4.19", "4.21", "5.24", "5.26", "5.28"]
    names = {f"net.slice{place}.{part}" for place in convolutions for part in ("weight", "bias")}
    assert shapes.keys() == names | {f"lin{number}.model.1.weight" for number in range(5)}
    assert shapes["net.slice3.10.weight"] == (256, 128, 3, 3)
    assert shapes["lin4.model.1.weight"] == (1, 512, 1, 1)


def test_equal_pictures_have_no_distance_and_others_have_one_both_ways(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    lpips = read_lpips(lpips_file(tmp_path, state))
    one, other = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    assert lpips(one, one).item() == 0.0
    assert lpips(one, other).item() > 0.0
    assert lpips(one, other).item() == pytest.approx(lpips(other, one).item())


def test_the_distance_is_that_of_the_paper_by_hand(tmp_path: Path, state: dict[str, Tensor]) -> None:
    """Only the first head counts: unit features of the first block, squared difference, head, mean."""
    for number in range(1, 5):
        state[f"lin{number}.model.1.weight"].zero_()
    lpips = read_lpips(lpips_file(tmp_path, state))
    one, other = torch.rand(1, 3, 32, 32) * 2 - 1, torch.rand(1, 3, 32, 32) * 2 - 1
    shift, scale = torch.tensor(perceptual.SHIFT).view(3, 1, 1), torch.tensor(perceptual.SCALE).view(3, 1, 1)
    units = []
    for pixels in (one, other):
        features = (pixels - shift) / scale
        for place in ("0", "2"):
            weight, bias = (state[f"net.slice1.{place}.{part}"] for part in ("weight", "bias"))
            features = torch.relu(torch.conv2d(features, weight, bias, padding=1))
        units.append(features / features.norm(dim=1, keepdim=True).clamp_min(1e-10))
    expected = ((units[0] - units[1]) ** 2 * state["lin0.model.1.weight"]).sum(1).mean()
    assert lpips(one, other).item() == pytest.approx(expected.item(), rel=1e-5)


def test_places_without_any_feature_have_a_gradient(tmp_path: Path, state: dict[str, Tensor]) -> None:
    for name in state:
        if name.endswith("bias"):
            state[name].fill_(-100.0)
    made = torch.rand(1, 3, 32, 32, requires_grad=True)
    read_lpips(lpips_file(tmp_path, state))(made, torch.rand(1, 3, 32, 32)).backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()


def test_the_same_tensors_inside_a_training_checkpoint_are_found(tmp_path: Path, state: dict[str, Tensor]) -> None:
    inside = {f"loss.perceptual_loss.{name}": tensor for name, tensor in state.items()}
    lpips = read_lpips(lpips_file(tmp_path, inside | {"encoder.conv_in.bias": torch.zeros(3)}))
    assert torch.equal(lpips.state_dict()["lin0.model.1.weight"], state["lin0.model.1.weight"])


def test_a_file_that_lacks_a_head_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    del state["lin2.model.1.weight"]
    with pytest.raises(WeightsError, match=r"1 missing \(lin2"):
        read_lpips(lpips_file(tmp_path, state))


def test_a_head_below_zero_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["lin2.model.1.weight"][0, 1] = -0.1
    with pytest.raises(WeightsError, match="negative"):
        read_lpips(lpips_file(tmp_path, state))


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"lin0.model.1.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_lpips(tmp_path / "vgg.pth")


def test_given_weights_take_part_in_tuning(make_job: MakeJob, tmp_path: Path, state: dict[str, Tensor]) -> None:
    job: Job = replace(make_job(epochs=0.5), perceptual=str(lpips_file(tmp_path, state)))
    card = run(job)
    assert card["terms"]["perceptual"] == "in use"
    assert all(line["perceptual"] > 0 for line in metrics(job))  # type: ignore[operator]
