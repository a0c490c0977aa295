"""One SGD step of three networks: without dropout, with a multiplication, PyTorch's dropout, ours; eager and compiled.

python benchmarks/training.py [--threads N] [--seconds S] [--skip-compiled]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import machine, medians, table
from torch import Tensor, nn

import torchdropout as td

Make = Callable[[float], nn.Module]


class Mul(nn.Module):
    """One multiplication in dropout's place: the limit that memory and the allocator set."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.factor = 1.0 / (1.0 - p)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


KINDS: dict[str, Make] = {"none": lambda _p: nn.Identity(), "mul": Mul, "torch": nn.Dropout, "ours": td.Dropout}


def mlp(dropout: Make) -> tuple[nn.Module, Tensor]:
    """784-256-256-10 with dropout at the input and after each hidden layer, batch 256."""
    layers = [dropout(0.2), nn.Linear(784, 256), nn.ReLU(), dropout(0.5), nn.Linear(256, 256), nn.ReLU(), dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(256, 784)


def cnn(dropout: Make) -> tuple[nn.Module, Tensor]:
    """Three convolutions on 32 x 32 x 3 with dropout after each, batch 64."""
    layers: list[nn.Module] = []
    for c_in, c_out in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(), dropout(0.2), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 10)), torch.randn(64, 3, 32, 32)


class Block(nn.Module):
    """A pre-norm encoder block with dropout on both residual branches and inside the feed-forward part."""

    def __init__(self, width: int, heads: int, dropout: Make) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), dropout(0.1), nn.Linear(4 * width, width), dropout(0.1)
        )
        self.dropout = dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv.unbind(0)).transpose(1, 2).reshape(n, t, width)
        x = x + self.dropout(self.out(attended))
        return x + self.feed(self.norm2(x))


class Pool(nn.Module):
    """The mean over time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def transformer(dropout: Make) -> tuple[nn.Module, Tensor]:
    """Two encoder blocks of width 128, four heads, 64 tokens, batch 16."""
    blocks = [Block(128, 4, dropout) for _ in range(2)]
    return nn.Sequential(dropout(0.1), *blocks, nn.LayerNorm(128), Pool(), nn.Linear(128, 10)), torch.randn(16, 64, 128)


NETWORKS = {"MLP 784-256-256-10": mlp, "CNN, 3 conv": cnn, "transformer, 2 layers": transformer}


def step(build: Callable[[Make], tuple[nn.Module, Tensor]], dropout: Make, compiled: bool) -> Callable[[], object]:
    """A function that makes one SGD step."""
    torch.manual_seed(0)
    model, x = build(dropout)
    y = torch.randint(10, (len(x),))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    forward = torch.compile(model, dynamic=False) if compiled else model

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(forward(x), y).backward()
        optimizer.step()

    return run


def row(name: str, compiled: bool, seconds: float) -> list[str]:
    """One network: milliseconds, then ratios."""
    torch.compiler.reset()  # else the limit on recompilations is shared by all networks
    t = medians({kind: step(NETWORKS[name], make, compiled) for kind, make in KINDS.items()}, seconds=seconds, row=6)
    ms = [f"{t[kind] * 1e3:.2f}" for kind in KINDS]
    ratios = [f"{t[kind] / t['none']:.2f}" for kind in ("mul", "torch", "ours")] + [f"{t['ours'] / t['torch']:.2f}"]
    return [name, "compiled" if compiled else "eager", *ms, *ratios]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=4.0, help="for each step of each row")
    parser.add_argument("--skip-compiled", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    header = ["network", "mode", *[f"{kind} ms" for kind in KINDS]]
    header += ["mul / none", "torch / none", "ours / none", "ours / torch"]
    modes = [False] if options.skip_compiled else [False, True]
    print(table(header, [row(name, compiled, options.seconds) for compiled in modes for name in NETWORKS]))


if __name__ == "__main__":
    main()
