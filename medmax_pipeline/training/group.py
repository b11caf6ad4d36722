"""Processes that train together, one a device: started by torch's own launcher, joined by sums.

Every process reads the same files with the same seeds, so nothing is broadcast at the start. What each of them works on
belongs to the loops.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, NoReturn

import torch
from torch import Tensor, distributed, nn

from medmax_pipeline.errors import ConfigError

BUCKET_VALUES = 1 << 24
"""Gradients that are summed at once, 64 MiB in float32."""
PR_SET_PDEATHSIG = 1
"""Linux, `prctl(2)`: the signal that a process gets when its parent ends."""
Device = Literal["cpu", "cuda", "auto"]


class Group(NamedTuple):
    """This process among those that train together."""

    rank: int
    size: int
    device: str

    @property
    def leads(self) -> bool:
        """Whether it writes states and results."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which items of a batch are this process's.

        Raises:
            ConfigError: they cannot be shared evenly.
        """
        if batch % self.size:
            raise ConfigError(f"tuning.batch {batch} cannot be shared evenly by {self.size} processes.")
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes; the tensor itself where there is one."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        distributed.all_reduce(total)
        return total

    def averaged(self, tensor: Tensor) -> Tensor:
        """The mean over all processes; the tensor itself where there is one."""
        return tensor if self.size == 1 else self.summed(tensor).div_(self.size)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every parameter the mean of its gradients over all processes."""
        if self.size == 1:
            return
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = self.averaged(torch.cat([gradient.flatten() for gradient in bucket]))
            for gradient, mean in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    def of_leader(self, value: int) -> int:
        """The number that the first process gave, in all of them."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.int64, device=self.device)
        distributed.broadcast(told, 0)
        return int(told)

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Group(0, 1, "cpu")
"""One process on the CPU."""


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and sum(one.numel() for one in bucket) + gradient.numel() > BUCKET_VALUES:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextmanager
def joined(device: Device) -> Iterator[Group]:
    """The group that the launcher's environment names; alone without a launcher."""
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if "WORLD_SIZE" not in os.environ:
        yield Group(0, 1, kind)
        return
    if sys.platform == "linux":  # the launcher gives each process a session of its own: its end is not theirs
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size(), kind)
    finally:
        distributed.destroy_process_group()


def wanted_processes(asked: int, batch: int, device: Device) -> int:
    """How many processes to start: what is asked, or as many CUDA devices as share the batch evenly, at least one."""
    devices = torch.cuda.device_count() if device != "cpu" else 0
    return asked or max(count for count in range(1, max(devices, 1) + 1) if batch % count == 0)


def become_group(count: int, module: str, arguments: Sequence[str]) -> NoReturn:
    """Turn this process into the launcher of `count` processes of `python -m module arguments`; does not return."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    os.execv(sys.executable, [sys.executable, "-u", "-m", *launcher, "-m", module, *arguments])
