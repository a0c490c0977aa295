"""Log-normal dropout: a learned multiplicative gate a channel, removed where it is mostly noise."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from torchdropout import ops, rng
from torchdropout.layers import _truncated_normal as truncated
from torchdropout.layers._checks import check_choice, check_floating, check_number
from torchdropout.layers._kl import projected_clamp
from torchdropout.layers._noise import uniform

Per = Literal["batch", "example"]

_RANGE = (-20.0, 5.0)  # of both parameters, as they are used
_SMALLEST = 1e-14  # relative variance: differences of logs are not finer


def log_normal_dropout(
    input: Tensor,  # noqa: A002
    mu: Tensor,
    log_sigma: Tensor,
    training: bool = True,
    *,
    dim: int = 1,
    per: Per = "batch",
    low: float = -20.0,
    high: float = 0.0,
    snr_threshold: float = 1.0,
    key: Tensor | None = None,
) -> Tensor:
    """Multiply each channel by a truncated log-normal gate; see `torchdropout.LogNormalDropout`.

    Args:
        input: Floating point, with the channels at axis `dim` and, with `per="example"`, examples at axis 0.
        mu: The location of the log of each channel's gate, `(C)`.
        log_sigma: The log of its deviation, `(C)`.
        training: Whether to apply noise; otherwise gates are their means, zero where `snr_threshold` is not exceeded.
        dim: The axis of the channels.
        per: What one draw of a channel covers: the `"batch"`, or an `"example"`.
        low: The lower bound of the log of a gate.
        high: The upper bound.
        snr_threshold: The ratio of a gate's mean to its deviation up to which its channel is removed.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: An axis is missing or has another size than the parameters, or an argument is out of range.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> mu, log_sigma = torch.zeros(2), torch.tensor([-5.0, 5.0])
        >>> td.functional.log_normal_dropout(torch.ones(1, 2), mu, log_sigma, key=td.key(0)).shape
        torch.Size([1, 2])
        >>> td.functional.log_normal_dropout(torch.ones(1, 2), mu, log_sigma, False)
        tensor([[0.9946, 0.0000]])
    """
    _check_arguments("log_normal_dropout", per, low, high, snr_threshold)
    return _apply("log_normal_dropout", input, mu, log_sigma, training, dim, per, (low, high), snr_threshold, key)


def _check_arguments(owner: str, per: str, low: float, high: float, snr_threshold: float) -> None:
    check_choice(owner, "per", per, ("batch", "example"))
    check_number(owner, "low", low, "in [-100, 0)", lambda value: -100 <= value < 0)
    check_number(owner, "high", high, "in [low + 0.1, 10]", lambda value: low + 0.1 <= value <= 10)
    check_number(owner, "snr_threshold", snr_threshold, "at least 0", lambda value: value >= 0)


def _apply(
    owner: str,
    x: Tensor,
    mu: Tensor,
    log_sigma: Tensor,
    noisy: bool,
    dim: int,
    per: Per,
    bounds: tuple[float, float],
    snr_threshold: float,
    key: Tensor | None,
) -> Tensor:
    check_floating(owner, x)
    features = mu.shape[0]
    if not -x.dim() <= dim < x.dim() or x.shape[dim] != features:
        raise ValueError(f"{owner}: the input's axis {dim} must have size {features}, got {tuple(x.shape)}.")
    shape = [1] * x.dim()
    shape[dim] = features
    if noisy:
        draws = _draw_shape(owner, x, dim, per, features)
        key = rng.shared(key) if per == "batch" else key
        gate = _sample(mu, log_sigma, bounds, uniform(draws, key, mu))
        shape[0] = shape[0] if len(draws) == 1 else draws[0]
    else:
        gate = _mean(mu, log_sigma, bounds)
        gate = gate.masked_fill(_snr(mu, log_sigma, bounds) <= snr_threshold, 0.0)
    if gate.dim() == 1:
        return ops.gate(x, gate.to(x.dtype), dim)
    return x * gate.to(x.dtype).view(shape)


def _draw_shape(owner: str, x: Tensor, dim: int, per: Per, features: int) -> list[int]:
    if per == "batch":
        return [features]
    if dim % x.dim() == 0:
        raise ValueError(f"{owner}: the input must have a batch axis before its channels, got {tuple(x.shape)}.")
    return [x.shape[0], features]


def _settle(mu: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The parameters in use: clamped, the deviation itself, in float64; there are few of them."""
    return projected_clamp(mu.double(), *_RANGE), projected_clamp(log_sigma.double(), *_RANGE).exp()


def _sample(mu: Tensor, log_sigma: Tensor, bounds: tuple[float, float], u: Tensor) -> Tensor:
    return truncated.draw(*_settle(mu, log_sigma), *bounds, u.double()).exp()


def _mean(mu: Tensor, log_sigma: Tensor, bounds: tuple[float, float]) -> Tensor:
    return truncated.log_moment(*_settle(mu, log_sigma), *bounds, 1.0).exp()


def _snr(mu: Tensor, log_sigma: Tensor, bounds: tuple[float, float]) -> Tensor:
    arguments = *_settle(mu, log_sigma), *bounds
    relative = truncated.log_moment(*arguments, 2.0) - 2 * truncated.log_moment(*arguments, 1.0)
    return torch.expm1(relative.clamp(min=_SMALLEST)).rsqrt()


class LogNormalDropout(nn.Module):
    """Multiplies each channel by a learned random gate; channels whose gate is mostly noise are removed.

    `y = x * theta`, `log theta ~ Normal(mu, sigma**2)` truncated to `[low, high]`, with `mu` and `log sigma` learned
    for each channel. At test time `y = x * E[theta]`, zero where `E[theta] / sqrt(Var[theta]) <= snr_threshold`.

    Place it after a convolution or linear layer, before its nonlinearity; start from a trained network. Add `kl()`,
    divided by the number of training examples, to a mean loss in nats, and do not decay the weights. A widely copied
    survey calls this variational dropout; its prior, unlike that one's, is proper.

    Training and eval compute only with channels (in float64), except for one multiplication of the input.

    Noise | Shared | Target | At test time: truncated log-normal | all but the channel | feature maps | times the mean

    Args:
        num_features: The number of channels or units.
        dim: Their axis; -1 for the units of `(..., F)`.
        per: What one draw of a channel covers: the `"batch"`, as in the authors' code, or an `"example"`.
        low: The lower bound of the log of a gate.
        high: The upper bound.
        snr_threshold: The ratio of a gate's mean to its deviation up to which its channel is removed.
        device: Where the parameters live.
        dtype: The parameters' dtype.

    Shape:
        Any with `num_features` at axis `dim`; the output has the input's.

    Raises:
        ValueError: An argument is out of range, or the input's axis `dim` has another size.
        TypeError: The input is not floating point, or an argument no number.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.LogNormalDropout(2)
        >>> layer(torch.ones(1, 2), key=td.key(0))
        tensor([[0.9990, 0.9943]], grad_fn=<MulBackward0>)
        >>> layer.mask
        tensor([True, True])

    Reference:
        K. Neklyudov, D. Molchanov, A. Ashukha, D. Vetrov. Structured Bayesian Pruning via Log-Normal Multiplicative
        Noise. NIPS 2017, arXiv:1705.07283, section 3 and appendix.

    Deviation: draws are not clipped to the quantiles 1e-5 and 1 - 1e-5. Where a parameter is outside [-20, 5], which
    clamps it, its gradient passes if it points back inside. The ratio in `snr()` stops at 1e7.
    """

    def __init__(
        self,
        num_features: int,
        dim: int = 1,
        *,
        per: Per = "batch",
        low: float = -20.0,
        high: float = 0.0,
        snr_threshold: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_number("LogNormalDropout", "num_features", num_features, "at least 1", lambda value: value >= 1)
        _check_arguments("LogNormalDropout", per, low, high, snr_threshold)
        self.num_features, self.dim, self.per, self.low, self.high = num_features, dim, per, low, high
        self.snr_threshold = snr_threshold
        self.mu = nn.Parameter(torch.zeros(num_features, device=device, dtype=dtype))
        self.log_sigma = nn.Parameter(torch.full((num_features,), -5.0, device=device, dtype=dtype))

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training; in eval times the mean gate."""
        owner, bounds = "LogNormalDropout", (self.low, self.high)
        parameters = self.mu, self.log_sigma
        return _apply(owner, input, *parameters, self.training, self.dim, self.per, bounds, self.snr_threshold, key)

    def mean(self) -> Tensor:
        """The mean of each channel's gate."""
        return self._cast(_mean(self.mu, self.log_sigma, (self.low, self.high)))

    def snr(self) -> Tensor:
        """The ratio of the mean to the deviation of each channel's gate."""
        return self._cast(_snr(self.mu, self.log_sigma, (self.low, self.high)))

    @property
    def mask(self) -> Tensor:
        """A boolean tensor, one value a channel: False where eval mode removes it."""
        with torch.no_grad():
            return ~(_snr(self.mu, self.log_sigma, (self.low, self.high)) <= self.snr_threshold)

    def kl(self) -> Tensor:
        """The divergence of the gates from the log-uniform prior on `[low, high]`: a sum in nats, 0-d."""
        settled = _settle(self.mu, self.log_sigma)
        return self._cast(truncated.divergence(*settled, self.low, self.high).sum())

    def _cast(self, value: Tensor) -> Tensor:
        return value.to(torch.promote_types(self.mu.dtype, torch.float32))

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return self.per

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"{self.num_features}, dim={self.dim}, per={self.per!r}, snr_threshold={self.snr_threshold}"
