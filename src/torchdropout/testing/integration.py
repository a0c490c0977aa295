"""Numerical integration with fixed Gauss-Legendre panels, and the distributions that it gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def panels(edges: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights over panels with these edges, 32 nodes each."""
    ends = np.unique(np.asarray(edges, dtype=np.float64))
    middle, half = (ends[1:] + ends[:-1]) / 2.0, (ends[1:] - ends[:-1]) / 2.0
    return (middle[:, None] + half[:, None] * _NODES).ravel(), (half[:, None] * _WEIGHTS).ravel()


def integral(f: Function, edges: Sequence[float]) -> float:
    """The integral of a function over panels with these edges."""
    x, w = panels(edges)
    return float((f(x) * w).sum())


def graded(centre: float, reach: float, levels: int = 60) -> list[float]:
    """Edges that halve their distance to `centre` again and again: for a singularity or a peak there."""
    steps = reach * 0.5 ** np.arange(levels)
    return [*(centre - steps), centre, *(centre + steps[::-1])]


def log_uniform_divergence(log_alpha: float) -> float:
    """The divergence of Normal(theta, alpha theta**2) from the log-uniform prior, which vanishes as alpha grows.

    It is `E ln|1 + sqrt(alpha) z| - ln(alpha) / 2 - E ln|z|`, by the integral over `z`; the prior is improper, so the
    constant is a convention: the one by which pure noise costs nothing.
    """
    root = float(np.exp(0.5 * log_alpha))
    edges = sorted({*graded(-1.0 / root, 50.0), *graded(0.0, 50.0), *np.linspace(-40.0, 40.0, 81)})
    inside = [z for z in edges if abs(z) <= 40.0]

    def excess(z: NDArray[np.float64]) -> NDArray[np.float64]:
        logs = np.log(np.maximum(np.abs(1.0 / root + z), 1e-300)) - np.log(np.maximum(np.abs(z), 1e-300))
        density: NDArray[np.float64] = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
        product: NDArray[np.float64] = density * logs
        return product

    return integral(excess, inside)


def truncated_normal(mu: float, sigma: float, low: float, high: float) -> tuple[NDArray[np.float64], ...]:
    """Nodes, weights that sum to one, and the log density there, of a normal between two bounds."""
    peak = min(max(mu, low), high)
    width = min(sigma, sigma**2 / max(abs(mu - peak), 1e-300))
    near = [centre + width * step for centre in (low, peak, high) for step in (*range(-40, 41), *graded(0.0, 1e4, 30))]
    x, w = panels([low, high, *(edge for edge in near if low < edge < high)])
    energy = ((x - peak) * (x + peak - 2.0 * mu)) / (2.0 * sigma**2)  # of the point, minus that of the peak
    mass = float((w * np.exp(-energy)).sum())
    return x, w * np.exp(-energy) / mass, -energy - np.log(mass)


def normal_line(*kinks: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights for one standard normal, for functions with kinks at these places."""
    x, w = panels([*np.linspace(-12.0, 12.0, 13), *kinks])
    weights = w * np.exp(-0.5 * x * x)
    return torch.tensor(x), torch.tensor(weights / weights.sum())


def masks(shape: Sequence[int], keep: float | Tensor) -> tuple[Tensor, Tensor]:
    """All masks of a shape, `(2**n, *shape)`, and their probabilities; `keep` is a number or one for each element."""
    count = int(np.prod(shape))
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=count)), dtype=torch.float64)
    each = torch.as_tensor(keep, dtype=torch.float64).flatten()
    return bits.view(-1, *shape), torch.where(bits == 1.0, each, 1.0 - each).prod(1)


def normals(count: int, order: int = 6) -> tuple[Tensor, Tensor]:
    """Nodes `(order**count, count)` and weights for independent standard normals, exact up to degree 2 order - 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    every = torch.tensor(list(itertools.product(nodes, repeat=count)), dtype=torch.float64)
    of_each = torch.tensor(list(itertools.product(weights / weights.sum(), repeat=count)), dtype=torch.float64)
    return every, of_each.prod(1)
