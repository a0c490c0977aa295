"""Many small nets at once: dropout, 50 ReLU units, dropout, a linear output; each has its own data, masks and decay.

The nets share a dropout rate. Every draw of a net, from the weights it begins with to its masks, is a function of its
own key, so it learns the same beside others as alone.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import torchdropout as td

HIDDEN, BATCH = 50, 128
ROWS = 4096  # of a batch of noisy passes


@dataclass
class Nets:
    """The weights of `n` nets with `F` inputs.

    Attributes:
        p: The dropout rate of all.
        keys: `(n, 2)`.
        decay: The weight of the squared weights in the loss, `(n,)`.
        weights: `(n, F, H)`, `(n, 1, H)`, `(n, 1, H)` and `(n, 1)`: hidden weights and biases, then the output's.
        optimizer: Adam with the settings of Keras, which the published runs have.
        epoch: How many epochs were trained.
    """

    p: float
    keys: Tensor
    decay: Tensor
    weights: list[Tensor]
    optimizer: torch.optim.Optimizer
    epoch: int = 0


def begin(features: int, p: float, keys: Tensor, decay: Tensor) -> Nets:
    """Nets before training, with Glorot's uniform weights and no biases."""
    n = len(keys)
    first, second = torch.empty(n, features, HIDDEN), torch.empty(n, 1, HIDDEN)
    for number in range(n):
        generator = _generator(keys[number], 0)
        _glorot(first[number], features + HIDDEN, generator)
        _glorot(second[number], HIDDEN + 1, generator)
    weights = [first, torch.zeros(n, 1, HIDDEN), second, torch.zeros(n, 1)]
    optimizer = torch.optim.Adam(weights, lr=0.001, eps=1e-7, fused=True)
    return Nets(p, keys, decay, weights, optimizer)


def _generator(key: Tensor, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed((int(key[0]) + epoch) & 0xFFFFFFFF)


def _glorot(weight: Tensor, fans: int, generator: torch.Generator) -> None:
    bound = math.sqrt(6.0 / fans)
    weight.uniform_(-bound, bound, generator=generator)


def epoch(nets: Nets, x: Tensor, y: Tensor) -> None:
    """One pass over the data `(n, N, F)` and `(n, N)`, in batches of an order of each net's own."""
    nets.epoch += 1
    count, steps = x.shape[1], -(-x.shape[1] // BATCH)
    order = torch.stack([torch.randperm(count, generator=_generator(key, nets.epoch)) for key in nets.keys])
    rows = (order + torch.arange(len(x)).unsqueeze(1) * count).flatten()
    x, y = x.flatten(0, 1)[rows].view_as(x), y.flatten()[rows].view_as(y)
    for step in range(steps):
        part = slice(step * BATCH, (step + 1) * BATCH)
        _step(nets, x[:, part].contiguous(), y[:, part], (nets.epoch - 1) * steps + step)


def _step(nets: Nets, x: Tensor, y: Tensor, number: int) -> None:
    """The gradient of each net's mean squared error plus `decay` times its squared weights, and a step of Adam."""
    w1, b1, w2, b2 = nets.weights
    inputs, hidden_keys = mask_keys(nets.keys, number)
    x = td.functional.dropout(x, nets.p, key=inputs)
    h = torch.baddbmm(b1, x, w1).relu_()
    h = td.functional.dropout(h, nets.p, inplace=True, key=hidden_keys)
    slope = torch.baddbmm(b2.unsqueeze(-1), h, w2.mT).sub_(y.unsqueeze(-1)).mul_(2.0 / y.shape[1])
    back = td.functional.dropout(slope * w2, nets.p, inplace=True, key=hidden_keys)
    back = torch.ops.aten.threshold_backward(back, h, 0.0)
    decay = 2.0 * nets.decay.view(-1, 1, 1)
    w1.grad = torch.baddbmm(decay * w1, x.mT, back)
    b1.grad = back.sum(1, keepdim=True)
    w2.grad = torch.baddbmm(decay * w2, slope.mT, h)
    b2.grad = slope.sum(1)
    nets.optimizer.step()


def mask_keys(keys: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The keys of a step's masks of the inputs and of the hidden units."""
    return keys + torch.tensor([0, 2 * step]), keys + torch.tensor([0, 2 * step + 1])


class Scale(nn.Module):
    """Gives a net's output the units of the data."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean


def module(nets: Nets, number: int, mean: float = 0.0, std: float = 1.0) -> nn.Sequential:
    """One of the nets as an ordinary model."""
    w1, b1, w2, b2 = (weight[number] for weight in nets.weights)
    first, second = nn.Linear(len(w1), HIDDEN), nn.Linear(HIDDEN, 1)
    with torch.no_grad():
        first.weight.copy_(w1.T)
        first.bias.copy_(b1[0])
        second.weight.copy_(w2)
        second.bias.copy_(b2)
    return nn.Sequential(td.Dropout(nets.p), first, nn.ReLU(), td.Dropout(nets.p), second, Scale(mean, std))


def train(nets: Nets, x: Tensor, y: Tensor, epochs: int, file: Path, every: float = 30.0) -> None:
    """Train to so many epochs, from where the file's checkpoint stands; it is renewed every so many seconds."""
    if file.exists():
        _restore(nets, file)
    saved = time.perf_counter()
    while nets.epoch < epochs:
        epoch(nets, x, y)
        if time.perf_counter() - saved > every or nets.epoch == epochs:
            _save(nets, file)
            saved = time.perf_counter()
            print(f"{file}: epoch {nets.epoch:,} of {epochs:,}", file=sys.stderr, flush=True)


def _save(nets: Nets, file: Path) -> None:
    part = file.with_suffix(".part")
    torch.save({"epoch": nets.epoch, "weights": nets.weights, "optimizer": nets.optimizer.state_dict()}, part)
    part.replace(file)


def _restore(nets: Nets, file: Path) -> None:
    found = torch.load(file, weights_only=True)
    for weight, stored in zip(nets.weights, found["weights"], strict=True):
        weight.copy_(stored)
    nets.optimizer.load_state_dict(found["optimizer"])
    nets.epoch = found["epoch"]


@torch.no_grad()
def log_likelihood(model: nn.Module, x: Tensor, y: Tensor, tau: float, samples: int, key: Tensor) -> Tensor:
    """The log of the mean density of each target `(V,)` over noisy passes, many of which are one batch."""
    at_once = min(samples, -(-ROWS // len(x)))
    total = torch.full_like(y, -math.inf)
    with td.keyed(key), td.sampling(model):
        for done in range(0, samples, at_once):
            count = min(at_once, samples - done)
            drawn = model(x.repeat(count, 1)).view(count, -1)
            total = torch.logaddexp(total, (-0.5 * tau * (y - drawn).square()).logsumexp(0))
    return total - math.log(samples) + 0.5 * math.log(tau / (2.0 * math.pi))
