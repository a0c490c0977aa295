"""What is checked: a layer's factory, an input that fits it, and what is declared of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from torchdropout.testing.claims import Claim

Factory = Callable[[], nn.Module]
Probe = Callable[[nn.Module, int], Tensor]


@dataclass(frozen=True)
class Expectation:
    """A small layer, and everything that it can return in training.

    Attributes:
        factory: Makes the layer.
        input: One example, or a whole batch if `batch` is 1.
        outcomes: `(K, ...)`: all outputs, by enumeration of the masks; or the outputs at the nodes of a quadrature.
        weights: `(K,)`: their probabilities, or the weights of the quadrature.
        test: What eval returns; None: the mean of the outcomes.
        within: How far the eval output may be from that.
        bounded: Whether the outcomes are all that can happen; False for a quadrature.
        batch: How many copies of the example one call is given, whose noise is independent.
        calls: How many calls.
    """

    factory: Factory
    input: Tensor
    outcomes: Tensor
    weights: Tensor
    test: Tensor | None = None
    within: float = 1e-5
    bounded: bool = True
    batch: int = 4096
    calls: int = 4


@dataclass(frozen=True)
class Divergence:
    """A setting of a layer's parameters, and the divergence there by numerical integration.

    Attributes:
        factory: Makes the layer with its parameters set, in float64.
        nats: What `kl()` must return.
        within: The tolerance: 1e-6 for a closed form, the published deviation for a fitted one.
        what: The setting in words.
    """

    factory: Factory
    nats: float
    within: float = 1e-6
    what: str = ""


@dataclass(frozen=True)
class Twin:
    """The noiseless layer that a method becomes when its noise vanishes.

    All three are made under the same seed, and must then have the same weights.

    Attributes:
        noiseless: Makes the twin.
        quiet: Makes the layer at its zero-noise limit.
        noisy: Makes the layer with noise; None: the case's factory.
    """

    noiseless: Factory
    quiet: Factory
    noisy: Factory | None = None


@dataclass(frozen=True)
class Case:
    """One run of the suite.

    Attributes:
        factory: Makes the layer, with noise neither off nor total.
        input: A tensor that the layer takes, batch first.
        claim: What its noise is; None leaves the distribution unchecked.
        backend: The `torch.compile` backend; None leaves compilation unchecked.
        elementwise: Whether the output has the input's shape, dtype and strides and, for one noise, is linear in it.
        resizes: Whether training returns another shape than eval.
        recurrent: Whether it holds one of PyTorch's recurrent layers, which the compiler takes only when told to.
        probe: The draws that `claim` is about, for a layer in training mode and a seed; None: the output for ones.
        remake: Makes the layer of another strength; None: `p` is its first argument, if it has one.
        bad: Strengths that must be refused.
        expected: What training returns, and eval, exactly.
        divergences: What `kl()` returns, by numerical integration.
        extremes: Settings of the parameters at which all values and gradients must be finite, by what they are.
        twin: The noiseless layer.
    """

    factory: Factory
    input: Tensor
    claim: Claim | None = None
    backend: str | None = "aot_eager"
    elementwise: bool = True
    resizes: bool = False
    recurrent: bool = False
    probe: Probe | None = None
    remake: Callable[[float], nn.Module] | None = None
    bad: tuple[float, ...] = (-0.25, 1.5, float("nan"))
    expected: tuple[Expectation, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    extremes: Mapping[str, Callable[[nn.Module], object]] = field(default_factory=dict)
    twin: Twin | None = None

    @property
    def is_floating(self) -> bool:
        """Whether the input has a gradient; numbers of words have none."""
        return self.input.is_floating_point()

    def at(self, strength: float) -> nn.Module | None:
        """The layer of another strength, or None where there is no way to make it."""
        if self.remake is not None:
            return self.remake(strength)
        layer = self.factory()
        first = next(iter(inspect.signature(type(layer)).parameters), None)
        return type(layer)(strength) if first == "p" and hasattr(layer, "p") else None


def noisy(layer: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    """The output in training mode under one seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return layer.train()(x)  # type: ignore[no-any-return]


def takes_key(layer: nn.Module) -> bool:
    """Whether `forward` has an argument `key`, as the layers of this package have."""
    return "key" in inspect.signature(layer.forward).parameters


def leaves(layer: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The input, and all that has a gradient: itself, if it is floating point, and the parameters."""
    x = x.clone().requires_grad_() if x.is_floating_point() else x
    return x, [t for t in (x, *layer.parameters()) if t.requires_grad]


def gradients(y: Tensor, of: list[Tensor]) -> list[Tensor]:
    """The gradients of the sum of squares; zeros where there is no path."""
    found = torch.autograd.grad(y.square().sum(), of, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(of, found, strict=True)]


def require(condition: bool, message: str) -> None:
    """Fail with a sentence."""
    if not condition:
        raise AssertionError(message)


def same(left: Tensor, right: Tensor) -> bool:
    """Equal, a NaN counting as equal to a NaN."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return torch.equal(left, right) or torch.equal(left.nan_to_num(nan=17.0), right.nan_to_num(nan=17.0))


def close(left: Tensor, right: Tensor, within: float = 1e-5) -> bool:
    """Equal up to rounding in float32, a NaN counting as equal to a NaN."""
    return left.shape == right.shape and torch.allclose(left, right, rtol=within, atol=within, equal_nan=True)
