"""Standout: dropout whose keep probabilities a belief net computes from the same input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout import rng
from torchdropout.layers._checks import check_choice, check_features, check_floating, check_number
from torchdropout.layers._conversion import take_weights
from torchdropout.layers._noise import uniform

Activation = Callable[[Tensor], Tensor]
Belief = Literal["tied", "elementwise", "untied"]

_ACTIVATIONS: dict[str, Activation] = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}


def standout(input: Tensor, keep: Tensor, training: bool = True, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
    """Keep each element with its own probability; see `torchdropout.StandoutLinear`.

    The gradient that reaches `keep` is `grad * input`, as if the mask were its expectation.

    Args:
        input: Any shape, floating point.
        keep: The keep probabilities, of the input's shape.
        training: Whether to apply noise; otherwise the result is `input * keep`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `keep` has another shape, or a value outside [0, 1].
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.standout(torch.ones(3), torch.tensor([0.0, 0.5, 1.0]), key=td.key(0))
        tensor([0., 1., 1.])
    """
    check_floating("standout", input)
    if keep.shape != input.shape:
        raise ValueError(f"standout: `keep` must have the input's shape {tuple(input.shape)}, got {tuple(keep.shape)}.")
    if keep.is_cpu and rng.is_plain(keep) and not bool(((keep >= 0) & (keep <= 1)).all()):
        raise ValueError("standout: `keep` must be in [0, 1], got a value outside.")
    return apply(input, keep, training, key)


def apply(h: Tensor, keep: Tensor, noisy: bool, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    if not noisy:
        return h * keep.to(h.dtype)
    mask = uniform(h.shape, key, h) < keep
    y = h * mask.to(h.dtype)
    if keep.requires_grad:  # adds zero, and the gradient by local expectation
        y = y + h.detach() * (keep - keep.detach()).to(h.dtype)
    return y


class StandoutLinear(nn.Linear):
    """A linear layer with an activation whose units are kept the more likely the larger their pre-activation is.

    `y = m * h`, `h = g(W x + b)`, with independent `m ~ Bernoulli(pi)` for each example and unit and no scaling;
    `y = pi * h` at test time. The keep probability is
    `pi = sigmoid(alpha * (W x + b) + beta)` with `belief="tied"`, where `alpha = beta = 0` is dropout of one half;
    `pi = sigmoid(x @ (alpha * W + beta).T)` with `"elementwise"`, the other reading of the paper's tied belief net;
    `pi = sigmoid(P x + c)` with `"untied"`, whose `P` and `c` are parameters.

    With `alpha > 0` large activations survive. A widely copied survey states the opposite, and another copy calls
    `beta = 0.5` a rate of one half; it is a keep probability of 0.62.

    Noise | Shared | Target | At test time: Bernoulli(pi(x)) | nothing | activations | times pi(x)

    Args:
        in_features: As in `torch.nn.Linear`.
        out_features: As in `torch.nn.Linear`.
        bias: As in `torch.nn.Linear`; the untied belief net has a bias where the layer has one.
        device: As in `torch.nn.Linear`.
        dtype: As in `torch.nn.Linear`.
        activation: `g`: `"relu"`, `"sigmoid"`, `"tanh"` or a function of one tensor.
        belief: Where the keep probabilities come from: `"tied"`, `"elementwise"` or `"untied"`.
        alpha: The slope of a tied belief net.
        beta: The offset of a tied belief net.
        through: Whether gradients pass through a tied belief net too. Those of an untied one always do, by local
            expectation: the gradient at `pi` is the gradient at `y` times `h`.

    Shape:
        `(*, in_features)` to `(*, out_features)`.

    Raises:
        ValueError: `alpha` or `beta` is not finite, `belief` or `activation` is unknown, or the input has another
            number of features.
        TypeError: The input is not floating point, or `alpha` or `beta` no number.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.StandoutLinear(2, 3)
        >>> layer(torch.ones(4, 2), key=td.key(0)).shape
        torch.Size([4, 3])

    Reference:
        J. Ba, B. Frey. Adaptive dropout for training deep neural networks. NIPS 2013, section 2 and algorithm 2.

    Deviation: the gradient of an untied belief net is the straight-through one. In eval, gradients flow through `pi`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        activation: str | Activation = "relu",
        belief: Belief = "tied",
        alpha: float = 1.0,
        beta: float = 0.0,
        through: bool = False,
    ) -> None:
        check_choice("StandoutLinear", "belief", belief, ("tied", "elementwise", "untied"))
        if not callable(activation):
            check_choice("StandoutLinear", "activation", activation, tuple(_ACTIVATIONS))
        check_number("StandoutLinear", "alpha", alpha, "finite", math.isfinite)
        check_number("StandoutLinear", "beta", beta, "finite", math.isfinite)
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = activation
        self.belief: Belief = belief
        self.alpha, self.beta, self.through = alpha, beta, through
        untied = belief == "untied"
        self.belief_weight = nn.Parameter(torch.empty_like(self.weight)) if untied else None
        self.belief_bias = nn.Parameter(torch.empty_like(self.bias)) if untied and bias else None
        self._reset_belief()

    @classmethod
    def from_linear(cls, linear: nn.Linear, **arguments: Any) -> StandoutLinear:
        """The layer with a copy of a trained layer's weights.

        Args:
            linear: What to copy.
            arguments: The constructor's keyword arguments from `activation` on.
        """
        weight, has_bias = linear.weight, linear.bias is not None
        new = cls(linear.in_features, linear.out_features, has_bias, weight.device, weight.dtype, **arguments)
        take_weights(new, linear)
        return new

    def reset_parameters(self) -> None:
        """Initialise as `torch.nn.Linear` does, the belief net likewise."""
        super().reset_parameters()
        if "belief_weight" in self._parameters:  # not yet when the constructor of `torch.nn.Linear` calls
            self._reset_belief()

    def _reset_belief(self) -> None:
        bound = 1 / math.sqrt(max(self.in_features, 1))
        for parameter in (self.belief_weight, self.belief_bias):
            if parameter is not None:
                nn.init.uniform_(parameter, -bound, bound)

    def keep_probability(self, input: Tensor) -> Tensor:  # noqa: A002
        """`pi`, in at least float32: `(*, in_features)` to `(*, out_features)`."""
        return self._keep(input, F.linear(input, self.weight, self.bias))

    def _keep(self, x: Tensor, z: Tensor) -> Tensor:
        """`pi`, given the pre-activation."""
        if self.belief_weight is not None:
            return torch.sigmoid(_wide(F.linear(x, self.belief_weight, self.belief_bias)))
        if self.belief == "elementwise":
            return torch.sigmoid(_wide(F.linear(x, self.alpha * self.weight + self.beta)))
        return torch.sigmoid(self.alpha * _wide(z) + self.beta)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, times `pi` in eval."""
        check_floating("StandoutLinear", input)
        check_features("StandoutLinear", input, self.in_features)
        z = F.linear(input, self.weight, self.bias)
        h = self.activation(z) if callable(self.activation) else _ACTIVATIONS[self.activation](z)
        keep = self._keep(input, z)
        if self.training and self.belief != "untied" and not self.through:
            keep = keep.detach()
        return apply(h, keep, self.training, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        own = f"activation={self.activation!r}, belief={self.belief!r}, alpha={self.alpha}, beta={self.beta}"
        return f"{super().extra_repr()}, {own}"


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
