"""What learns: LoRA's matrices in the model's type, counted, with dropout shared by those who read the same tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ChameleonConfig

from medmax_pipeline.config import Adapter
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.training.adapt import (
    LORA_TARGETS,
    SHARERS,
    SharedDropout,
    adapted,
    lora_elements,
    trained_parameters,
)

LORA = Adapter(kind="lora", rank=4, alpha=8, dropout=0.5)


def loss(model: MixedModalChameleon, seed: int = 0) -> Tensor:
    """Mean loss of a pack of two documents, with dropout drawn from `seed`."""
    ids = torch.randint(40, (40,), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(16), torch.arange(24)])
    torch.manual_seed(seed)
    return model.labelled_loss(ids, positions, torch.tensor([0, 16, 40]), positions > 2).losses_L.mean()


@pytest.fixture
def tuned(model: MixedModalChameleon) -> MixedModalChameleon:
    """With LoRA matrices that already say something, in training."""
    torch.manual_seed(2)
    adapted(model, LORA)
    for name, parameter in trained_parameters(model).items():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    model.train()
    return model


@contextmanager
def adapter_inputs(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What each LoRA matrix A is given, by its projection's name."""
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if name.endswith("lora_A.default"):

            def note(_: nn.Module, given: tuple[Any, ...], name: str = name.removesuffix(".lora_A.default")) -> None:
                seen[name] = given[0]

            hooks.append(module.register_forward_pre_hook(note))
    yield seen
    for hook in hooks:
        hook.remove()


def test_rank_16_on_the_published_7b_is_39_976_960_parameters() -> None:
    assert lora_elements(ChameleonConfig(), 16) == 39_976_960
    with torch.device("meta"):
        model = MixedModalChameleon._from_config(ChameleonConfig(vocabulary_map={"<image>": 8711}))
    adapted(model, Adapter(kind="lora"))
    assert sum(parameter.numel() for parameter in trained_parameters(model).values()) == 39_976_960


def test_matrices_that_are_not_what_the_shapes_say_are_refused(model: MixedModalChameleon) -> None:
    model.config.intermediate_size += 1
    with pytest.raises(ConfigError, match="its shapes say"):
        adapted(model, LORA)


def test_matrices_are_kept_in_the_models_type(model: MixedModalChameleon) -> None:
    adapted(model.bfloat16(), LORA)
    assert {parameter.dtype for parameter in trained_parameters(model).values()} == {torch.bfloat16}


def test_projections_of_one_tensor_share_a_mask_and_groups_do_not(tuned: MixedModalChameleon) -> None:
    with adapter_inputs(tuned) as seen:
        loss(tuned)
    layers = tuned.config.num_hidden_layers
    assert len(seen) == layers * len(LORA_TARGETS)
    assert len({id(given) for given in seen.values()}) == layers * len(SHARERS)
    attention = "model.layers.0.self_attn"
    assert seen[f"{attention}.q_proj"] is seen[f"{attention}.v_proj"]
    masks = [seen[f"{attention}.{name}"] == 0 for name in ("q_proj", "o_proj")]
    assert all(mask.float().mean().item() == pytest.approx(0.5, abs=0.1) for mask in masks)
    assert not torch.equal(*masks)


def test_every_forward_draws_new_masks_from_torchs_generator(tuned: MixedModalChameleon) -> None:
    first, again, other = (loss(tuned, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_recomputed_layers_see_the_same_masks(tuned: MixedModalChameleon) -> None:
    kept = torch.autograd.grad(loss(tuned), list(trained_parameters(tuned).values()))
    tuned.recompute_layers()
    recomputed = torch.autograd.grad(loss(tuned), list(trained_parameters(tuned).values()))
    assert all(torch.equal(a, b) for a, b in zip(kept, recomputed, strict=True))


def test_nothing_is_held_after_a_forward(tuned: MixedModalChameleon) -> None:
    loss(tuned).backward()
    shared = [module for module in tuned.modules() if isinstance(module, SharedDropout)]
    assert len(shared) == tuned.config.num_hidden_layers * len(SHARERS)
    assert not any(isinstance(value, Tensor) for module in shared for value in vars(module).values())


def test_a_reader_that_never_came_leaves_nothing_for_another_tensor() -> None:
    shared = SharedDropout(0.5, 2)
    first = shared(torch.ones(1000))
    second, third = (lambda given: (shared(given), shared(given)))(torch.full((1000,), 3.0))
    assert second is third
    assert set(second.tolist()) == {0.0, 6.0}
    assert set(first.tolist()) == {0.0, 2.0}


def test_answers_are_those_of_pefts_own_matrices(tuned: MixedModalChameleon) -> None:
    tuned.eval()
    projection = tuned.model.layers[1].mlp.down_proj
    given = torch.randn(3, projection.in_features)
    delta = projection.lora_B["default"].weight @ projection.lora_A["default"].weight * 2.0
    torch.testing.assert_close(projection(given), given @ (projection.base_layer.weight + delta).T)


def test_a_full_tuning_leaves_the_image_tokenizer_alone(model: MixedModalChameleon) -> None:
    assert adapted(model, Adapter(kind="full")) is None
    learned = set(trained_parameters(model))
    every = {name for name, _ in model.named_parameters()}
    assert every - learned == {name for name in every if name.startswith("model.vqmodel.")} != set()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_shared_bfloat16_adapters_keep_half_of_pefts_activations(model: MixedModalChameleon) -> None:
    from peft import LoraConfig, get_peft_model

    def kept(network: MixedModalChameleon) -> int:
        """Bytes that the decoder's layers save for the backward pass, each storage once, parameters aside."""
        owned = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        sizes: dict[int, int] = {}
        alive = []

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            alive.append(storage)
            if storage.data_ptr() not in owned:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        hidden = torch.randn(1, 64, network.config.hidden_size, dtype=torch.bfloat16, requires_grad=True)
        angles = network.model.rotary_emb(hidden, torch.arange(64)[None])
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network.model.layers[0](hidden, position_embeddings=angles)
        return sum(sizes.values())

    model.bfloat16().train().requires_grad_(False)
    plain = get_peft_model(model, LoraConfig(r=4, lora_dropout=0.05, target_modules=list(LORA_TARGETS)))
    theirs = kept(model)
    plain.unload()
    adapted(model, Adapter(kind="lora", rank=4, alpha=4))
    model.train()
    assert theirs > 1.8 * kept(model)
