"""DropPath: the residual branch of an example, or of the whole batch, is dropped."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from torchdropout import laws, rng
from torchdropout.layers._checks import check_choice, check_floating, check_probability
from torchdropout.layers._noise import times_shared_bernoulli
from torchdropout.layers._rate import RateModule

Per = Literal["example", "batch"]
Rule = Literal["inverted", "paper"]


def drop_path(
    input: Tensor,  # noqa: A002
    p: float,
    training: bool = True,
    *,
    per: Per = "example",
    rule: Rule = "inverted",
    key: Tensor | None = None,
) -> Tensor:
    """Drop a residual branch with probability `p`; see `torchdropout.DropPath`.

    Args:
        input: The branch's output, `(N, ...)`, floating point.
        p: The probability of dropping the branch.
        training: Whether to apply noise.
        per: What one draw covers: an `"example"`, or the `"batch"`.
        rule: `"inverted"`: a kept branch is divided by the keep probability. `"paper"`: it stays as it is, and eval
            multiplies by the keep probability.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], `per` or `rule` is unknown, or `input` has no batch axis.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.drop_path(torch.ones(3, 2), 0.5, key=td.key(3))
        tensor([[2., 2.],
                [0., 0.],
                [0., 0.]])
    """
    check_probability("drop_path", p)
    _check_choices("drop_path", per, rule)
    return apply("drop_path", input, p, training, per, rule, key)


def _check_choices(owner: str, per: str, rule: str) -> None:
    check_choice(owner, "per", per, ("example", "batch"))
    check_choice(owner, "rule", rule, ("inverted", "paper"))


def apply(owner: str, x: Tensor, p: float | Tensor, noisy: bool, per: Per, rule: Rule, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    check_floating(owner, x)
    if x.dim() == 0:
        raise ValueError(f"{owner}: the input must have a batch axis, got a tensor of shape ().")
    if not noisy:
        return x if rule == "inverted" else x * laws.keep(p)
    shape = [x.shape[0] if per == "example" else 1, *[1] * (x.dim() - 1)]
    key = key if per == "example" else rng.shared(key)
    return times_shared_bernoulli(x, p, shape, key, scaled=rule == "inverted")


class DropPath(RateModule):
    """Drops the whole residual branch of an example and keeps the expectation: `x + drop_path(branch(x))`.

    `y[n] = x[n] * m[n] / k` with independent `m ~ Bernoulli(k)`, `k = 1 - p`. With `per="batch"` and `rule="paper"`
    it is the paper's: one `m` for the mini-batch, no scaling in training, `y = x * k` at test time.

    Noise | Shared | Target | At test time: Bernoulli / keep | all but the batch | residual branches | identity

    Args:
        p: The probability of dropping a branch.
        per: What one draw covers: an `"example"`, or the `"batch"` as in the paper.
        rule: `"inverted"`, or `"paper"`.

    Shape:
        `(N, ...)`; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1], or `per` or `rule` is unknown.

    Example:
        >>> import torch, torchdropout as td
        >>> td.DropPath(0.5)(torch.ones(3, 2), key=td.key(3))
        tensor([[2., 2.],
                [0., 0.],
                [0., 0.]])

    Reference:
        G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Weinberger. Deep Networks with Stochastic Depth. ECCV 2016,
        arXiv:1603.09382, equations 2 and 5.

    Deviation: the defaults draw per example and scale in training, as current vision models do; a dropped branch is
    multiplied by zero, not skipped.
    """

    def __init__(self, p: float, *, per: Per = "example", rule: Rule = "inverted") -> None:
        super().__init__(p)
        _check_choices("DropPath", per, rule)
        self.per = per
        self.rule = rule

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the test rule in eval."""
        return apply("DropPath", input, self._rate(), self.training, self.per, self.rule, key)

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return self.per

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, per={self.per!r}, rule={self.rule!r}"
