"""A linear map whose every weight has its own mask in every row of the input: DropConnect's training pass.

On the CPU the masks are made inside the product, and made again in the backward pass; elsewhere, and where a transform
of `torch.func` or a second derivative asks for plain operations, they are materialised.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.compiler import is_compiling

from torchdropout import laws, rng
from torchdropout.ops.devices import compiles, cuda_kernel
from torchdropout.ops.elementwise import (
    _checked,
    _drawn_in_graph,
    _functorch_active,
    multiply,
    plain_operations_wanted,
)


def masked_linear(x: Tensor, weight: Tensor, p: float | Tensor, *, key: Tensor | None = None) -> Tensor:
    """`y[n, o] = sum over i of m[n, o, i] * weight[o, i] * x[n, i]` with `m ~ Bernoulli(1 - p)`, not rescaled.

    Element `(n, o, i)` of the mask is that of the noise of shape `(N, out, in)`.

    Args:
        x: `(N, in)`, float32 or float64.
        weight: `(out, in)`, of the same dtype.
        p: The probability of dropping a weight, strictly between 0 and 1; a 0-d tensor under a compiler.
        key: `(2,)`, or `(N, 2)`: one for each row. None draws one.
    """
    if key is not None:
        key = _checked(key, x)
    if is_compiling():
        key = _drawn_in_graph() if key is None else key
        strength = p if isinstance(p, Tensor) else torch.full((), p, dtype=torch.float64, device="cpu")
        traced = x.is_cpu and not _functorch_active()
        return _masked_linear_op(x, weight, key, strength) if traced else _reference(x, weight, p, key)
    key = rng.draw(x.shape) if key is None else key
    if plain_operations_wanted(x) or not _kernel_serves(x, weight, p, key):
        return _reference(x, weight, p, key)
    return _MaskedLinear.apply(x, weight, key, p)  # type: ignore[no-any-return, no-untyped-call]


def _kernel_serves(x: Tensor, weight: Tensor, p: float | Tensor, key: Tensor) -> bool:
    if x.is_cuda:
        return x.dtype == torch.float32 and cuda_kernel() is not None and _fits(x, weight, p, key)
    return x.is_cpu and x.dtype in (torch.float32, torch.float64) and _kernel_compiles(x.dtype)


def _fits(x: Tensor, weight: Tensor, p: Any, key: Tensor) -> bool:
    """Whether the GPU's kernel takes the sizes."""
    from torchdropout.kernels import cuda_dropconnect  # noqa: PLC0415 - loads Triton

    out, inputs = weight.shape
    return cuda_dropconnect.serves(len(x), out, inputs, laws.bernoulli(p, scaled=False), key.numel() // 2)


@functools.cache
def _kernel_compiles(dtype: torch.dtype) -> bool:
    def build() -> None:
        from torchdropout.kernels import cpu_masked_linear  # noqa: PLC0415 - loads Numba

        for backward in (False, True):
            cpu_masked_linear.compiled(dtype, backward)

    return compiles(build)


def _reference(x: Tensor, weight: Tensor, p: float | Tensor, key: Tensor) -> Tensor:
    ones = torch.ones((len(x), *weight.shape), dtype=x.dtype, device=x.device)
    masks = multiply(ones, laws.Spec("bernoulli", p), key=key)
    return ((masks * weight) @ x.unsqueeze(-1)).squeeze(-1)


class _MaskedLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, key: Tensor, p: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.arguments = p, key
        return _forward(x, weight, key, p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x, weight), (p, key) = ctx.saved_tensors, ctx.arguments
        if torch.is_grad_enabled():  # a derivative of this derivative may be asked for
            y = _reference(x, weight, p, key)
            wanted = [t for t in (x, weight) if t.requires_grad]
            grads = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
            return *(next(grads) if t.requires_grad else None for t in (x, weight)), None, None  # type: ignore[return-value]
        return *_backward(grad, x, weight, key, p, ctx.needs_input_grad[0]), None, None


def _forward(x: Tensor, weight: Tensor, key: Tensor, p: float) -> Tensor:
    if x.is_cuda:
        from torchdropout.kernels import cuda_dropconnect  # noqa: PLC0415 - kernels load when first needed

        arguments = x.contiguous(), weight.contiguous(), key.to(x.device).contiguous()
        return cuda_dropconnect.forward(*arguments, laws.bernoulli(p, scaled=False))
    from torchdropout.kernels import cpu_masked_linear  # noqa: PLC0415 - as above

    return cpu_masked_linear.forward(x.contiguous(), weight.contiguous(), *_settled(key, p))


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, key: Tensor, p: float, wants_input: bool
) -> tuple[Tensor | None, Tensor]:
    x, weight, grad = x.contiguous(), weight.contiguous(), grad.contiguous()
    if x.is_cuda:
        from torchdropout.kernels import cuda_dropconnect  # noqa: PLC0415 - as above

        law = laws.bernoulli(p, scaled=False)
        device_key = key.to(x.device).contiguous()
        return cuda_dropconnect.backward(x, weight, grad, device_key, law, wants_input=wants_input)
    from torchdropout.kernels import cpu_masked_linear  # noqa: PLC0415 - as above

    return cpu_masked_linear.backward(x, weight, grad, *_settled(key, p), wants_input=wants_input)


def _settled(key: Tensor, p: float) -> tuple[Tensor, laws.Bernoulli]:
    return key.cpu().contiguous(), laws.bernoulli(p, scaled=False)


# --------------------------------------------------------------------------------------------------------------------
# Traced.


@torch.library.custom_op("torchdropout::masked_linear", mutates_args=())
def _masked_linear_op(x: Tensor, weight: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    p = float(strength)
    if p in (0.0, 1.0):
        return (1.0 - p) * (x @ weight.T)
    return _forward(x, weight, key, p)


@_masked_linear_op.register_fake
def _(x: Tensor, weight: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@torch.library.custom_op("torchdropout::masked_linear_backward", mutates_args=())
def _backward_op(grad: Tensor, x: Tensor, weight: Tensor, key: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    p = float(strength)
    if p in (0.0, 1.0):
        return (1.0 - p) * (grad @ weight), (1.0 - p) * (grad.T @ x)
    grad_input, grad_weight = _backward(grad, x, weight, key, p, True)
    return grad_input, grad_weight  # type: ignore[return-value]


@_backward_op.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, key: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward_op(grad, *ctx.saved_tensors), None, None


_masked_linear_op.register_autograd(_gradients, setup_context=_setup)
