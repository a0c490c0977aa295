"""Spatial dropout: one Bernoulli draw for a whole feature map."""

from __future__ import annotations

import warnings

from torch import Tensor

from torchdropout.layers._checks import check_torch_floating, check_torch_probability
from torchdropout.layers._noise import times_shared_bernoulli
from torchdropout.layers._rate import RateModule

_UNEXPECTED = (
    "{name}: Received a {rank}-D input to {name}, which is deprecated and will result in an error in a future "
    "release. To retain the behavior and silence this warning, please use dropout instead. Note that {name} exists "
    "to provide channel-wise dropout on inputs with {spatial} spatial dimensions, a channel dimension, and an "
    "optional batch dimension (i.e. {low}D or {high}D inputs)."
)
_AMBIGUOUS = (
    "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired - "
    "input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a future "
    "release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D "
    "channel-wise dropout behavior, please switch to using dropout1d instead."
)
_WRONG_RANK = (
    "dropout1d: Expected 2D or 3D input, but received a {rank}D input. Note that dropout1d exists to provide "
    "channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch dimension "
    "(i.e. 2D or 3D inputs)."
)


def dropout1d(
    input: Tensor,  # noqa: A002 - PyTorch's name
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: Tensor | None = None,
) -> Tensor:
    """Zero whole channels of `(N, C, L)` or `(C, L)`; see `torchdropout.Dropout1d`.

    Args:
        input: `(N, C, L)` or `(C, L)`, floating point.
        p: The probability of dropping a channel.
        training: Whether to apply noise.
        inplace: Whether to write to `input`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: `input` has another rank, or is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.dropout1d(torch.ones(1, 3, 2), key=td.key(3))
        tensor([[[2., 2.],
                 [0., 0.],
                 [0., 0.]]])
    """
    check_torch_probability(p)
    return _apply1d(input, p, training, inplace, key)


def _apply1d(x: Tensor, p: float | Tensor, noisy: bool, inplace: bool, key: Tensor | None) -> Tensor:
    if x.dim() not in (2, 3):
        raise RuntimeError(_WRONG_RANK.format(rank=x.dim()))
    return apply(x, p, noisy, inplace, key, unbatched=x.dim() == 2)


def dropout2d(
    input: Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: Tensor | None = None,
) -> Tensor:
    """Zero whole channels of `(N, C, H, W)`; see `torchdropout.Dropout2d`.

    Args:
        input: `(N, C, H, W)`, floating point; `(N, C, L)` with a warning, as in PyTorch.
        p: The probability of dropping a channel.
        training: Whether to apply noise.
        inplace: Whether to write to `input`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: `input` is not floating point or has fewer than two axes.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.dropout2d(torch.ones(1, 3, 1, 2), key=td.key(3)).squeeze()
        tensor([[2., 2.],
                [0., 0.],
                [0., 0.]])
    """
    check_torch_probability(p)
    return _apply2d(input, p, training, inplace, key)


def _apply2d(x: Tensor, p: float | Tensor, noisy: bool, inplace: bool, key: Tensor | None) -> Tensor:
    if x.dim() not in (3, 4):
        warnings.warn(_UNEXPECTED.format(name="dropout2d", rank=x.dim(), spatial=2, low=3, high=4), stacklevel=3)
    if x.dim() == 3:
        warnings.warn(_AMBIGUOUS, stacklevel=3)
    return apply(x, p, noisy, inplace, key)


def dropout3d(
    input: Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: Tensor | None = None,
) -> Tensor:
    """Zero whole channels of `(N, C, D, H, W)` or `(C, D, H, W)`; see `torchdropout.Dropout3d`.

    Args:
        input: `(N, C, D, H, W)` or `(C, D, H, W)`, floating point.
        p: The probability of dropping a channel.
        training: Whether to apply noise.
        inplace: Whether to write to `input`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: `input` is not floating point or has fewer than two axes.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.dropout3d(torch.ones(1, 3, 1, 1, 2), key=td.key(3)).squeeze()
        tensor([[2., 2.],
                [0., 0.],
                [0., 0.]])
    """
    check_torch_probability(p)
    return _apply3d(input, p, training, inplace, key)


def _apply3d(x: Tensor, p: float | Tensor, noisy: bool, inplace: bool, key: Tensor | None) -> Tensor:
    if x.dim() not in (4, 5):
        warnings.warn(_UNEXPECTED.format(name="dropout3d", rank=x.dim(), spatial=3, low=4, high=5), stacklevel=3)
    return apply(x, p, noisy, inplace, key, unbatched=x.dim() != 5)


def apply(
    x: Tensor, p: float | Tensor, noisy: bool, inplace: bool, key: Tensor | None, *, unbatched: bool = False
) -> Tensor:
    """One draw a feature map: `(N, C, 1, ...)`, or `(C, 1, ...)` without a batch axis."""
    if not noisy or x.numel() == 0 or (not isinstance(p, Tensor) and p == 0):
        return x
    maps = 1 if unbatched else 2
    if x.dim() < maps:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    check_torch_floating(x, p)
    shape = [*x.shape[:maps], *[1] * (x.dim() - maps)]
    return times_shared_bernoulli(x, p, shape, key, inplace=inplace)


class _Spatial(RateModule):
    """What the three ranks have in common: PyTorch's checks and representation."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(p)
        self.inplace = inplace

    def _check_p(self, value: float) -> None:
        check_torch_probability(value)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(_Spatial):
    """Zeroes whole channels of a sequence and keeps the expectation; a drop-in for `torch.nn.Dropout1d`.

    `y[n, c, l] = x[n, c, l] * m[n, c] / k` with independent `m ~ Bernoulli(k)`, `k = 1 - p`.

    Noise | Shared | Target | At test time: Bernoulli / keep | length | feature maps | identity

    Args:
        p: The probability of dropping a channel.
        inplace: Whether to write to the input.

    Shape:
        `(N, C, L)` or `(C, L)`; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: The input has another rank.

    Example:
        >>> import torch, torchdropout as td
        >>> td.Dropout1d(0.5)(torch.ones(1, 3, 2), key=td.key(3)).shape
        torch.Size([1, 3, 2])

    Reference:
        J. Tompson, R. Goroshin, A. Jain, Y. LeCun, C. Bregler. Efficient Object Localization Using Convolutional
        Networks. CVPR 2015, arXiv:1411.4280, section 3.2.

    Deviation: what is kept is scaled by 1 / k in training, as in the authors' framework.
    """

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return _apply1d(input, self._rate(), self.training, self.inplace, key)


class Dropout2d(_Spatial):
    """Zeroes whole channels of an image and keeps the expectation; a drop-in for `torch.nn.Dropout2d`.

    `y[n, c, h, w] = x[n, c, h, w] * m[n, c] / k` with independent `m ~ Bernoulli(k)`, `k = 1 - p`.

    Noise | Shared | Target | At test time: Bernoulli / keep | height, width | feature maps | identity

    Args:
        p: The probability of dropping a channel.
        inplace: Whether to write to the input.

    Shape:
        `(N, C, H, W)`, or `(N, C, L)` with PyTorch's warning; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: The input has fewer than two axes.

    Example:
        >>> import torch, torchdropout as td
        >>> td.Dropout2d(0.5)(torch.ones(1, 3, 2, 2), key=td.key(3)).shape
        torch.Size([1, 3, 2, 2])

    Reference:
        J. Tompson, R. Goroshin, A. Jain, Y. LeCun, C. Bregler. Efficient Object Localization Using Convolutional
        Networks. CVPR 2015, arXiv:1411.4280, section 3.2.

    Deviation: what is kept is scaled by 1 / k in training, as in the authors' framework.
    """

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return _apply2d(input, self._rate(), self.training, self.inplace, key)


class Dropout3d(_Spatial):
    """Zeroes whole channels of a volume and keeps the expectation; a drop-in for `torch.nn.Dropout3d`.

    `y[n, c, d, h, w] = x[n, c, d, h, w] * m[n, c] / k` with independent `m ~ Bernoulli(k)`, `k = 1 - p`.

    Noise | Shared | Target | At test time: Bernoulli / keep | depth, height, width | feature maps | identity

    Args:
        p: The probability of dropping a channel.
        inplace: Whether to write to the input.

    Shape:
        `(N, C, D, H, W)` or `(C, D, H, W)`; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: The input has fewer than two axes.

    Example:
        >>> import torch, torchdropout as td
        >>> td.Dropout3d(0.5)(torch.ones(1, 3, 2, 2, 2), key=td.key(3)).shape
        torch.Size([1, 3, 2, 2, 2])

    Reference:
        J. Tompson, R. Goroshin, A. Jain, Y. LeCun, C. Bregler. Efficient Object Localization Using Convolutional
        Networks. CVPR 2015, arXiv:1411.4280, section 3.2.

    Deviation: what is kept is scaled by 1 / k in training, as in the authors' framework.
    """

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return _apply3d(input, self._rate(), self.training, self.inplace, key)
