"""DropConnect's CPU kernel: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_dropconnect, tasks
from torchdropout.laws import Bernoulli

_FUNCTIONS = {
    (torch.float32, False): cpu_dropconnect.forward_float32,
    (torch.float64, False): cpu_dropconnect.forward_float64,
    (torch.float32, True): cpu_dropconnect.backward_float32,
    (torch.float64, True): cpu_dropconnect.backward_float64,
}
_CACHED = 1 << 18  # bytes of the rows of weights that stay in a core's cache, with their gradient, while examples pass
_SMALL = 1 << 16  # weights times examples; a second thread costs more than it saves


@functools.cache
def compiled(dtype: torch.dtype, backward: bool) -> Any:
    """The C function for a dtype and a pass."""
    return compilation.c_function(_FUNCTIONS[dtype, backward])


def forward(x: Tensor, weight: Tensor, key: Tensor, law: Bernoulli) -> Tensor:
    """`y[n, o] = sum over i of mask[n, o, i] * weight[o, i] * x[n, i]`.

    Args:
        x: `(N, in)`, C-contiguous, float32 or float64.
        weight: `(out, in)`, likewise.
        key: Keys whose number divides `N`; C-contiguous, on the CPU.
        law: An unscaled Bernoulli.
    """
    out = x.new_empty(len(x), len(weight))
    _run(x, weight, key, law, out, out, out, backward=False, slots=0)
    return out


def backward(
    x: Tensor, weight: Tensor, grad: Tensor, key: Tensor, law: Bernoulli, *, wants_input: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients of the input, where it is wanted, and of the weights.

    Every thread sums the input's gradient of its own rows apart, for as many threads as the memory of these sums is
    no more than that of the weights.
    """
    slots = min(torch.get_num_threads(), max(2, len(weight) // max(len(x), 1))) if wants_input else 0
    parts, grad_weight = x.new_zeros(max(slots, 1), *(x.shape if wants_input else (0,))), torch.zeros_like(weight)
    _run(x, weight, key, law, parts, grad_weight, grad, backward=True, slots=slots)
    return parts.sum(0) if wants_input else None, grad_weight


def _run(
    x: Tensor, weight: Tensor, key: Tensor, law: Bernoulli, first: Tensor, second: Tensor, grads: Tensor, *,
    backward: bool, slots: int,
) -> None:  # fmt: skip
    (rows, ins), outs = x.shape, len(weight)
    if rows * ins * outs == 0:
        first.zero_()
        return
    threads = 1 if rows * ins * outs < _SMALL else torch.get_num_threads()
    step = max(1, min(_CACHED // (ins * x.element_size()), -(-outs // (4 * threads))))
    inner = rows * outs * ins // (key.numel() // 2)
    addresses = tasks.addresses(x.dtype, x, weight, first, second, grads)
    noise = [key.data_ptr(), inner, int(law.bits), int(law.threshold)]
    numbers = [0, step, outs, 0, slots, *noise, rows, outs, ins, *addresses]
    tasks.run(compiled(x.dtype, backward), numbers, threads)
