"""Mixout: weights that go back, at random and for one pass, to those that training began from."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout import rng
from torchdropout.layers._checks import check_choice, check_features, check_floating, check_probability
from torchdropout.layers._conversion import take_weights
from torchdropout.layers._noise import times_bernoulli
from torchdropout.layers._rate import Rate

Per = Literal["input", "weight"]


def mixout(
    input: Tensor,  # noqa: A002
    target: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    per: Per = "input",
    key: Tensor | None = None,
) -> Tensor:
    """Weights mixed with others; see `torchdropout.MixoutLinear`.

    Args:
        input: The weights, `(out, in, ...)` as of a linear layer or a convolution, floating point.
        target: Those that they are mixed with, of the same shape.
        p: The probability of taking the target's.
        training: Whether to mix; without it the result is `input`.
        per: What one draw covers. `"input"`: all weights that lead out of one input, along axis 1; of a tensor with a
            single axis, an element. `"weight"`: each weight by itself.
        key: Whose noise to use; None draws one.

    Returns:
        Of `input`'s shape, with `input` as its expectation.

    Raises:
        ValueError: `p` is outside [0, 1], `per` is unknown, or the shapes differ.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.mixout(torch.full((2, 4), 3.0), torch.ones(2, 4), p=0.5, key=td.key(1))
        tensor([[5., 5., 5., 1.],
                [5., 5., 5., 1.]])
    """
    check_probability("mixout", p)
    check_choice("mixout", "per", per, ("input", "weight"))
    check_floating("mixout", input)
    if target.shape != input.shape:
        raise ValueError(
            f"mixout: `target` must have the weights' shape {tuple(input.shape)}, got {tuple(target.shape)}."
        )
    return mixed(input, target, p, per, key) if training else input


def mixed(weight: Tensor, target: Tensor, p: float | Tensor, per: Per, key: Tensor | None) -> Tensor:
    """The method, its arguments checked: `u + m (w - u)` with `m` dropout's noise, in at least float32."""
    if not isinstance(p, Tensor) and p == 0:
        return weight
    shared = per == "input" and weight.dim() > 1
    shape = (1, weight.shape[1], *[1] * (weight.dim() - 2)) if shared else weight.shape
    wide = torch.promote_types(weight.dtype, torch.float32)
    noise = times_bernoulli(torch.ones(shape, dtype=wide, device=weight.device), p, rng.shared(key))
    return torch.lerp(target.to(wide), weight.to(wide), noise).to(weight.dtype)


class MixoutLinear(Rate, nn.Linear):
    """A linear layer whose weights are replaced by those that it began from, at random, in the whole batch alike.

    In training `y = W~ x + b` with `W~ = (M * W + (1 - M) * U - p U) / (1 - p)`, which is `U + M * (W - U) / (1 - p)`:
    `U` are the target's weights and `M` the mask, 0 with probability `p`, so that `W~` has the expectation `W`. All
    weights that lead out of one input share a draw; biases are never mixed. At test time the weights are `W`. Noise
    that grows with `W - U` is a penalty that draws `W` towards `U`, as dropout's, which is the case `U = 0`, draws it
    towards 0.

    The target is a buffer, `target`, which is saved beside the weights. It is the weights that the layer is made with;
    so it is a pre-trained layer's after `from_linear`, and after a plain layer's `state_dict`, which has no target, was
    loaded. A layer that begins from nothing is drawn towards its own random start.

    Noise | Shared | Target | At test time: Bernoulli / keep | batch and outputs | distances from pre-trained weights |
    identity

    Args:
        in_features: The size of an input vector.
        out_features: The size of an output vector.
        bias: Whether there is a bias.
        device: Where the parameters are.
        dtype: The parameters' dtype.
        p: The probability of taking the target's weights; 0.7 to 0.9 in the paper's fine-tuning.
        per: What one draw covers. `"input"`: the weights that lead out of one input, as in the paper. `"weight"`: each
            weight by itself, the paper's more general mixconnect with such a mask.

    Shape:
        `(..., in_features)` to `(..., out_features)`.

    Raises:
        ValueError: `p` is outside [0, 1], `per` is unknown, or the input's last axis is not `in_features`.
        TypeError: The input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.MixoutLinear.from_linear(torch.nn.Linear(3, 2), p=0.9)
        >>> torch.equal(layer.target, layer.weight)
        True
        >>> layer(torch.ones(4, 3), key=td.key(0)).shape
        torch.Size([4, 2])

    Reference:
        C. Lee, K. Cho, W. Kang. Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models.
        ICLR 2020, arXiv:1909.11299, section 3.

    Deviation: the gradient is that of the equation. The authors' program leaves its factor `1 / (1 - p)` out, so that
    the same learning rate is one of `1 / (1 - p)` times theirs; optimizers such as Adam do not notice.
    """

    target: Tensor

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None, *,
        p: float = 0.5, per: Per = "input",
    ) -> None:  # fmt: skip
        check_choice("MixoutLinear", "per", per, ("input", "weight"))
        super().__init__(in_features, out_features, bias, device, dtype)
        self.p, self.per = p, per
        self.register_buffer("target", self.weight.detach().clone())

    @classmethod
    def from_linear(cls, linear: nn.Linear, **options: Any) -> Self:
        """A layer with a linear layer's weights, copied, and as its target; `options`: the constructor's keywords."""
        has_bias, weight = linear.bias is not None, linear.weight
        layer = cls(linear.in_features, linear.out_features, has_bias, weight.device, weight.dtype, **options)
        take_weights(layer, linear)
        layer.target.copy_(layer.weight.detach())
        return layer

    @property
    def draws_per(self) -> str:
        """What one draw covers: the batch."""
        return "batch"

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """With mixed weights in training, with its own in eval."""
        check_floating("MixoutLinear", input)
        check_features("MixoutLinear", input, self.in_features)
        weight = mixed(self.weight, self.target, self._rate(), self.per, key) if self.training else self.weight
        return F.linear(input, weight, self.bias)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A plain layer's weights are the target as well."""
        if f"{prefix}weight" in state_dict and f"{prefix}target" not in state_dict:
            state_dict[f"{prefix}target"] = state_dict[f"{prefix}weight"].detach().clone()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"{super().extra_repr()}, p={self.p}, per={self.per!r}"
