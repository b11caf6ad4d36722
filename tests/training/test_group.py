"""Processes that tune together: shares, buckets, how many are started. Two real ones are in `test_loop.py`."""

from __future__ import annotations

import pytest
import torch

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.training import group as module
from medmax_pipeline.training.group import Group, joined, wanted_processes


def test_shares_are_even_and_leave_nothing() -> None:
    taken = [list(range(12)[Group(rank, 3, "cpu").share(12)]) for rank in range(3)]
    assert taken == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="12 cannot be shared evenly by 5"):
        Group(0, 5, "cpu").share(12)


def test_gradients_of_any_size_are_summed_in_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUCKET_VALUES", 5)
    gradients = [torch.zeros(size) for size in (2, 3, 9, 1, 1)]
    buckets = [[gradient.numel() for gradient in bucket] for bucket in module._buckets(gradients)]
    assert buckets == [[2, 3], [9], [1, 1]]


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as group:
        assert group == Group(0, 1, "cpu")
        assert group.leads
        assert group.averaged(tensor := torch.ones(1)) is tensor


@pytest.mark.parametrize(("devices", "batch", "started"), [(0, 8, 1), (4, 8, 4), (3, 8, 2), (8, 6, 6), (2, 7, 1)])
def test_as_many_devices_as_share_the_batch_are_used(
    monkeypatch: pytest.MonkeyPatch, devices: int, batch: int, started: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    assert wanted_processes(0, batch, "auto") == started
    assert wanted_processes(0, batch, "cpu") == 1
    assert wanted_processes(2, batch, "auto") == 2
