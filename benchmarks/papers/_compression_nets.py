"""The networks of `compression.py`, how they are trained, and what magnitude pruning leaves of the same ones."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

import torchdropout as td
from torchdropout.study import datasets

BATCH, EPOCHS = 100, 200  # the papers'
REACH = 20.0  # how far the logs of variances can go in a shortened training, by a larger rate of theirs


def lenet_300_100() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def lenet_500_300() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 300), nn.ReLU(), nn.Linear(300, 10)
    )


def lenet_5() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Network:
    """One row: the network, the noise, the paper's error in percent, and what the paper leaves."""

    name: str
    make: Callable[[], nn.Sequential]
    method: str
    error: float
    leaves: str
    share: float  # of the time of a shortened run


NETWORKS = (
    Network("LeNet-300-100", lenet_300_100, "sparse-variational", 1.92, "68 times", 0.15),
    Network("LeNet-5", lenet_5, "sparse-variational", 0.75, "280 times", 0.35),
    Network("LeNet-500-300", lenet_500_300, "log-normal", 1.55, "245-160-55", 0.25),
    Network("LeNet-5, gates", lenet_5, "log-normal", 0.86, "3-18-284-283", 0.25),
)


def mnist() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images as (examples, 1, 28, 28) in [0, 1], and labels: of training, of testing."""
    data = datasets.load("mnist")
    x, y, test_x, test_y = (
        torch.tensor(part) for part in (data.inputs, data.targets, data.test_inputs, data.test_targets)
    )
    scale = 255.0 if x.max() > 1 else 1.0
    return x.float().view(-1, 1, 28, 28) / scale, y, test_x.float().view(-1, 1, 28, 28) / scale, test_y


@dataclass(frozen=True)
class Stage:
    """A training: its file, the number of steps, the loss of a batch at a share of the training."""

    path: Path
    steps: int
    loss: Callable[[Tensor, Tensor, float], Tensor]


def train(stage: Stage, model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor]) -> None:
    """Train, saving after each epoch; what a file has is not done again, and the result is the same.

    The rate is constant for half of the steps and then falls to 0 evenly, as in both papers.
    """
    x, y = data
    step, rates = _resumed(stage, model, optimizer)
    while step < stage.steps:
        epoch = step // math.ceil(len(x) / BATCH)
        torch.manual_seed(1000 + epoch)
        for batch in torch.randperm(len(x)).split(BATCH):
            if step == stage.steps:
                break
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 2.0 * (1.0 - step / stage.steps))
            loss = stage.loss(x[batch], y[batch], step / stage.steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
        states = {"step": step, "rates": rates, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(states, stage.path.with_suffix(".new"))
        stage.path.with_suffix(".new").replace(stage.path)
    print(f"  {stage.path.stem}: {step} steps, {step * BATCH / len(x):.1f} epochs", flush=True)


def _resumed(stage: Stage, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[float]]:
    if not stage.path.exists():
        return 0, [group["lr"] for group in optimizer.param_groups]
    states = torch.load(stage.path, weights_only=True)
    model.load_state_dict(states["model"])
    optimizer.load_state_dict(states["optimizer"])
    return int(states["step"]), list(states["rates"])


def prepared(network: Network, steps: int, folder: Path, data: tuple[Tensor, Tensor]) -> tuple[nn.Sequential, int]:
    """The network with its noise, and how many steps it was trained before: gates start from trained weights."""
    torch.manual_seed(0)
    model = network.make()
    if network.method == "sparse-variational":
        td.sparsify_(model, train_clip=True)
        return model, 0
    plain_training(model, steps // 2, folder / f"{network.name} before.pt", data)
    at = [n for n, module in enumerate(model) if isinstance(module, nn.Flatten)][-1]
    units = next(module for module in model[at:] if isinstance(module, nn.Linear)).in_features
    td.sparsify_(model, "log-normal")
    model.insert(at + 1, td.LogNormalDropout(units, -1))  # of what is flattened: pixels, or maps
    return model, steps // 2


def plain_training(model: nn.Module, steps: int, path: Path, data: tuple[Tensor, Tensor]) -> None:
    """Train without noise; zeros stay."""
    optimizer = torch.optim.Adam(model.parameters(), 0.001)
    td.constrain_(optimizer, model, td.FixedZeros())
    train(Stage(path, steps, lambda x, y, _: F.cross_entropy(model(x), y)), model.train(), optimizer, data)


def noisy_training(model: nn.Module, network: Network, steps: int, path: Path, data: tuple[Tensor, Tensor]) -> None:
    """Train with learned noise; the divergence's weight is the authors', its spans as parts of the training."""
    betas = (0.95 if network.method == "log-normal" else 0.9, 0.999)
    groups = td.noise_param_groups(model, 0.001, max(0.001, REACH / steps))
    optimizer = torch.optim.Adam(groups, betas=betas)
    count = len(data[0])

    def loss(x: Tensor, y: Tensor, share: float) -> Tensor:
        warmup = td.kl_warmup(share * EPOCHS) if network.method == "sparse-variational" else 1.0
        return F.cross_entropy(model(x), y) + td.kl_loss(model, count, warmup)

    train(Stage(path, steps, loss), model.train(), optimizer, data)


def seconds_of_a_step(model: nn.Module, x: Tensor, y: Tensor, tries: int = 60) -> float:
    """The median processor time of a step with the divergence, on a copy; others on the machine do not lengthen it."""
    twin, times = copy.deepcopy(model).train(), []
    optimizer = torch.optim.Adam(twin.parameters(), 0.0)
    for _ in range(tries):
        start = time.process_time()
        loss = F.cross_entropy(twin(x[:BATCH]), y[:BATCH]) + td.kl_loss(twin, len(x))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(time.process_time() - start)
    return sorted(times)[tries // 2]


def layers(model: nn.Module) -> list[Any]:
    """The linear layers and convolutions."""
    return [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]


def of_equal_size(network: Network, pruned: nn.Module, trained: nn.Sequential) -> nn.Module:
    """A trained network without its smallest weights: as many are left as of the pruned one.

    Weights are compared across layers (`torch.nn.utils.prune.global_unstructured`); where gates removed units, as many
    units of each layer, and as many inputs of the first linear one, are left: those with the largest norms.
    """
    model = copy.deepcopy(trained)
    if network.method == "sparse-variational":
        gone = sum(int((module.weight == 0).sum()) for module in layers(pruned))
        targets = [(module, "weight") for module in layers(model)]
        prune.global_unstructured(targets, prune.L1Unstructured, amount=gone)
        for module, _ in targets:
            prune.remove(module, "weight")
        return model
    with torch.no_grad():
        for theirs, ours in zip(layers(pruned)[:-1], layers(model)[:-1], strict=True):
            small = _smallest(ours.weight.flatten(1).norm(dim=1), int(theirs.weight.flatten(1).any(1).sum()))
            ours.weight[small], ours.bias[small] = 0.0, 0.0
        theirs, ours = (next(m for m in layers(each) if isinstance(m, nn.Linear)) for each in (pruned, model))
        ours.weight[:, _smallest(ours.weight.norm(dim=0), int(theirs.weight.any(0).sum()))] = 0.0
    return model


def _smallest(norms: Tensor, keep: int) -> Tensor:
    return norms.argsort(descending=True)[keep:]
