"""The recurrent CPU kernels: from tensors to addresses."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_gru, cpu_lstm, cpu_product, tasks


class Masks(NamedTuple):
    """Multipliers of a sequence; float32 and contiguous, None where there is none.

    Attributes:
        hidden: `(N, G, H)`, of the state before a step, `G` the number of gates, or 1 for all of them.
        cell: `(N, H)`, of the new cell.
        update: `(T, N, H)`, or `(1, N, H)` for all steps, of the candidate.
        zone_cell: `(T, N, H)`, the part of the old cell that stays.
        zone_hidden: `(T, N, H)`, the part of the old state that stays.
    """

    hidden: Tensor | None = None
    cell: Tensor | None = None
    update: Tensor | None = None
    zone_cell: Tensor | None = None
    zone_hidden: Tensor | None = None


@functools.cache
def compiled(cell: str, name: str) -> Any:
    """The C function `forward` or `backward` of a cell."""
    return compilation.c_function(getattr({"lstm": cpu_lstm, "gru": cpu_gru}[cell], name))


def lstm_forward(
    gates: Tensor, h0: Tensor, c0: Tensor, weight: Tensor, masks: Masks, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """The states `h` and `c` after every step, `(T, N, H)`, zero beyond a sequence's length.

    Args:
        gates: `(T, N, 4 H)`, the inputs' part of the pre-activations; becomes the activations.
        h0: `(N, H)`.
        c0: `(N, H)`.
        weight: `(4 H, H)`.
        masks: What multiplies.
        lengths: `(N,)`, int64.
    """
    steps, rows, size = gates.shape[0], *h0.shape
    hs, cs = gates.new_empty(steps, rows, size), gates.new_empty(steps, rows, size)
    scratch = gates.new_empty(rows if masks.hidden is not None else 0, size)
    groups = 1 if masks.hidden is None else masks.hidden.shape[1]
    packed = cpu_product.strips(weight.view(groups, -1, size).transpose(1, 2))
    _run("forward", [gates, packed, h0, c0, hs, cs], lengths, scratch, masks, [])
    return hs, cs


def lstm_backward(
    gates: Tensor, grad_hs: Tensor, grad_h: Tensor, grad_c: Tensor, h0: Tensor, c0: Tensor, weight: Tensor, hs: Tensor,
    cs: Tensor, masks: Masks, lengths: Tensor,
) -> None:  # fmt: skip
    """Gradients in place: of the pre-activations in `gates`, of the first states in `grad_h` and `grad_c`."""
    scratch = gates.new_empty(len(h0) if masks.hidden is not None else 0, h0.shape[1])
    groups = 1 if masks.hidden is None else masks.hidden.shape[1]
    packed = cpu_product.strips(weight.view(groups, -1, h0.shape[1]))
    _run("backward", [gates, packed, h0, c0, hs, cs], lengths, scratch, masks, [grad_hs, grad_c, grad_h])


def _run(name: str, tensors: list[Tensor], lengths: Tensor, scratch: Tensor, masks: Masks, grads: list[Tensor]) -> None:
    gates, packed, h0, *_ = tensors
    hidden, cell, update, zone_c, zone_h = (0 if m is None else tasks.addresses(torch.float32, m)[0] for m in masks)
    groups = 0 if masks.hidden is None else masks.hidden.shape[1]
    stride = 0 if masks.update is None or len(masks.update) == 1 else h0.numel()
    threads = min(torch.get_num_threads(), len(h0))
    numbers = [0, -(-len(h0) // threads), len(gates), *h0.shape, *tasks.addresses(torch.float32, *tensors)]
    numbers += [*tasks.addresses(torch.int64, lengths), *tasks.addresses(torch.float32, scratch)]
    numbers += [hidden, groups, cell, update, stride, zone_c, zone_h]
    numbers += tasks.addresses(torch.float32, *grads) if grads else [0, 0, 0]
    numbers.append(packed[0].numel())
    tasks.run(compiled("lstm", name), numbers, threads)


def gru_forward(parts: Tensor, h0: Tensor, weight: Tensor, masks: Masks, lengths: Tensor) -> Tensor:
    """The states after every step, `(T, N, H)`, zero beyond a sequence's length.

    Args:
        parts: `(T, N, 4 H)`, the inputs' parts of r, z and n, and the bias of the state's part of n; becomes the
            activations and that part.
        h0: `(N, H)`.
        weight: `(3 H, H)`.
        masks: What multiplies; the cell's and its zone are not used.
        lengths: `(N,)`, int64.
    """
    hs = parts.new_empty(len(parts), *h0.shape)
    packed = cpu_product.strips(weight.view(3, -1, h0.shape[1]).transpose(1, 2))
    _run_gru("forward", [parts, packed, h0, hs], lengths, masks, [])
    return hs


def gru_backward(
    parts: Tensor, grad_hs: Tensor, grad_h: Tensor, h0: Tensor, weight: Tensor, hs: Tensor, masks: Masks,
    lengths: Tensor,
) -> None:  # fmt: skip
    """Gradients in place: of the pre-activations in `parts`, of the first state in `grad_h`."""
    packed = cpu_product.strips(weight.view(3, -1, h0.shape[1]))
    _run_gru("backward", [parts, packed, h0, hs], lengths, masks, [grad_hs, grad_h])


def _run_gru(name: str, tensors: list[Tensor], lengths: Tensor, masks: Masks, grads: list[Tensor]) -> None:
    parts, packed, h0, _ = tensors
    scratch = parts.new_empty(len(h0) if masks.hidden is not None else 0, h0.shape[1])
    used = (masks.hidden, masks.update, masks.zone_hidden)
    hidden, update, zone = (0 if m is None else tasks.addresses(torch.float32, m)[0] for m in used)
    groups = 0 if masks.hidden is None else masks.hidden.shape[1]
    stride = 0 if masks.update is None or len(masks.update) == 1 else h0.numel()
    threads = min(torch.get_num_threads(), len(h0))
    numbers = [0, -(-len(h0) // threads), len(parts), *h0.shape, *tasks.addresses(torch.float32, *tensors)]
    numbers += [*tasks.addresses(torch.int64, lengths), *tasks.addresses(torch.float32, scratch)]
    numbers += [hidden, groups, update, stride, zone]
    numbers += tasks.addresses(torch.float32, *grads) if grads else [0, 0]
    tasks.run(compiled("gru", name), [*numbers, packed[0].numel()], threads)
