"""A whole sequence of a recurrent layer's steps with its masks, as one operation on a CPU.

Every step is one matrix product and one pass over the gates; the weights' gradient is one product at the end.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.compiler import is_compiling

from torchdropout.ops.devices import compiles
from torchdropout.ops.elementwise import plain_operations_wanted
from torchdropout.ops.project import gradients, product_with_inputs, projected, steps_of

LSTMWeights = tuple[Tensor, Tensor, Tensor | None]


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
    x: Tensor, weights: LSTMWeights, h0: Tensor, c0: Tensor, of_input: Tensor | None,
    masks: tuple[Tensor | None, ...], lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The states after every step, `(T, N, H)`, zero beyond a sequence's length, and its last states.

    The products of the inputs are part of the operation: what is between them and the steps, and its gradient, are the
    largest tensors of all, and need not outlive it.

    Args:
        x: `(T, N, I)`.
        weights: `(4 H, I)`, `(4 H, H)`, and `(4 H,)` or None: of the gates i, f, g, o.
        h0: `(N, H)`.
        c0: `(N, H)`.
        of_input: `(N, 4, I)`, what multiplies the inputs of each gate, a constant; or None.
        masks: The fields of `kernels.cpu_recurrent.Masks`; constants.
        lengths: `(N,)`, int64.
    """
    constant = None if of_input is None else of_input.detach().float()
    return _LSTM.apply(x, *weights, h0, c0, constant, _constants(masks), lengths)  # type: ignore[no-any-return, no-untyped-call]


class _LSTM(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None, h0: Tensor, c0: Tensor,
        of_input: Tensor | None, masks: Any, lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - kernels load when first needed

        x, h0, c0, w_hh = x.contiguous(), h0.contiguous(), c0.contiguous(), w_hh.contiguous()
        gates = projected(x, w_ih, bias, of_input)
        hs, cs = cpu_recurrent.lstm_forward(gates, h0, c0, w_hh, masks, lengths)
        ctx.save_for_backward(x, w_ih, w_hh, h0, c0, gates, hs, cs)
        ctx.arguments = of_input, masks, lengths
        return hs, _last(hs, h0, lengths), _last(cs, c0, lengths)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_hs: Tensor, grad_h: Tensor, grad_c: Tensor) -> tuple[Tensor | None, ...]:
        from torchdropout.kernels import cpu_recurrent  # noqa: PLC0415 - as above

        (x, w_ih, w_hh, h0, c0, gates, hs, cs), (of_input, masks, lengths) = ctx.saved_tensors, ctx.arguments
        grad_hs, by_h, by_c = grad_hs.contiguous(), grad_h.contiguous().clone(), grad_c.contiguous().clone()
        packed, needed = cpu_recurrent.packed_for_backward(w_hh, masks), ctx.needs_input_grad
        by_x = torch.empty_like(x) if needed[0] else None
        sums: list[Tensor | None] = [None, None, None]
        for part in reversed(steps_of(x)):
            start = part.start
            before = (h0, c0) if start == 0 else (hs[start - 1], cs[start - 1])
            grads = _work(gates[part])
            cpu_recurrent.lstm_backward(
                grads, grad_hs[part], by_h, by_c, *before, packed, hs[part], cs[part], masks.of_steps(part),
                lengths - start,
            )  # fmt: skip
            of_x, *of_weights = gradients(grads, x[part], w_ih, of_input, (needed[0], needed[1], needed[3]))
            if by_x is not None and of_x is not None:
                by_x[part] = of_x
            of_weights.append(_by_weight(grads, before[0], hs[part], masks.hidden) if needed[2] else None)
            sums = [_sum(old, new) for old, new in zip(sums, of_weights, strict=True)]
        by_ih, by_bias, by_hh = sums
        return by_x, by_ih, by_hh, by_bias, by_h, by_c, None, None, None


def _sum(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    return new if old is None or new is None else old.add_(new)


_working = threading.local()
_WORK = 2**22  # elements, 16 MiB, that a thread keeps for its next backward pass


def _work(of: Tensor) -> Tensor:
    """A copy that the same thread's next call may overwrite: fresh memory costs more than what is computed in it."""
    if of.numel() > _WORK:
        return of.clone()
    kept = getattr(_working, "memory", None)
    if kept is None or kept.numel() < of.numel():
        kept = _working.memory = torch.empty(of.numel())
    return kept[: of.numel()].view(of.shape).copy_(of)


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
    return product_with_inputs(grads, torch.cat([h0.unsqueeze(0), hs[:-1]]), hidden)
