"""Penalties on what a recurrent network puts out: activation regularization, and its temporal kind."""

from __future__ import annotations

import torch
from torch import Tensor

from torchdropout.layers._checks import check_floating, check_number, check_rank


def ar_loss(outputs: Tensor, alpha: float = 2.0, *, batch_first: bool = False, lengths: Tensor | None = None) -> Tensor:
    """Activation regularization: `alpha` times the mean square of the outputs *after* dropout, to be added to a loss.

    Args:
        outputs: `(T, N, F)`, `(N, T, F)` with `batch_first`, or `(T, F)`: what the last layer puts out, dropped.
        alpha: The strength.
        batch_first: Whether the batch axis comes before time.
        lengths: `(N,)`, how many steps of each sequence are real; None: all. The mean is over the real ones.

    Returns:
        A 0-d tensor, in at least float32; 0 where there is nothing.

    Raises:
        ValueError: `alpha` is negative or not finite, or a shape is wrong.
        TypeError: `outputs` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> dropped = td.functional.locked_dropout(torch.ones(2, 1, 3), key=td.key(3))
        >>> td.ar_loss(dropped, alpha=2.0)
        tensor(2.6667)

    Reference:
        S. Merity, N. Keskar, R. Socher. Regularizing and Optimizing LSTM Language Models. ICLR 2018, arXiv:1708.02182,
        section 4.6.

    Deviation: the mean of squares, as in the authors' code, where the paper writes a norm.
    """
    x, real = _checked("ar_loss", "alpha", outputs, alpha, batch_first, lengths)
    return alpha * _mean(x.square(), real)


def tar_loss(outputs: Tensor, beta: float = 1.0, *, batch_first: bool = False, lengths: Tensor | None = None) -> Tensor:
    """Temporal activation regularization: `beta` times the mean square of the change from step to step.

    Args:
        outputs: `(T, N, F)`, `(N, T, F)` with `batch_first`, or `(T, F)`: what the last layer puts out, *before*
            dropout.
        beta: The strength.
        batch_first: Whether the batch axis comes before time.
        lengths: `(N,)`, how many steps of each sequence are real; None: all. Both steps of a change are real.

    Returns:
        A 0-d tensor, in at least float32; 0 where nothing changes, as in a single step.

    Raises:
        ValueError: `beta` is negative or not finite, or a shape is wrong.
        TypeError: `outputs` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> outputs, _ = td.LSTM(3, 4, recurrent=td.WeightDrop(0.5))(torch.ones(5, 2, 3), key=td.key(0))
        >>> bool(td.tar_loss(outputs, beta=1.0) > 0)
        True

    Reference:
        S. Merity, N. Keskar, R. Socher. Regularizing and Optimizing LSTM Language Models. ICLR 2018, arXiv:1708.02182,
        section 4.6.

    Deviation: the mean of squares, as in the authors' code, where the paper writes a norm.
    """
    x, real = _checked("tar_loss", "beta", outputs, beta, batch_first, lengths)
    return beta * _mean((x[1:] - x[:-1]).square(), None if real is None else real[1:])


def _checked(
    owner: str, name: str, x: Tensor, strength: float, batch_first: bool, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The outputs with time first, in at least float32, zero where no steps are, and which are real, `(T, N, 1)`."""
    check_number(owner, name, strength, "finite and not negative", lambda value: 0 <= value < float("inf"))
    check_floating(owner, x)
    check_rank(owner, x, (2, 3), f"{'(N, T, F)' if batch_first else '(T, N, F)'} or (T, F)")
    if batch_first and x.dim() == 3:
        x = x.transpose(0, 1)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if lengths is None:
        return x, None
    if x.dim() != 3 or lengths.shape != (x.shape[1],):
        batch = x.shape[1] if x.dim() == 3 else "no sequences of a batch"
        raise ValueError(f"{owner}: `lengths` must have one number for each of {batch}, got {tuple(lengths.shape)}.")
    real = (torch.arange(len(x), device=x.device).unsqueeze(1) < lengths.to(x.device)).unsqueeze(-1)
    return torch.where(real, x, 0), real


def _mean(squares: Tensor, real: Tensor | None) -> Tensor:
    """The mean over the real steps."""
    if real is None:
        return squares.sum() / max(squares.numel(), 1)
    count = real.sum() * squares.shape[-1]
    return torch.where(real, squares, 0).sum() / count.clamp(min=1)
