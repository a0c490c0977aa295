"""The recurrent CPU kernels: from tensors to addresses."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_gru, cpu_lstm, cpu_product, cpu_rnn, tasks


class Masks(NamedTuple):
    """Multipliers of a sequence; float32 and contiguous, None where there is none.

    Attributes:
        hidden: `(N, G, H)`, of the state before a step, `G` the number of gates, or 1 for all of them.
        cell: `(N, H)`, of the new cell.
        update: `(T, N, H)`, or `(1, N, H)` for all steps, of the candidate.
        zone_cell: `(T, N, H)`, the part of the old cell that stays.
        zone_hidden: `(T, N, H)`, the part of the old state that stays.
        output: `(N, H)`, of an LSTM's output.
    """

    hidden: Tensor | None = None
    cell: Tensor | None = None
    update: Tensor | None = None
    zone_cell: Tensor | None = None
    zone_hidden: Tensor | None = None
    output: Tensor | None = None

    def of_steps(self, part: slice) -> Masks:
        """The masks of some steps."""
        update = self.update if self.update is None or len(self.update) == 1 else self.update[part]
        cell, hidden = (None if zone is None else zone[part] for zone in (self.zone_cell, self.zone_hidden))
        return self._replace(update=update, zone_cell=cell, zone_hidden=hidden)


@functools.cache
def compiled(cell: str, name: str) -> Any:
    """The C function `forward` or `backward` of a cell."""
    return compilation.c_function(getattr({"lstm": cpu_lstm, "gru": cpu_gru, "rnn": cpu_rnn}[cell], name))


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
    hs, cs = (gates.new_empty(len(gates), *h0.shape) for _ in range(2))
    packed = cpu_product.strips(weight.view(_groups(masks) or 1, -1, h0.shape[1]).transpose(1, 2))
    _run_lstm("forward", [gates, packed, h0, c0, hs, cs], lengths, masks, [])
    return hs, cs


def packed_for_backward(weight: Tensor, masks: Masks) -> Tensor:
    """An LSTM's weights `(4 H, H)` as `lstm_backward` reads them."""
    return cpu_product.strips(weight.view(_groups(masks) or 1, -1, weight.shape[1]))


def lstm_backward(
    gates: Tensor, grad_hs: Tensor, grad_h: Tensor, grad_c: Tensor, h0: Tensor, c0: Tensor, packed: Tensor, hs: Tensor,
    cs: Tensor, masks: Masks, lengths: Tensor,
) -> None:  # fmt: skip
    """Gradients in place: of the pre-activations in `gates`, of the first states in `grad_h` and `grad_c`."""
    _run_lstm("backward", [gates, packed, h0, c0, hs, cs], lengths, masks, [grad_hs, grad_c, grad_h])


def _run_lstm(name: str, tensors: list[Tensor], lengths: Tensor, masks: Masks, grads: list[Tensor]) -> None:
    packed, h0 = tensors[1], tensors[2]
    hidden, cell, update, zone_c, zone_h, output = map(_address, masks)
    multipliers = [hidden, _groups(masks), cell, update, _update_step(masks, h0), zone_c, zone_h, output]
    _run("lstm", name, tensors, h0, lengths, masks, [*multipliers, *_addresses(grads, 3), packed[0].numel()])


def gru_forward(parts: Tensor, h0: Tensor, weight: Tensor, masks: Masks, lengths: Tensor) -> Tensor:
    """The states after every step, `(T, N, H)`, zero beyond a sequence's length.

    Args:
        parts: `(T, N, 4 H)`, the inputs' parts of r, z and n, and the bias of the state's part of n; becomes the
            activations and that part.
        h0: `(N, H)`.
        weight: `(3 H, H)`.
        masks: What multiplies; a cell's are not used.
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
    packed, h0 = tensors[1], tensors[2]
    update, zone = _address(masks.update), _address(masks.zone_hidden)
    multipliers = [_address(masks.hidden), _groups(masks), update, _update_step(masks, h0), zone]
    _run("gru", name, tensors, h0, lengths, masks, [*multipliers, *_addresses(grads, 2), packed[0].numel()])


def rnn_forward(values: Tensor, h0: Tensor, weight: Tensor, masks: Masks, lengths: Tensor, relu: bool) -> Tensor:
    """The states after every step, `(T, N, H)`, zero beyond a sequence's length.

    Args:
        values: `(T, N, H)`, the inputs' part of the pre-activations; becomes the activations.
        h0: `(N, H)`.
        weight: `(H, H)`.
        masks: What multiplies; a cell's and the update's are not used.
        lengths: `(N,)`, int64.
        relu: Whether the activation is a rectified line, and not the hyperbolic tangent.
    """
    hs = torch.empty_like(values)
    _run_rnn("forward", [values, cpu_product.strips(weight.T), h0, hs], lengths, masks, [], relu)
    return hs


def rnn_backward(
    values: Tensor, grad_hs: Tensor, grad_h: Tensor, h0: Tensor, weight: Tensor, hs: Tensor, masks: Masks,
    lengths: Tensor, relu: bool,
) -> None:  # fmt: skip
    """Gradients in place: of the pre-activations in `values`, of the first state in `grad_h`."""
    _run_rnn("backward", [values, cpu_product.strips(weight), h0, hs], lengths, masks, [grad_hs, grad_h], relu)


def _run_rnn(
    name: str, tensors: list[Tensor], lengths: Tensor, masks: Masks, grads: list[Tensor], relu: bool
) -> None:  # fmt: skip
    numbers = [_address(masks.hidden), _address(masks.zone_hidden), int(relu), *_addresses(grads, 2)]
    _run("rnn", name, tensors, tensors[2], lengths, masks, numbers)


def _run(
    cell: str, name: str, tensors: list[Tensor], h0: Tensor, lengths: Tensor, masks: Masks, rest: list[int]
) -> None:  # fmt: skip
    """Every task begins alike: rows of a member, sizes, tensors, lengths, and room for masked states."""
    scratch = h0.new_empty(len(h0) if masks.hidden is not None else 0, h0.shape[1])
    threads = min(torch.get_num_threads(), len(h0))
    numbers = [0, -(-len(h0) // threads), len(tensors[0]), *h0.shape, *tasks.addresses(torch.float32, *tensors)]
    numbers += [*tasks.addresses(torch.int64, lengths), _address(scratch)]
    tasks.run(compiled(cell, name), numbers + rest, threads)


def _groups(masks: Masks) -> int:
    return 0 if masks.hidden is None else masks.hidden.shape[1]


def _update_step(masks: Masks, h0: Tensor) -> int:
    return 0 if masks.update is None or len(masks.update) == 1 else h0.numel()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tasks.addresses(torch.float32, tensor)[0]


def _addresses(tensors: list[Tensor], count: int) -> list[int]:
    return tasks.addresses(torch.float32, *tensors) or [0] * count
