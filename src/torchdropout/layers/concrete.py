"""Concrete dropout: the drop probability is learned, through a relaxation of the Bernoulli mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from torchdropout import ops
from torchdropout.layers._checks import check_choice, check_floating, check_number, check_rank
from torchdropout.layers._noise import uniform
from torchdropout.layers._relaxed import entropy, expected_keep, relaxed_noise, settle

Inference = Literal["moments", "scale", "sample"]


def concrete_dropout(
    input: Tensor,  # noqa: A002
    p_logit: Tensor,
    training: bool = True,
    *,
    temperature: float = 0.1,
    shared_dims: Sequence[int] = (),
    key: Tensor | None = None,
) -> Tensor:
    """Multiply by relaxed Bernoulli noise whose probability has a gradient; see `torchdropout.ConcreteDropout`.

    Args:
        input: Any shape, floating point.
        p_logit: The logit of the drop probability, 0-d.
        training: Whether to apply noise; otherwise the result is `input` times the noise's exact mean.
        temperature: How far the noise is from 0 and 1.
        shared_dims: The axes that share a draw.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `temperature` is not positive, or `p_logit` has axes.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.concrete_dropout(torch.ones(4), torch.tensor(0.0), key=td.key(3)) > 1
        tensor([ True, False, False,  True])
    """
    owner = "concrete_dropout"
    _check_positive(owner, "temperature", temperature)
    if p_logit.dim() != 0:
        raise ValueError(f"{owner}: `p_logit` must have shape (), got {tuple(p_logit.shape)}.")
    rule: Inference = "sample" if training else "moments"
    return _apply(owner, input, p_logit, rule, temperature, shared_dims, key)


def _apply(
    owner: str,
    x: Tensor,
    p_logit: Tensor,
    rule: Inference,
    temperature: float,
    shared_dims: Sequence[int],
    key: Tensor | None,
) -> Tensor:
    check_floating(owner, x)
    if rule == "scale":
        return x
    logit = settle(p_logit)
    if rule == "moments":
        return x * expected_keep(logit, temperature).to(x.dtype)
    if not shared_dims:
        return ops.relaxed_multiply(x, logit, temperature, key=key)
    shape = list(x.shape)
    for dim in shared_dims:
        shape[dim] = 1
    return relaxed_noise(x, logit, temperature, uniform(shape, key, x))


def _check_positive(owner: str, argument: str, value: float) -> None:
    check_number(owner, argument, value, "positive and finite", lambda number: 0 < number < math.inf)


class _Concrete(nn.Module):
    """A wrapped layer, and the learned probability of dropping its inputs."""

    _shared_dims: tuple[int, ...] = ()

    def __init__(
        self, layer: nn.Module, p: float, length_scale: float, temperature: float, inference: Inference, kinds: Any
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if not isinstance(layer, kinds):
            words = "a torch.nn.Linear or a convolution" if _ConvNd in kinds else f"a torch.nn.{kinds[0].__name__}"
            raise TypeError(f"{owner}: `layer` must be {words}, got {type(layer).__name__}.")
        check_number(owner, "p", p, "in (0, 1)", lambda value: 0 < value < 1)
        _check_positive(owner, "length_scale", length_scale)
        _check_positive(owner, "temperature", temperature)
        check_choice(owner, "inference", inference, ("moments", "scale", "sample"))
        self.layer: Any = layer
        self.length_scale, self.temperature, self.inference = length_scale, temperature, inference
        logit = math.log(p) - math.log1p(-p)
        self.p_logit = nn.Parameter(torch.full((), logit, device=layer.weight.device, dtype=layer.weight.dtype))

    @property
    def p(self) -> Tensor:
        """The learned drop probability, 0-d, with its gradient."""
        return torch.sigmoid(settle(self.p_logit))

    def kl(self) -> Tensor:
        """The divergence from the prior of the given length scale, up to a constant: a sum in nats, 0-d."""
        logit = settle(self.p_logit)
        inputs = self.layer.in_features if isinstance(self.layer, nn.Linear) else self.layer.in_channels
        squares: Tensor = self.layer.weight.to(logit.dtype).square().sum()
        return 0.5 * self.length_scale**2 * squares * (1.0 + logit.exp()) - inputs * entropy(logit)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """The wrapped layer of the noisy input; in eval by the rule `inference`."""
        owner = type(self).__name__
        if self._shared_dims:
            check_rank(owner, input, *_RANKS[len(self._shared_dims)])
        rule: Inference = "sample" if self.training else self.inference
        noisy = _apply(owner, input, self.p_logit, rule, self.temperature, self._shared_dims, key)
        result: Tensor = self.layer(noisy)
        return result

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"length_scale={self.length_scale}, temperature={self.temperature}, inference={self.inference!r}"


_RANKS = {1: ((2, 3), "(N, C, L) or (C, L)"), 2: ((3, 4), "(N, C, H, W) or (C, H, W)")}


class ConcreteDropout(_Concrete):
    """Drops the inputs of a layer with a learned probability, through noise that is almost 0 or 1.

    `y = layer(x * (1 - z) / (1 - p))`, `z = sigmoid((logit p + logit u) / t)` with independent uniform `u` for each
    element: a relaxed Bernoulli variable, not a normal one, as a widely copied survey has it. `p` is one parameter of
    the layer.

    `kl()` is `length_scale**2 / 2 * |W|**2 / (1 - p) - K * H(p)`, with the weight `W` (no bias), the number of input
    units `K` (channels of a convolution, whatever the size of a batch, a map or a sequence) and the entropy `H`.
    Minimise `mean loss + kl() / N` for `N` training examples and a loss in nats. The authors' factors are these for
    cross-entropy; for their squared error, which is twice a negative log likelihood, theirs are twice as large.

    Noise | Shared | Target | At test time: relaxed Bernoulli / keep | nothing | activations | times the mean

    Args:
        layer: The layer that takes the noisy input: a `torch.nn.Linear` or a convolution.
        p: The initial drop probability.
        length_scale: The prior's: large values hold the weights near zero and `p` down.
        temperature: `t`: how far the noise is from 0 and 1.
        inference: What eval mode does: `"moments"`: `x` times the exact mean of the noise. `"scale"`: `x` itself, as
            in the authors' code without Monte-Carlo. `"sample"`: the noise stays, as in the paper.

    Shape:
        The wrapped layer's.

    Raises:
        ValueError: An argument is out of range.
        TypeError: `layer` is something else, an argument no number, or the input not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.ConcreteDropout(torch.nn.Linear(3, 2))
        >>> layer(torch.ones(4, 3), key=td.key(0)).shape
        torch.Size([4, 2])
        >>> loss = layer.kl() / 60_000

    Reference:
        Y. Gal, J. Hron, A. Kendall. Concrete Dropout. NIPS 2017, arXiv:1705.07832, equations 3 to 5.

    Deviation: eval is deterministic by default, as a module's eval is expected to be, and multiplies by the exact mean
    of the noise: the relaxation moves it (at p = 0.1 from 0.9 to 0.8988 for t = 0.1 and to 0.8547 for t = 2/3), so
    the authors' rule without noise is off by a factor. The bias is not regularised; one of the authors' ports does.
    """

    def __init__(
        self,
        layer: nn.Module,
        p: float = 0.1,
        *,
        length_scale: float = 1e-2,
        temperature: float = 0.1,
        inference: Inference = "moments",
    ) -> None:
        super().__init__(layer, p, length_scale, temperature, inference, (nn.Linear, _ConvNd))


class ConcreteDropout1d(_Concrete):
    """Drops whole input channels of a 1-D convolution with a learned probability.

    `y = conv(x * (1 - z) / (1 - p))`, `z = sigmoid((logit p + logit u) / t)` with one uniform `u` for each example and
    channel. `kl()` is that of `torchdropout.ConcreteDropout`, with the number of input channels for `K`.

    Noise | Shared | Target | At test time: relaxed Bernoulli / keep | length | feature maps | times the mean

    Args:
        layer: The `torch.nn.Conv1d` that takes the noisy input.
        p: The initial drop probability.
        length_scale: The prior's: large values hold the weights near zero and `p` down.
        temperature: `t`: how far the noise is from 0 and 1.
        inference: `"moments"`, `"scale"` or `"sample"`, as in `torchdropout.ConcreteDropout`.

    Shape:
        The wrapped layer's: `(N, C, L)` or `(C, L)`.

    Raises:
        ValueError: An argument is out of range, or the input has another rank.
        TypeError: `layer` is something else, an argument no number, or the input not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.ConcreteDropout1d(torch.nn.Conv1d(3, 8, 3))
        >>> layer(torch.ones(2, 3, 5), key=td.key(0)).shape
        torch.Size([2, 8, 3])

    Reference:
        Y. Gal, J. Hron, A. Kendall. Concrete Dropout. NIPS 2017, arXiv:1705.07832, equations 3 to 5; the noise by
        channel and its temperature are of the authors' code.

    Deviation: eval multiplies by the exact mean of the noise, which at p = 0.1 and t = 2/3 is 0.8547, not 0.9.
    """

    _shared_dims = (-1,)

    def __init__(
        self,
        layer: nn.Module,
        p: float = 0.1,
        *,
        length_scale: float = 1e-2,
        temperature: float = 2 / 3,
        inference: Inference = "moments",
    ) -> None:
        super().__init__(layer, p, length_scale, temperature, inference, (nn.Conv1d,))


class ConcreteDropout2d(_Concrete):
    """Drops whole input channels of a 2-D convolution with a learned probability.

    `y = conv(x * (1 - z) / (1 - p))`, `z = sigmoid((logit p + logit u) / t)` with one uniform `u` for each example and
    channel. `kl()` is that of `torchdropout.ConcreteDropout`, with the number of input channels for `K`.

    Noise | Shared | Target | At test time: relaxed Bernoulli / keep | height, width | feature maps | times the mean

    Args:
        layer: The `torch.nn.Conv2d` that takes the noisy input.
        p: The initial drop probability.
        length_scale: The prior's: large values hold the weights near zero and `p` down.
        temperature: `t`: how far the noise is from 0 and 1.
        inference: `"moments"`, `"scale"` or `"sample"`, as in `torchdropout.ConcreteDropout`.

    Shape:
        The wrapped layer's: `(N, C, H, W)` or `(C, H, W)`.

    Raises:
        ValueError: An argument is out of range, or the input has another rank.
        TypeError: `layer` is something else, an argument no number, or the input not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.ConcreteDropout2d(torch.nn.Conv2d(3, 8, 3))
        >>> layer(torch.ones(2, 3, 5, 5), key=td.key(0)).shape
        torch.Size([2, 8, 3, 3])

    Reference:
        Y. Gal, J. Hron, A. Kendall. Concrete Dropout. NIPS 2017, arXiv:1705.07832, equations 3 to 5; the noise by
        channel and its temperature are of the authors' code.

    Deviation: eval multiplies by the exact mean of the noise, which at p = 0.1 and t = 2/3 is 0.8547, not 0.9.
    """

    _shared_dims = (-2, -1)

    def __init__(
        self,
        layer: nn.Module,
        p: float = 0.1,
        *,
        length_scale: float = 1e-2,
        temperature: float = 2 / 3,
        inference: Inference = "moments",
    ) -> None:
        super().__init__(layer, p, length_scale, temperature, inference, (nn.Conv2d,))
