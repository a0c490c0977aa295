"""A whole sequence of a recurrent layer's steps with its masks, as one operation on a CPU.

Every step is one matrix product and one pass over the gates; the weights' gradient is one product at the end.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.compiler import is_compiling

from torchdropout.ops.elementwise import compiles, plain_operations_wanted


def sequence_serves(*tensors: Tensor) -> bool:
    """Whether the operations below can take these tensors: float32 on the CPU, eager, without a transform."""
    if is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    if any(plain_operations_wanted(t) or not t.is_cpu or t.dtype != torch.float32 for t in tensors):
        return False
    return all(t.numel() for t in tensors) and _kernel_compiles()


@functools.cache
def _kernel_compiles() -> bool:
    def build() -> None:
        from torchdropout.kernels import cpu_product, cpu_recurrent  # noqa: PLC0415 - loads Numba

        cpu_product.compiled()
        for cell in ("lstm", "gru", "rnn"):
            for name in ("forward", "backward"):
                cpu_recurrent.compiled(cell, name)

    return compiles(build)


def lstm(
    projected: Tensor, h0: Tensor, c0: Tensor, weight: Tensor, masks: tuple[Tensor | None, ...], lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The states after every step, `(T, N, H)`, zero beyond a sequence's length, and its last states.

    Args:
        projected: `(T, N, 4 H)`, the inputs' part of the gates i, f, g, o, biases included; its memory is used up.
        h0: `(N, H)`.
        c0: `(N, H)`.
        weight: `(4 H, H)`.
        masks: The fields of `kernels.cpu_recurrent.Masks`; constants.
        lengths: `(N,)`, int64.
    """
    return _LSTM.apply(projected, h0, c0, weight, _constants(masks), lengths)  # type: ignore[no-any-return, no-untyped-call]


class _LSTM(Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, h0: Tensor, c0: Tensor, weight: Tensor, masks: Any, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - kernels load when first needed

        gates = projected.detach().contiguous()
        h0, c0, weight = h0.contiguous(), c0.contiguous(), weight.contiguous()
        hs, cs = cpu_recurrent.lstm_forward(gates, h0, c0, weight, masks, lengths)
        ctx.save_for_backward(gates, h0, c0, weight, hs, cs)
        ctx.arguments = masks, lengths
        return hs, _last(hs, h0, lengths), _last(cs, c0, lengths)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_hs: Tensor, grad_h: Tensor, grad_c: Tensor) -> tuple[Tensor | None, ...]:
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - as above

        (gates, h0, c0, weight, hs, cs), (masks, lengths) = ctx.saved_tensors, ctx.arguments
        grads, by_h, by_c = gates.clone(), grad_h.contiguous().clone(), grad_c.contiguous().clone()
        states = (h0, c0, weight, hs, cs)
        cpu_recurrent.lstm_backward(grads, grad_hs.contiguous(), by_h, by_c, *states, masks, lengths)
        by_weight = None
        if ctx.needs_input_grad[3]:
            by_weight = _by_weight(grads, h0, hs, masks.hidden)
        return grads, by_h, by_c, by_weight, None, None


def gru(
    projected: Tensor,
    h0: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    masks: tuple[Tensor | None, ...],
    lengths: Tensor,
) -> tuple[Tensor, Tensor]:
    """The states after every step, `(T, N, H)`, zero beyond a sequence's length, and its last state.

    Args:
        projected: `(T, N, 3 H)`, the inputs' part of r, z, n, with all biases but one.
        h0: `(N, H)`.
        weight: `(3 H, H)`.
        bias: `(H,)`, of the state's part of n, or None.
        masks: The fields of `kernels.cpu_recurrent.Masks`; constants.
        lengths: `(N,)`, int64.
    """
    return _GRU.apply(projected, h0, weight, bias, _constants(masks), lengths)  # type: ignore[no-any-return, no-untyped-call]


class _GRU(Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, h0: Tensor, weight: Tensor, bias: Tensor | None, masks: Any, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - as above

        steps, rows, size = len(projected), *h0.shape
        parts = projected.new_empty(steps, rows, 4 * size)
        parts[..., : 3 * size] = projected
        parts[..., 3 * size :] = 0.0 if bias is None else bias
        h0, weight = h0.contiguous(), weight.contiguous()
        hs = cpu_recurrent.gru_forward(parts, h0, weight, masks, lengths)
        ctx.save_for_backward(parts, h0, weight, hs)
        ctx.arguments = masks, lengths
        return hs, _last(hs, h0, lengths)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_hs: Tensor, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - as above

        (parts, h0, weight, hs), (masks, lengths) = ctx.saved_tensors, ctx.arguments
        grads, by_h, size = parts.clone(), grad_h.contiguous().clone(), h0.shape[1]
        cpu_recurrent.gru_backward(grads, grad_hs.contiguous(), by_h, h0, weight, hs, masks, lengths)
        of_state = torch.cat([grads[..., : 2 * size], grads[..., 3 * size :]], -1)
        by_weight = _by_weight(of_state, h0, hs, masks.hidden) if ctx.needs_input_grad[2] else None
        by_bias = grads[..., 3 * size :].sum((0, 1)) if ctx.needs_input_grad[3] else None
        return grads[..., : 3 * size], by_h, by_weight, by_bias, None, None


def rnn(
    projected: Tensor,
    h0: Tensor,
    weight: Tensor,
    masks: tuple[Tensor | None, ...],
    lengths: Tensor,
    nonlinearity: str,
) -> tuple[Tensor, Tensor]:
    """The states after every step, `(T, N, H)`, zero beyond a sequence's length, and its last state.

    Args:
        projected: `(T, N, H)`, the inputs' part with all biases; its memory is used up.
        h0: `(N, H)`.
        weight: `(H, H)`.
        masks: The fields of `kernels.cpu_recurrent.Masks`; constants.
        lengths: `(N,)`, int64.
        nonlinearity: `tanh` or `relu`.
    """
    return _RNN.apply(  # type: ignore[no-any-return, no-untyped-call]
        projected, h0, weight, _constants(masks), lengths, nonlinearity == "relu"
    )


class _RNN(Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, h0: Tensor, weight: Tensor, masks: Any, lengths: Tensor, relu: bool
    ) -> tuple[Tensor, Tensor]:
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - as above

        values, h0, weight = projected.detach().contiguous(), h0.contiguous(), weight.contiguous()
        hs = cpu_recurrent.rnn_forward(values, h0, weight, masks, lengths, relu)
        ctx.save_for_backward(values, h0, weight, hs)
        ctx.arguments = masks, lengths, relu
        return hs, _last(hs, h0, lengths)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_hs: Tensor, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - as above

        (values, h0, weight, hs), (masks, lengths, relu) = ctx.saved_tensors, ctx.arguments
        grads, by_h = values.clone(), grad_h.contiguous().clone()
        cpu_recurrent.rnn_backward(grads, grad_hs.contiguous(), by_h, h0, weight, hs, masks, lengths, relu)
        by_weight = _by_weight(grads, h0, hs, masks.hidden) if ctx.needs_input_grad[2] else None
        return grads, by_h, by_weight, None, None, None


def _constants(masks: tuple[Tensor | None, ...]) -> Any:
    from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - as above

    return cpu_recurrent.Masks(*(None if m is None else m.detach().float().contiguous() for m in masks))


def _last(states: Tensor, first: Tensor, lengths: Tensor) -> Tensor:
    rows = torch.arange(len(lengths), device=states.device)
    last = states[(lengths - 1).clamp(min=0), rows]
    return torch.where((lengths > 0).unsqueeze(1), last, first)


def _by_weight(grads: Tensor, h0: Tensor, hs: Tensor, hidden: Tensor | None) -> Tensor:
    """One product over all steps; one a group of gates where each has a mask of its own."""
    from torchdropout.kernels import cpu_product  # noqa: PLC0415 - as above

    before = torch.cat([h0.unsqueeze(0), hs[:-1]])
    rows = grads.flatten(0, 1)
    if hidden is None:
        return cpu_product.multiply(rows.T, before.flatten(0, 1))
    masked = ((before * mask).flatten(0, 1) for mask in hidden.unbind(1))
    parts = rows.chunk(hidden.shape[1], 1)
    return torch.cat([cpu_product.multiply(part.T, states) for part, states in zip(parts, masked, strict=True)])
