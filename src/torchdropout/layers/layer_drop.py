"""LayerDrop: a whole layer is skipped, and its computation saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function

from torchdropout import rng
from torchdropout.layers._checks import check_probability
from torchdropout.layers._noise import bernoulli
from torchdropout.layers._rate import Rate


def layer_drop(
    layer: Callable[..., Tensor],
    input: Tensor,  # noqa: A002
    p: float,
    training: bool = True,
    *args: Any,
    key: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """Skip a layer with probability `p`; see `torchdropout.LayerDrop`.

    Args:
        layer: A module or function whose output has the input's shape.
        input: The layer's first argument, and the result where it is skipped.
        p: The probability of skipping the layer.
        training: Whether to skip at all.
        args: The layer's further arguments.
        key: Whose noise to use; None draws one.
        kwargs: The layer's keyword arguments.

    Raises:
        ValueError: `p` is outside [0, 1], or the layer's output has another shape than its input.
        TypeError: The layer's output is no tensor.

    Example:
        >>> import torch, torchdropout as td
        >>> [td.functional.layer_drop(torch.neg, torch.ones(1), 0.5, key=td.key(n)).item() for n in range(4)]
        [1.0, -1.0, 1.0, -1.0]
    """
    check_probability("layer_drop", p)
    return apply("layer_drop", layer, input, p, training, args, kwargs, key)


def apply(
    owner: str,
    layer: Callable[..., Tensor],
    x: Tensor,
    p: float | Tensor,
    noisy: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: Tensor | None,
) -> Tensor:
    """The method, its arguments checked."""
    if not noisy or (not isinstance(p, Tensor) and p == 0):
        return _checked(owner, layer(x, *args, **kwargs), x)
    mask = bernoulli((), p, rng.shared(key), torch.empty(0, device="cpu"))  # the host decides
    if isinstance(p, Tensor) or not rng.is_plain(mask) or not rng.is_plain(x):
        return torch.where(mask.to(x.device) != 0, _checked(owner, layer(x, *args, **kwargs), x), x)
    if bool(mask):
        return _checked(owner, layer(x, *args, **kwargs), x)
    if isinstance(layer, nn.Module) and _in_a_group() and torch.is_grad_enabled():
        parameters = [q for q in layer.parameters() if q.requires_grad]
        return _Unused.apply(x, *parameters)  # type: ignore[no-untyped-call, no-any-return]
    return x


def _checked(owner: str, y: Tensor, x: Tensor) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(f"{owner}: the layer's output must be a tensor, got {type(y).__name__}.")
    if y.shape != x.shape:
        raise ValueError(
            f"{owner}: the layer's output must have the input's shape {tuple(x.shape)}, got {tuple(y.shape)}."
        )
    return y


def _in_a_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class _Unused(Function):
    """The identity, of which parameters are arguments with gradient zero, so that other ranks may use them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameters = parameters
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return grad, *map(torch.zeros_like, ctx.parameters)


class LayerDrop(Rate, nn.Module):
    """Skips a whole layer, for the whole batch, and saves its computation; nothing is rescaled.

    `y = f(x)` with probability `k = 1 - p`, else `y = x`. At test time the layer always runs; a network trained so
    can also lose layers for good, which is what the method is for.

    Under `torch.nn.parallel.DistributedDataParallel` ranks skip different layers. A skipped layer's parameters then
    get the gradient zero, so that no rank waits for another and `find_unused_parameters` is not needed; without
    `torch.distributed` they get none. Under `torch.compile` and `torch.func` the layer is computed and its result
    selected, since a branch on data would break the graph: nothing is saved there.

    Noise | Shared | Target | At test time: Bernoulli | everything | whole layers | the layer runs

    Args:
        layer: A module whose output has its first argument's shape.
        p: The probability of skipping it.

    Shape:
        The layer's; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1], or the layer's output has another shape than its input.
        TypeError: `layer` is no module, or its output no tensor.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.LayerDrop(torch.nn.ReLU(), p=0.5)
        >>> [layer(torch.tensor([-1.0]), key=td.key(n)).item() for n in range(4)]
        [-1.0, 0.0, -1.0, 0.0]

    Reference:
        A. Fan, E. Grave, A. Joulin. Reducing Transformer Depth on Demand with Structured Dropout. ICLR 2020,
        arXiv:1909.11556, section 3.

    Deviation: none.
    """

    def __init__(self, layer: nn.Module, p: float = 0.1) -> None:
        nn.Module.__init__(self)
        if not isinstance(layer, nn.Module):
            raise TypeError(f"LayerDrop: `layer` must be a torch.nn.Module, got {type(layer).__name__}.")
        self.layer = layer
        self.p = p

    def forward(self, input: Tensor, *args: Any, key: Tensor | None = None, **kwargs: Any) -> Tensor:  # noqa: A002
        """May skip the layer in training, runs it in eval; further arguments go to the layer."""
        return apply("LayerDrop", self.layer, input, self._rate(), self.training, args, kwargs, key)

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return "batch"

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}"
