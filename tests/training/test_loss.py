"""The objective: image codes are learned, packing changes nothing, modalities are told apart."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.training.data import Batch, Weighting, collate
from medmax_pipeline.training.loss import Objective, Sums
from tests.training.conftest import World, sequences, shards_of


def objective(model: MixedModalChameleon, batch: Batch, z_loss: float = 0.0) -> tuple[torch.Tensor, Sums]:
    """Loss and sums of one batch."""
    loss, told = Objective(model, z_loss)(batch)
    return loss, Sums(*told.tolist())


@pytest.fixture
def packed(world: World, tmp_path: Path) -> PackReader:
    """Pack 0 holds all; packs 1 to 6 hold one of its sequences each."""
    items = sequences(world.vocabulary, 6, 5)
    return PackReader(shards_of(tmp_path / "shards", world.vocabulary, [items, *([item] for item in items)]))


@pytest.fixture
def batch_of(world: World, packed: PackReader) -> Callable[[int, Weighting], Batch]:
    """Packs of `packed` as tensors."""
    images = frozenset(world.vocabulary.image_ids.tolist())
    return lambda number, weighting: collate(packed.pack(number), images, weighting)


def test_image_codes_are_learned(world: World, model: MixedModalChameleon, batch_of: Callable[..., Batch]) -> None:
    loss, told = objective(model, batch_of(0, "sample"))
    loss.backward()
    assert torch.isfinite(loss)
    gradient = model.lm_head.weight.grad
    assert gradient is not None
    rows = gradient[torch.from_numpy(world.vocabulary.image_ids)]
    assert (rows.abs().sum(dim=1) > 0).all(), "image logits are masked: their rows of the head get no gradient"
    assert told.image_targets > 0
    assert told.image / told.image_targets < 10


@pytest.mark.parametrize("weighting", ["sample", "token"])
def test_a_packs_loss_and_gradient_are_those_of_its_sequences(
    model: MixedModalChameleon, batch_of: Callable[..., Batch], weighting: Weighting
) -> None:
    together, _ = objective(model, batch_of(0, weighting))
    together.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    alone = [objective(model, batch_of(number, weighting)) for number in range(1, 7)]
    targets = torch.tensor([told.text_targets + told.image_targets for _, told in alone])
    shares = targets / targets.sum() if weighting == "token" else torch.full((6,), 1 / 6)
    loss = torch.stack([part for part, _ in alone]) @ shares
    loss.backward()
    torch.testing.assert_close(together, loss, rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_text_and_image_losses_add_up_to_the_token_mean(
    model: MixedModalChameleon, batch_of: Callable[..., Batch]
) -> None:
    loss, told = objective(model, batch_of(0, "token"))
    mean = (told.text + told.image) / (told.text_targets + told.image_targets)
    assert mean == pytest.approx(told.loss, rel=1e-5)
    assert told.loss == pytest.approx(float(loss.detach()))


def test_the_z_loss_adds_the_squared_log_denominators(
    model: MixedModalChameleon, batch_of: Callable[..., Batch]
) -> None:
    batch = batch_of(0, "sample")
    plain, _ = objective(model, batch)
    with_z, told = objective(model, batch, z_loss=0.5)
    ids = model.labelled_loss(batch.ids_T, batch.positions_T, batch.cu_seqlens, batch.trained_T)
    by_hand = (ids.log_z_L**2 * batch.weight_T[ids.at_L]).sum()
    assert told.z == pytest.approx(float(by_hand.detach()), rel=1e-6)
    torch.testing.assert_close(with_z, plain + 0.5 * by_hand)
    assert told.loss == pytest.approx(float(plain.detach()))


def test_prompts_are_not_trained(world: World, model: MixedModalChameleon, batch_of: Callable[..., Batch]) -> None:
    batch = batch_of(2, "sample")
    told = model.labelled_loss(batch.ids_T, batch.positions_T, batch.cu_seqlens, batch.trained_T)
    separator = batch.ids_T.tolist().index(world.vocabulary.sep)
    assert told.at_L.tolist() == list(range(separator + 1, len(batch.ids_T)))
