"""Processes that tune together, one a device: started by torch's own launcher, joined by sums over gradients.

Every process holds the whole network and sees its share of each batch. Nothing is broadcast: the same files and seeds
give each the same start, and the same sums keep them alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, NoReturn

import torch
from torch import Tensor, distributed, nn

from medmax_pipeline.errors import ConfigError

BUCKET_VALUES = 1 << 24
"""Gradients that are summed at once, 64 MiB in float32."""
MODULE = "medmax_pipeline.training.tokenizer"


class Group(NamedTuple):
    """This process among those that tune together."""

    rank: int
    size: int
    device: str

    @property
    def leads(self) -> bool:
        """Whether it writes states and results."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which pictures of a batch are this process's.

        Raises:
            ConfigError: they cannot be shared evenly.
        """
        if batch % self.size:
            raise ConfigError(f"tuning.batch {batch} cannot be shared evenly by {self.size} processes.")
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def averaged(self, tensor: Tensor) -> Tensor:
        """The mean over all processes; the tensor itself where there is one."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        distributed.all_reduce(total)
        return total.div_(self.size)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every parameter the mean of its gradients over all processes."""
        if self.size == 1:
            return
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = self.averaged(torch.cat([gradient.flatten() for gradient in bucket]))
            for gradient, mean in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            distributed.barrier()


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
def joined(device: Literal["cpu", "cuda", "auto"]) -> Iterator[Group]:
    """The group that the launcher's environment names; alone without a launcher."""
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if "WORLD_SIZE" not in os.environ:
        yield Group(0, 1, kind)
        return
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size(), kind)
    finally:
        distributed.destroy_process_group()


def wanted_processes(asked: int, batch: int, device: Literal["cpu", "cuda", "auto"]) -> int:
    """How many processes to start: what is asked, or as many CUDA devices as share the batch evenly, at least one."""
    devices = torch.cuda.device_count() if device != "cpu" else 0
    return asked or max(count for count in range(1, max(devices, 1) + 1) if batch % count == 0)


def become_group(count: int, job: str) -> NoReturn:
    """Turn this process into the launcher of `count` processes that do the same job; does not return."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    os.execv(sys.executable, [sys.executable, "-u", "-m", *launcher, "-m", MODULE, job])
