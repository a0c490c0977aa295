"""Kernels are told only of memory that is as they expect it."""

import pytest
import torch

from torchdropout.kernels import tasks


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(4, dtype=torch.float64), torch.ones(4, 3).T, torch.ones(4, device="meta")],
    ids=["dtype", "strides", "device"],
)
def test_what_a_kernel_would_read_wrongly_is_refused(tensor):
    with pytest.raises(
        RuntimeError, match="kernel: every tensor must be contiguous, torch.float32 and on the CPU, got"
    ):
        tasks.addresses(torch.float32, torch.ones(2), tensor)


def test_addresses():
    x, y = torch.ones(2), torch.ones(3)
    assert tasks.addresses(torch.float32, x, y) == [x.data_ptr(), y.data_ptr()]
