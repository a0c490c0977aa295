"""Locked dropout: one mask for all time steps of a sequence."""

from __future__ import annotations

from torch import Tensor

from torchdropout.layers._checks import check_floating, check_probability
from torchdropout.layers._noise import times_shared_bernoulli
from torchdropout.layers._rate import RateModule


def locked_dropout(
    input: Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    *,
    batch_first: bool = False,
    key: Tensor | None = None,
) -> Tensor:
    """Drop features of a sequence for all its time steps at once; see `torchdropout.LockedDropout`.

    Args:
        input: `(T, N, F)`, `(N, T, F)` with `batch_first`, or `(T, F)`; floating point.
        p: The probability of dropping a feature.
        training: Whether to apply noise.
        batch_first: Whether the batch axis comes before time, as in `torch.nn.LSTM`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], or `input` has another rank.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.locked_dropout(torch.ones(2, 1, 3), key=td.key(3)).squeeze()
        tensor([[2., 0., 0.],
                [2., 0., 0.]])
    """
    check_probability("locked_dropout", p)
    return apply("locked_dropout", input, p, training, batch_first, key)


def apply(owner: str, x: Tensor, p: float | Tensor, noisy: bool, batch_first: bool, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    check_floating(owner, x)
    if x.dim() not in (2, 3):
        layout = "(N, T, F)" if batch_first else "(T, N, F)"
        raise ValueError(f"{owner}: the input must have shape {layout} or (T, F), got {tuple(x.shape)}.")
    if not noisy:
        return x
    shape = list(x.shape)
    shape[1 if batch_first and x.dim() == 3 else 0] = 1
    return times_shared_bernoulli(x, p, shape, key, batch_dim=0 if batch_first or x.dim() == 2 else 1)


class LockedDropout(RateModule):
    """Drops features of a sequence for all its time steps at once, and keeps the expectation.

    `y[t, n, f] = x[t, n, f] * m[n, f] / k` with independent `m ~ Bernoulli(k)`, `k = 1 - p`: each sequence has its
    own mask, the same at every step.

    Noise | Shared | Target | At test time: Bernoulli / keep | time | sequences | identity

    Args:
        p: The probability of dropping a feature.
        batch_first: Whether the batch axis comes before time, as in `torch.nn.LSTM`.

    Shape:
        `(T, N, F)`, `(N, T, F)` with `batch_first`, or `(T, F)`; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1], or the input has another rank.

    Example:
        >>> import torch, torchdropout as td
        >>> td.LockedDropout(0.5, batch_first=True)(torch.ones(1, 2, 3), key=td.key(3))
        tensor([[[2., 0., 0.],
                 [2., 0., 0.]]])

    Reference:
        Y. Gal, Z. Ghahramani. A Theoretically Grounded Application of Dropout in Recurrent Neural Networks. NIPS 2016,
        arXiv:1512.05287, section 4; the name is S. Merity, N. Keskar, R. Socher's, ICLR 2018, arXiv:1708.02182.

    Deviation: none.
    """

    def __init__(self, p: float = 0.5, *, batch_first: bool = False) -> None:
        super().__init__(p)
        self.batch_first = batch_first

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return apply("LockedDropout", input, self._rate(), self.training, self.batch_first, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, batch_first={self.batch_first}"
