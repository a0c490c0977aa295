"""Dropout: independent Bernoulli noise on every element."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from torchdropout import laws
from torchdropout.layers._checks import check_choice, check_torch_floating, check_torch_probability
from torchdropout.layers._noise import times_bernoulli
from torchdropout.layers._rate import RateModule

Rule = Literal["inverted", "paper"]


def dropout(
    input: Tensor,  # noqa: A002 - PyTorch's name
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: Tensor | None = None,
    rule: Rule = "inverted",
) -> Tensor:
    """Zero each element with probability `p`; see `torchdropout.Dropout`.

    Args:
        input: Any shape, floating point.
        p: The probability of dropping an element.
        training: Whether to apply noise.
        inplace: Whether to write to `input`.
        key: Whose noise to use; None draws a key from PyTorch's default CPU generator.
        rule: `"inverted"`: what is kept is divided by the keep probability, eval is the identity. `"paper"`: what is
            kept stays as it is, eval multiplies by the keep probability.

    Raises:
        ValueError: `p` is outside [0, 1], or `rule` is unknown.
        RuntimeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.dropout(torch.ones(6), p=0.5, key=td.key(1))
        tensor([2., 2., 2., 0., 0., 2.])
    """
    check_torch_probability(p)
    if rule != "inverted":
        check_choice("dropout", "rule", rule, ("inverted", "paper"))
    return apply(input, p, training, inplace, key, rule)


def apply(x: Tensor, p: float | Tensor, noisy: bool, inplace: bool, key: Tensor | None, rule: Rule) -> Tensor:
    """The method, its arguments checked."""
    if noisy:
        check_torch_floating(x, p)
        return times_bernoulli(x, p, key, scaled=rule == "inverted", inplace=inplace)
    if rule == "inverted":
        return x
    return x.mul_(laws.keep(p)) if inplace else x * laws.keep(p)


class Dropout(RateModule):
    """Zeroes each element with probability `p` and keeps the expectation; a drop-in for `torch.nn.Dropout`.

    In training `y = x * m / k`, with independent `m ~ Bernoulli(k)` and `k = 1 - p`, so `E[y] = x` and
    `Var[y] = x**2 * p / (1 - p)`; in eval `y = x`. With `rule="paper"`, `y = x * m` in training and `y = x * k` in
    eval: the same function if the next layer's weights are `k` times as large, and the same optimisation if its
    learning rate is `k**2`, its weight decay `1 / k**2` and its max-norm bound `k` times the paper's.

    Noise | Shared | Target | At test time: Bernoulli / keep | nothing | activations | identity

    Args:
        p: The probability of dropping an element.
        inplace: Whether to write to the input.
        rule: `"inverted"` or `"paper"`.

    Shape:
        Any; the output has the input's shape, dtype and memory format.

    Raises:
        ValueError: `p` is outside [0, 1], or `rule` is unknown.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.Dropout(0.25)
        >>> layer(torch.ones(4), key=td.key(0))
        tensor([1.3333, 0.0000, 0.0000, 1.3333])
        >>> layer.eval()(torch.ones(4))
        tensor([1., 1., 1., 1.])

    Reference:
        N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov. Dropout: A Simple Way to Prevent
        Neural Networks from Overfitting. JMLR 15:1929-1958, 2014, section 4.

    Deviation: the default scales in training rather than at test time, as every current framework does.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rule: Rule = "inverted") -> None:
        super().__init__(p)
        check_choice("Dropout", "rule", rule, ("inverted", "paper"))
        self.inplace = inplace
        self.rule = rule

    def _check_p(self, value: float) -> None:
        check_torch_probability(value)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the test rule in eval."""
        return apply(input, self._rate(), self.training, self.inplace, key, self.rule)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        rule = "" if self.rule == "inverted" else f", rule={self.rule!r}"
        return f"p={self.p}, inplace={self.inplace}{rule}"
