"""One thread for small networks: they run faster alone, and the same way each time."""

from __future__ import annotations

import pytest

from medmax_pipeline.tokens import resize

if resize.COMPILED:  # compiled here once, so that no test's time holds it
    import medmax_pipeline.tokens.kernels as _  # noqa: F401


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Torch shares the machine with other processes' threads badly."""
    import torch

    torch.set_num_threads(1)
