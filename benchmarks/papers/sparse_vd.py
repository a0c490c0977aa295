"""LeNet-300-100 with sparse variational weights on MNIST: error, sparsity by layer and compression, beside the paper's.

D. Molchanov, A. Ashukha, D. Vetrov, Variational Dropout Sparsifies Deep Neural Networks, ICML 2017, arXiv:1701.05369,
table 2, and the authors' code: means from Normal(0, 0.01**2), log sigma**2 = -10, means clipped in training too, Adam
in batches of 100 at 0.001, constant for half of the training and then linear to 0; the divergence has the weight 0 for
five epochs, which then grows to 1 in fifteen. The paper takes 200 epochs of 60,000 images; here `--epochs` shortens
it, and the two other spans in proportion to the number of steps.

TORCHDROPOUT_DATA=folder python benchmarks/papers/sparse_vd.py [--epochs 70] [--seed 0] [--threads N]
"""

from __future__ import annotations

import argparse
import itertools
import math
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.study import datasets

WIDTHS = (784, 300, 100, 10)
PAPER = {"error": 1.92, "layers": (98.9, 97.2, 62.0), "compression": 68.0}
PAPER_STEPS, QUIET, RAMP = 200 * 600, 5 * 600, 15 * 600  # steps of the paper, without the divergence, and of its growth


def network() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(WIDTHS):
        layer = td.SparseVariationalLinear(before, after, train_clip=True)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def sparse(model: nn.Module) -> list[td.SparseVariationalLinear]:
    return [module for module in model if isinstance(module, td.SparseVariationalLinear)]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    steps, step = epochs * math.ceil(len(x) / 100), 0
    share = steps / PAPER_STEPS
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(x), generator=generator).split(100):
            weight = min(1.0, max(0.0, (step - share * QUIET) / (share * RAMP)))
            optimizer.param_groups[0]["lr"] = 0.001 * min(1.0, 2.0 * (1.0 - step / steps))
            loss = F.cross_entropy(model(x[batch]), y[batch])
            if weight:
                loss = loss + weight / len(x) * sum(layer.kl() for layer in sparse(model))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
        if epoch % max(1, epochs // 10) == 0:
            kept = ", ".join(f"{100 * layer.sparsity():.1f}" for layer in sparse(model))
            print(f"epoch {epoch}: training loss {loss.item():.4f}, sparsity {kept} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=70)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    data = datasets.load("mnist")
    x, y, test_x, test_y = (
        torch.tensor(part) for part in (data.inputs, data.targets, data.test_inputs, data.test_targets)
    )
    scale = 255.0 if x.max() > 1 else 1.0
    x, test_x = x.float() / scale, test_x.float() / scale
    model, start = network(), time.perf_counter()
    train(model, x, y, arguments.epochs, arguments.seed)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        error = 100 * float((model.eval()(test_x).argmax(1) != test_y).double().mean())
    layers = sparse(model)
    total = sum(layer.weight.numel() for layer in layers)
    left = sum(int(layer.mask.sum()) for layer in layers)
    print(f"\n{len(x):,} images, {arguments.epochs} epochs, seed {arguments.seed}, {seconds:.0f} s\n")
    print("| | paper | here |\n|---|---|---|")
    print(f"| test error | {PAPER['error']:.2f} % | {error:.2f} % |")
    for layer, there in zip(layers, PAPER["layers"], strict=True):
        shape = f"{layer.in_features}-{layer.out_features}"
        print(f"| sparsity of {shape} | {there:.1f} % | {100 * layer.sparsity():.1f} % |")
    print(f"| sparsity in all | {100 - 100 / PAPER['compression']:.1f} % | {100 * (1 - left / total):.1f} % |")
    print(f"| weights / weights left | {PAPER['compression']:.0f} | {total / left:.0f} |")


if __name__ == "__main__":
    main()
