"""Compression by learned noise beside its papers and beside magnitude pruning of the same size and training budget.

MNIST. Sparse variational dropout (Molchanov, Ashukha, Vetrov, ICML 2017, arXiv:1701.05369, tables 2 and 3) on
LeNet-300-100 and LeNet-5; log-normal gates (Neklyudov, Molchanov, Ashukha, Vetrov, NIPS 2017, arXiv:1705.07283,
table 1) on LeNet-500-300 and LeNet-5, started from trained weights. Magnitude pruning trains as many steps: half, then
it removes the smallest weights, or the units with the smallest norms, until as many are left, and trains the other half
with the zeros fixed. The size is that of `save_compact`'s file of the shrunk model, the latency that of 64 images.

Then, without data: by how much the latency falls where pruned channels are taken out of a wide MLP and of a CNN.

The papers train 200 epochs. `--minutes` shortens all trainings to what fits, the spans of the schedules in proportion
and the rate of the noise's parameters raised, and says how far it got. Trainings are saved in --out and go on after an
interruption; a finished one is not repeated. Deviation: weights start as PyTorch's layers do, and gates of the dense
network's pixels as all gates.

TORCHDROPOUT_DATA=folder python benchmarks/papers/compression.py [--minutes 15] [--threads N] [--out runs/compression]
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import torch
from _compression_nets import (
    BATCH,
    EPOCHS,
    NETWORKS,
    Network,
    layers,
    mnist,
    noisy_training,
    of_equal_size,
    plain_training,
    prepared,
    seconds_of_a_step,
)  # fmt: skip
from torch import Tensor, nn

import torchdropout as td
from torchdropout.compression.compact import packed

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        wrong = sum(
            int((model.eval()(a).argmax(1) != b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True)
        )
    return 100 * wrong / len(x)


def left(network: Network, pruned: nn.Module) -> str:
    """How many times fewer weights, or what units are left: of the inputs of the first linear layer, and of layers."""
    found = layers(pruned)
    if network.method == "sparse-variational":
        total = sum(module.weight.numel() for module in found)
        return f"{total / sum(int(module.weight.count_nonzero()) for module in found):.0f} times"
    units = [int(module.weight.flatten(1).any(1).sum()) for module in found[:-1]]
    at = next(n for n, module in enumerate(found) if isinstance(module, nn.Linear))
    units.insert(at, int(found[at].weight.any(0).sum()))
    return "-".join(map(str, units))


def row(network: Network, pruned: nn.Module, dense: nn.Module, data: Data) -> dict[str, object]:
    small = td.shrink(pruned, data[0][:8])
    costs = td.compression_report(dense, small, data[0][:64], seconds=1.0)
    return {
        "error": error(pruned, *data[2:]), "left": left(network, pruned), "bytes": len(packed(small)),
        "dense": costs.before.bytes, "flops": costs.before.flops / costs.after.flops,
        "latency": (costs.before.latency_64, costs.after.latency_64),
    }  # fmt: skip


def run(network: Network, data: Data, folder: Path, minutes: float | None) -> dict[str, object]:
    """One network by noise and by magnitude; what is in the folder is not done again."""
    path = folder / f"{network.name}.json"
    if path.exists():
        return json.loads(path.read_text())
    print(network.name, flush=True)
    training = data[:2]
    steps = _steps(network, training, folder, minutes)
    model, before = prepared(network, steps, folder, training)
    noisy_training(model, network, steps - before, folder / f"{network.name} noise.pt", training)
    td.prune_(model)
    torch.manual_seed(0)
    trained = network.make()
    dense = copy.deepcopy(trained)
    plain_training(trained, steps // 2, folder / f"{network.name} before.pt", training)
    other = of_equal_size(network, model, trained)
    if network.method == "log-normal":
        other = td.shrink(other, data[0][:8])
    plain_training(other, steps - steps // 2, folder / f"{network.name} magnitude.pt", training)
    found = {
        "epochs": steps * BATCH / len(data[0]), "noise": row(network, model, dense, data),
        "magnitude": row(network, other, dense, data),
    }  # fmt: skip
    path.write_text(json.dumps(found, indent=2))
    return found


def _steps(network: Network, training: tuple[Tensor, Tensor], folder: Path, minutes: float | None) -> int:
    """The papers' number of steps, or what fits into the network's share of the minutes; kept for a resumed run."""
    path = folder / f"{network.name} steps.json"
    if not path.exists():
        steps = EPOCHS * len(training[0]) // BATCH
        if minutes is not None:
            noisy = network.make()
            td.sparsify_(noisy, network.method)  # type: ignore[arg-type]
            seconds = seconds_of_a_step(noisy, *training) + seconds_of_a_step(network.make(), *training)
            seconds /= torch.get_num_threads()
            steps = min(steps, max(600, int(60 * minutes * network.share / seconds)))
        path.write_text(json.dumps(steps))
    return int(json.loads(path.read_text()))


def without_channels(model: nn.Module, part: float) -> nn.Module:
    """A copy whose layers but the last one lack the outputs with the smallest norms."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for module in layers(twin)[:-1]:
            norms = module.weight.flatten(1).norm(dim=1)
            gone = norms.argsort()[: int(part * len(norms))]
            module.weight[gone], module.bias[gone] = 0.0, 0.0
    return twin


def wide() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    mlp = nn.Sequential(
        nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(),
        nn.Linear(2048, 10),
    )  # fmt: skip
    cnn = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return {
        "MLP 1024-2048-2048-2048-10": (mlp, torch.randn(64, 1024)),
        "CNN 64-128-128": (cnn, torch.randn(64, 3, 24, 24)),
    }


def latencies() -> None:
    heads = ("64 examples of", "channels removed", "operations, times less", "ms before", "ms after", "times less")
    print(f"\n| {' | '.join(heads)} | at least half as many |")
    print("|---|---|---|---|---|---|---|")
    for name, (model, x) in wide().items():
        for part in (0.5625, 0.625, 0.6875):  # numbers of channels that processors like
            small = td.shrink(without_channels(model, part), x[:4])
            found = td.compression_report(model, small, x, seconds=4.0)
            k, faster = found.before.flops / found.after.flops, found.before.latency_64 / found.after.latency_64
            cells = (f"{k:.1f}", f"{found.before.latency_64:.1f}", f"{found.after.latency_64:.1f}", f"{faster:.1f}")
            print(f"| {name} | {part:.0%} | {' | '.join(cells)} | {'yes' if faster >= k / 2 else 'no'} |", flush=True)


def table(results: dict[str, dict]) -> None:
    heads = ("network", "by", "epochs", "test error", "paper", "left", "paper", "bytes", "times less")
    print(f"\n| {' | '.join(heads)} | operations, times less | ms | ms dense |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for network in NETWORKS:
        found = results[network.name]
        for kind in ("noise", "magnitude"):
            each = found[kind]
            paper = (f"{network.error:.2f} %", network.leaves) if kind == "noise" else ("", "")
            by = network.method if kind == "noise" else "magnitude"
            print(
                f"| {network.name} | {by} | {found['epochs']:.1f} of {EPOCHS} | {each['error']:.2f} % | {paper[0]} | "
                f"{each['left']} | {paper[1]} | {each['bytes']:,} | {each['dense'] / each['bytes']:.0f} | "
                f"{each['flops']:.1f} | {each['latency'][1]:.2f} | {each['latency'][0]:.2f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=None, help="shorten all trainings to what fits")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("runs/compression"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    start, data = time.perf_counter(), mnist()
    results = {each.name: run(each, data, arguments.out, arguments.minutes) for each in NETWORKS}
    table(results)
    latencies()
    print(f"\n{time.perf_counter() - start:.0f} s on {arguments.threads} threads")


if __name__ == "__main__":
    main()
