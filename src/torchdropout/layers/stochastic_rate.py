"""Stochastic dropout: the drop probability itself is drawn anew at every call."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from torchdropout import laws, rng
from torchdropout.layers._checks import check_choice, check_floating, check_number
from torchdropout.layers._noise import keys, standard_normal, times_bernoulli, uniform

Distribution = Literal["uniform", "normal"]


class Rates(NamedTuple):
    """Where the drop probability comes from, and the bounds of it and of the scale."""

    low: float
    high: float
    distribution: Distribution
    mean: float
    std: float
    cap: float
    max_scale: float


def stochastic_rate_dropout(
    input: Tensor,  # noqa: A002
    low: float = 0.0,
    high: float = 0.4,
    training: bool = True,
    *,
    distribution: Distribution = "uniform",
    mean: float = 0.2,
    std: float = 0.1,
    cap: float = 0.7,
    max_scale: float = 1.5,
    key: Tensor | None = None,
) -> Tensor:
    """Drop elements with a probability that is drawn anew; see `torchdropout.StochasticRateDropout`.

    Args:
        input: Any shape, floating point.
        low: The least drop probability of the uniform distribution.
        high: The greatest.
        training: Whether to apply noise.
        distribution: `"uniform"` or `"normal"`.
        mean: The mean of the normal.
        std: The standard deviation of the normal.
        cap: The greatest drop probability that is used.
        max_scale: The greatest factor of what is kept.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: `input` is not floating point, or an argument is no number.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.stochastic_rate_dropout(torch.ones(6), key=td.key(1))
        tensor([1.3674, 1.3674, 1.3674, 1.3674, 1.3674, 0.0000])
    """
    rates = Rates(low, high, distribution, mean, std, cap, max_scale)
    _check("stochastic_rate_dropout", rates)
    return apply("stochastic_rate_dropout", input, rates, training, key)


def _check(owner: str, rates: Rates) -> None:
    check_choice(owner, "distribution", rates.distribution, ("uniform", "normal"))
    check_number(owner, "low", rates.low, "in [0, 1]", lambda v: 0 <= v <= 1)
    check_number(owner, "high", rates.high, f"in [low, 1] = [{rates.low}, 1]", lambda v: rates.low <= v <= 1)
    check_number(owner, "mean", rates.mean, "in [0, 1]", lambda v: 0 <= v <= 1)
    check_number(owner, "std", rates.std, "finite and not negative", lambda v: 0 <= v < float("inf"))
    check_number(owner, "cap", rates.cap, "in [0, 1]", lambda v: 0 <= v <= 1)
    check_number(owner, "max_scale", rates.max_scale, "finite and at least 1", lambda v: 1 <= v < float("inf"))


def apply(owner: str, x: Tensor, rates: Rates, noisy: bool, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    check_floating(owner, x)
    if not noisy:
        return x
    if key is not None and key.dim() > 1:  # each row of the keys is a call of its own
        rows = [apply(owner, row, rates, noisy, row_key) for row, row_key in zip(x, key, strict=True)]
        return torch.stack(rows) if rows else x
    of_rate, of_mask = keys(key, 2)
    of_rate = rng.shared(of_rate)
    rate = draw_rate(rates, of_rate)
    if not is_compiling() and _is_batched(rate):
        mask = (uniform(x.shape, of_mask, x) >= rate).to(x.dtype)
        return (x * mask * (1.0 / (1.0 - rate)).clamp(max=rates.max_scale)).to(x.dtype)
    if is_compiling():
        return _scaled(times_bernoulli(x, rate, of_mask, scaled=False), rate, rates.max_scale)
    p = rate.item()
    if laws.keep(p) * rates.max_scale >= 1.0:
        return times_bernoulli(x, p, of_mask)
    return times_bernoulli(x, p, of_mask, scaled=False) * rates.max_scale


def draw_rate(rates: Rates, key: Tensor | None) -> Tensor:
    """One drop probability: a 0-d float64 tensor on the CPU, where a device need not be waited for."""
    like = torch.empty((), dtype=torch.float32, device="cpu")
    if rates.distribution == "uniform":
        rate = rates.low + (rates.high - rates.low) * uniform((), key, like).double()
    else:
        rate = rates.mean + rates.std * standard_normal((), key, like).double()
        rate = rate.abs() if rates.mean == 0 else rate
    return rate.clamp(min=0.0, max=rates.cap)


def _scaled(x: Tensor, p: Tensor, max_scale: float) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.as_tensor(1.0 / laws.keep(p)).clamp(max=max_scale)).to(x.dtype)


def _is_batched(x: Tensor) -> bool:
    """Whether `vmap` draws a rate for each example: then no number can be read."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._C._functorch.is_batchedtensor(x):
            return True
        x = torch._C._functorch.get_unwrapped(x)
    return False


class StochasticRateDropout(nn.Module):
    """Drops elements with a probability that is the layer's own at every call, drawn from a distribution.

    `y = x * m * s`, `m ~ Bernoulli(1 - p)` for each element, with one `p ~ U(low, high)` for the whole tensor and
    `s = min(1 / (1 - p), max_scale)`. With `distribution="normal"`, `p ~ N(mean, std**2)`, where negative values
    become 0, or, if `mean` is 0, positive.

    Noise | Shared | Target | At test time: Bernoulli of a random rate | nothing | activations | identity

    Args:
        low: The least drop probability of the uniform distribution.
        high: The greatest; the authors' example has (0, 0.4).
        distribution: `"uniform"` or `"normal"`.
        mean: The mean of the normal; its default and that of `std` are near the uniform's, not the paper's.
        std: The standard deviation of the normal.
        cap: The greatest drop probability that is used.
        max_scale: The greatest factor of what is kept; where it binds (`p > 1/3` by default), the expectation shrinks.

    Shape:
        Any; the output has the input's.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: An argument is no number, or the input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.StochasticRateDropout()(torch.ones(6), key=td.key(1))
        tensor([1.3674, 1.3674, 1.3674, 1.3674, 1.3674, 0.0000])

    Reference:
        S. Park, N. Kwak. Analysis on the Dropout Effect in Convolutional Neural Networks. ACCV 2016, LNCS
        10112:189-204, section 4; the bounds of the rate and of the scale are those of the authors' code.

    Deviation: the authors' code also has a probability that the layer acts at all, 1 by default; it is left out. Under
    `torch.func.vmap` with different randomness every example is a call of its own, with its own rate.
    """

    def __init__(
        self,
        low: float = 0.0,
        high: float = 0.4,
        *,
        distribution: Distribution = "uniform",
        mean: float = 0.2,
        std: float = 0.1,
        cap: float = 0.7,
        max_scale: float = 1.5,
    ) -> None:
        super().__init__()
        self._rates = Rates(low, high, distribution, mean, std, cap, max_scale)
        _check(type(self).__name__, self._rates)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return apply(type(self).__name__, input, self._rates, self.training, key)

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return "batch"  # its rate

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return ", ".join(f"{name}={value!r}" for name, value in self._rates._asdict().items())
