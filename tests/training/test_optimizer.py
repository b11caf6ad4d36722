"""AdamW: torch's bits in float32, float32 sums under bfloat16, each process its own shard."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import spawn

from medmax_pipeline.config import Schedule
from medmax_pipeline.training import optimizer
from medmax_pipeline.training.optimizer import ADAM_BETAS, ADAM_EPS, MasterAdamW, make_optimizer

SCHEDULE = Schedule(epochs=1, peak_lr=1e-2, weight_decay=0.1)
STEPS = 5
DTYPES = (torch.float32, torch.bfloat16)


def a_network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(37, 19), nn.SiLU(), nn.Linear(19, 3, bias=False), nn.Linear(3, 1)).to(dtype)


def learn(network: nn.Module, adam: torch.optim.Optimizer, steps: range = range(STEPS)) -> None:
    for step in steps:
        inputs = torch.randn(8, 37, generator=torch.Generator().manual_seed(step))
        adam.param_groups[0]["lr"] = 1e-2 / (step + 1)
        adam.zero_grad(set_to_none=True)
        network(inputs.to(next(network.parameters()).dtype)).float().square().mean().backward()
        adam.step()


def made(network: nn.Module) -> MasterAdamW:
    return make_optimizer(dict(network.named_parameters()), SCHEDULE)


def test_float32_parameters_get_the_bits_of_torchs_fused_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "ELEMENTS_AT_ONCE", 60)
    ours, theirs = a_network(), a_network()
    adam = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=ADAM_BETAS, eps=ADAM_EPS, weight_decay=0.1, fused=True)
    mine = made(ours)
    learn(ours, mine)
    learn(theirs, adam)
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(our, their)
        assert set(mine.state[our]) == set(adam.state[their])
        assert all(torch.equal(mine.state[our][name], adam.state[their][name]) for name in adam.state[their])


def test_bfloat16_parameters_are_rounded_masters_that_learned_in_float32() -> None:
    network = a_network(torch.bfloat16)
    masters = [parameter.detach().float().requires_grad_() for parameter in network.parameters()]
    expected = torch.optim.AdamW(masters, lr=1e-2, betas=ADAM_BETAS, eps=ADAM_EPS, weight_decay=0.1)
    adam = made(network)
    for step in range(STEPS):
        learn(network, adam, range(step, step + 1))
        for master, parameter in zip(masters, network.parameters(), strict=True):
            assert parameter.grad is not None
            master.grad = parameter.grad.float()
        expected.param_groups[0]["lr"] = 1e-2 / (step + 1)
        expected.step()
    for master, parameter in zip(masters, network.parameters(), strict=True):
        state = adam.state[parameter]
        assert {name: value.dtype for name, value in state.items()} == dict.fromkeys(
            ("exp_avg", "exp_avg_sq", "step", "master"), torch.float32
        )
        torch.testing.assert_close(state["master"], master.detach(), rtol=1e-6, atol=1e-7)
        assert torch.equal(parameter, state["master"].bfloat16())


def test_steps_below_a_bfloat16s_precision_add_up() -> None:
    parameter = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    adam = make_optimizer({"weight": parameter}, Schedule(epochs=1, peak_lr=1e-4))
    for _ in range(100):
        parameter.grad = torch.ones_like(parameter)
        adam.step()
    assert float(parameter.detach()[0]) == pytest.approx(0.99, abs=2**-8)
    assert float(parameter.detach()[0]) < 1.0


def test_a_parameter_without_a_gradient_stays_and_keeps_no_state() -> None:
    network = a_network()
    unused = nn.Parameter(torch.ones(2))
    adam = make_optimizer({**dict(network.named_parameters()), "unused": unused}, SCHEDULE)
    learn(network, adam)
    assert torch.equal(unused, torch.ones(2))
    assert not adam.state[unused]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_goes_on_from_copied_state_to_the_same_bits(dtype: torch.dtype) -> None:
    whole = a_network(dtype)
    learn(whole, made(whole))
    first = a_network(dtype)
    earlier = made(first)
    learn(first, earlier, range(2))
    second = copy.deepcopy(first)
    later = made(second)
    later.load_state_dict(copy.deepcopy(earlier.state_dict()))
    learn(second, later, range(2, STEPS))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def _shard_and_learn(rank: int, folder: str) -> None:
    """One of two processes; every process sees the same inputs, so mean gradients are a lone process's."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for dtype in DTYPES:
        network = a_network(dtype)
        fully_shard(network, mesh=mesh)
        adam = made(network)
        learn(network, adam)
        whole = {}
        for name, parameter in network.named_parameters():
            for kind, value in {"parameter": parameter.detach(), **adam.state[parameter]}.items():
                assert isinstance(value, DTensor) or kind == "step"
                whole[f"{kind}.{name}"] = value.full_tensor() if isinstance(value, DTensor) else value
        if rank == 0:
            save_file(whole, Path(folder) / f"{dtype}.safetensors")
    distributed.destroy_process_group()


def test_two_processes_shards_learn_what_one_process_learns(tmp_path: Path) -> None:
    """The last layer's one row leaves the second process nothing to hold."""
    spawn(_shard_and_learn, (str(tmp_path),), nprocs=2)
    for dtype, tolerance in zip(DTYPES, (1e-6, 2e-2), strict=True):
        sharded = load_file(tmp_path / f"{dtype}.safetensors")
        network = a_network(dtype)
        adam = made(network)
        learn(network, adam)
        for name, parameter in network.named_parameters():
            for kind, value in {"parameter": parameter.detach(), **adam.state[parameter]}.items():
                torch.testing.assert_close(sharded[f"{kind}.{name}"], value, rtol=10 * tolerance, atol=tolerance)
