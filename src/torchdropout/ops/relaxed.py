"""Multiplication by a relaxed Bernoulli mask whose probability is learned: concrete dropout's training pass.

On the CPU noise, product and gradients are made in one pass each, and nothing but the input is kept; elsewhere, for
float64, and where a transform of `torch.func`, a compiler or a second derivative asks for plain operations, they serve.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.compiler import is_compiling

from torchdropout import laws, rng
from torchdropout.ops.devices import compiles
from torchdropout.ops.elementwise import _checked, multiply, plain_operations_wanted

_HALF = (torch.float16, torch.bfloat16)


def relaxed_multiply(x: Tensor, logit: Tensor, temperature: float, *, key: Tensor | None = None) -> Tensor:
    """`x * m / (1 - p)` with `m = sigmoid(-(logit + log(u / (1 - u))) / temperature)` and `p = sigmoid(logit)`.

    Args:
        x: `(*batch, ...)`, floating point.
        logit: 0-d; its gradient is that of the relaxation.
        temperature: Positive; towards 0 the mask becomes a Bernoulli's.
        key: `(*batch, 2)`, one for each row of the leading axes; None draws one for all.
    """
    if key is not None:
        key = _checked(key, x)
    if is_compiling() or plain_operations_wanted(x) or not _kernel_serves(x):
        return _reference(x, logit, temperature, key)
    return _Relaxed.apply(x, logit, temperature, rng.draw(x.shape) if key is None else key)  # type: ignore[no-any-return, no-untyped-call]


def _reference(x: Tensor, logit: Tensor, temperature: float, key: Tensor | None) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    u = multiply(torch.ones(x.shape, dtype=wide, device=x.device), laws.Spec("uniform", 0.0, 1.0), key=key)
    logit = logit.to(wide)
    mask = torch.sigmoid((logit + torch.logit(u)) / -temperature)
    return (x.to(wide) * (mask * (1.0 + torch.exp(logit)))).to(x.dtype)


def _kernel_serves(x: Tensor) -> bool:
    return x.is_cpu and x.numel() > 0 and (x.dtype == torch.float32 or x.dtype in _HALF) and _kernel_compiles(x.dtype)


@functools.cache
def _kernel_compiles(dtype: torch.dtype) -> bool:
    def build() -> None:
        from torchdropout.kernels import cpu_relaxed  # noqa: PLC0415 - loads Numba

        for backward in (False, True):
            cpu_relaxed.compiled(dtype, backward)

    return compiles(build)


class _Relaxed(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, logit: Tensor, temperature: float, key: Tensor) -> Tensor:
        from torchdropout.kernels import cpu_relaxed  # noqa: PLC0415 - kernels load when first needed

        ctx.save_for_backward(x, logit)
        ctx.arguments = temperature, key
        return cpu_relaxed.forward(x.contiguous(), *_numbers(logit, temperature, key))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x, logit), (temperature, key) = ctx.saved_tensors, ctx.arguments
        if torch.is_grad_enabled():  # a derivative of this derivative may be asked for
            y = _reference(x, logit, temperature, key)
            wanted = [t for t in (x, logit) if t.requires_grad]
            grads = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
            return *(next(grads) if t.requires_grad else None for t in (x, logit)), None, None  # type: ignore[return-value]
        from torchdropout.kernels import cpu_relaxed  # noqa: PLC0415 - as above

        numbers = _numbers(logit, temperature, key)
        grad_input, grad_logit = cpu_relaxed.backward(grad.contiguous(), x.contiguous(), *numbers)
        return grad_input, torch.full_like(logit, grad_logit), None, None


def _numbers(logit: Tensor, temperature: float, key: Tensor) -> tuple[float, float, float, Tensor]:
    number = float(logit)
    return number, float(torch.sigmoid(logit.detach().double())), temperature, key.cpu().contiguous()
