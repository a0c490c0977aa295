"""The products of a sequence's inputs with the weights of all gates, as one operation on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

ROWS = 1024  # that are worked on at a time: enough for a product, few enough to stay near


def project(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of masked float32 inputs, by the matrix product of the sequence's steps.

    Args:
        x: `(..., N, in)`.
        weight: `(out, in)`.
        bias: `(out,)`, or None.
        mask: `(N, G, in)`, a constant: each of `G` equal parts of `out` sees inputs multiplied by its own; or None.
    """
    constant = None if mask is None else mask.detach().float()
    return _Project.apply(x, weight, bias, constant)  # type: ignore[no-any-return, no-untyped-call]


class _Project(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.mask = mask
        return projected(x, weight, bias, mask)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return *gradients(grad.contiguous(), x, weight, ctx.mask, ctx.needs_input_grad), None


def projected(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """The products, of contiguous inputs."""
    from torchdropout.kernels import cpu_product  # noqa: PLC0415 - kernels load when first needed

    out = x.new_empty(*x.shape[:-1], len(weight))
    biases = [None] * _groups(mask) if bias is None else bias.contiguous().chunk(_groups(mask))
    for part in steps_of(x) if mask is not None else [slice(None)]:
        groups = zip(_seen(x[part], mask), weight.chunk(_groups(mask)), biases, _columns(out[part], mask), strict=True)
        for rows, of_group, its_bias, there in groups:
            cpu_product.multiply(rows, of_group.T, its_bias, there)
    return out


def steps_of(x: Tensor) -> list[slice]:
    """Parts of a sequence `(..., N, I)` to be worked on one after the other, the first one first."""
    if x.dim() < 3:
        return [slice(None)]
    steps = -(-ROWS // x.shape[-2])
    return [slice(start, start + steps) for start in range(0, len(x), steps)]


def gradients(
    grad: Tensor, x: Tensor, weight: Tensor, mask: Tensor | None, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those of the inputs, the weights and the bias, each where it is wanted."""
    by_x = _by_inputs(grad, weight, mask).view(x.shape) if wanted[0] else None
    by_weight = product_with_inputs(grad, x, mask) if wanted[1] else None
    return by_x, by_weight, grad.flatten(0, -2).sum(0) if wanted[2] else None


def product_with_inputs(grad: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """`(out, in)`: the sum over all rows of the gradients of outputs times the inputs that each group of gates saw."""
    from torchdropout.kernels import cpu_product  # noqa: PLC0415 - as above

    total = x.new_empty(grad.shape[-1], x.shape[-1])
    parts = zip(_columns(grad, mask), _seen(x, mask), total.chunk(_groups(mask)), strict=True)
    for of_out, rows, there in parts:
        cpu_product.multiply(of_out.T, rows, None, there)
    return total


def _by_inputs(grad: Tensor, weight: Tensor, mask: Tensor | None) -> Tensor:
    from torchdropout.kernels import cpu_product  # noqa: PLC0415 - as above

    if mask is None:
        return cpu_product.multiply(grad.flatten(0, -2), weight)
    product = grad.new_empty(*grad.shape[:-1], weight.shape[1])
    total = torch.zeros_like(product)
    for group, (of_out, part) in enumerate(zip(_columns(grad, mask), weight.chunk(_groups(mask)), strict=True)):
        cpu_product.multiply(of_out, part, None, product.flatten(0, -2))
        total.addcmul_(product, mask[:, group])
    return total


def _groups(mask: Tensor | None) -> int:
    return 1 if mask is None else mask.shape[1]


def _seen(x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
    """The inputs as each group of gates sees them, in rows; each takes the memory of the one before."""
    if mask is None:
        yield x.flatten(0, -2)
        return
    masked = torch.empty_like(x)
    for group in range(mask.shape[1]):
        yield torch.mul(x, mask[:, group], out=masked).flatten(0, -2)


def _columns(out: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
    """The columns of each group of gates, in rows."""
    return out.flatten(0, -2).chunk(_groups(mask), 1)
