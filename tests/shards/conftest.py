"""One thread for small networks: they run faster alone, and the same way each time."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Torch shares the machine with other processes' threads badly."""
    import torch

    torch.set_num_threads(1)
