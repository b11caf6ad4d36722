"""AdamW whose sums are float32, whatever the parameters are kept in and however they are sharded.

Torch's fused kernel does the arithmetic, on each process's own shard. The learning rate is set from outside, through
`param_groups`; clipping and the finding of diverged runs are the loop's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from medmax_pipeline.config import Schedule

ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
"""torch's and transformers' defaults, which the paper's scripts leave alone."""
ELEMENTS_AT_ONCE = 1 << 28
"""Elements updated in one call: float32 copies of their gradients are 1 GiB at most, unless one tensor is larger."""


def make_optimizer(parameters: Mapping[str, nn.Parameter], schedule: Schedule) -> MasterAdamW:
    """AdamW over `parameters`, in their order, at the schedule's peak rate and weight decay."""
    return MasterAdamW(parameters.values(), lr=schedule.peak_lr, weight_decay=schedule.weight_decay)


class MasterAdamW(torch.optim.Optimizer):
    """AdamW with a float32 master copy of each parameter that is not float32 itself.

    `state[parameter]` is empty before the first step, then holds tensors of the parameter's shape: `exp_avg`,
    `exp_avg_sq` and, where the parameter is not float32, `master`, all float32; beside them the scalar `step`. They
    are DTensors where the parameter is one. A parameter is the rounded master after each step, so what is trained is
    the master; put it back when a run goes on.

    On float32 parameters every bit is that of `torch.optim.AdamW(fused=True)`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": ADAM_BETAS, "eps": ADAM_EPS, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient; `closure` is not taken."""
        assert closure is None, "the loop computes the loss"
        for group in self.param_groups:
            for some in _slices(parameter for parameter in group["params"] if parameter.grad is not None):
                self._update(some, group)

    def _update(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        states = [self._state(parameter) for parameter in parameters]
        learned = [_local(state.get("master", parameter)) for state, parameter in zip(states, parameters, strict=True)]
        adamw(
            learned,
            [_local(parameter.grad).float() for parameter in parameters],
            [_local(state["exp_avg"]) for state in states],
            [_local(state["exp_avg_sq"]) for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        for state, parameter, master in zip(states, parameters, learned, strict=True):
            if "master" in state:
                _local(parameter).copy_(master)

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What is kept of a parameter, made at its first step."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
            state["step"] = torch.zeros((), dtype=torch.float32, device=_local(parameter).device)
            if parameter.dtype != torch.float32:
                state["master"] = parameter.detach().float()
        state["step"] = state["step"].to(_local(parameter).device)  # the fused kernel counts beside the parameter
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave, bit by bit; torch's own would round it to the parameters' type."""
        super().load_state_dict(state_dict)
        numbers = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        for number, parameter in zip(numbers, self._parameters(), strict=True):
            kept = state_dict["state"].get(number, {})
            self.state[parameter] = {name: value.detach().clone().to(parameter.device) for name, value in kept.items()}

    def _parameters(self) -> Iterator[nn.Parameter]:
        return chain.from_iterable(group["params"] for group in self.param_groups)


def _local(tensor: Tensor | None) -> Tensor:
    """The part that this process holds; shares memory with the whole."""
    assert tensor is not None
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _slices(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Runs of parameters that are updated together."""
    some: list[nn.Parameter] = []
    elements = 0
    for parameter in parameters:
        size = _local(parameter).numel()
        if some and elements + size > ELEMENTS_AT_ONCE:
            yield some
            some, elements = [], 0
        some.append(parameter)
        elements += size
    if some:
        yield some
