"""One training step of recurrent layers: PyTorch's without dropout, ours with every kind, and the bare matrix products.

python benchmarks/recurrent.py [--threads N] [--seconds S] [--cells lstm,gru,rnn]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from _timing import machine, medians, table
from torch import Tensor, nn

import torchdropout as td

SHAPES = ((35, 20, 256, 256), (35, 20, 650, 650), (100, 64, 128, 128))
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
PLAIN = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
OURS = {"lstm": td.LSTM, "gru": td.GRU, "rnn": td.RNN}
ZONEOUT = {"lstm": td.Zoneout(cell=0.5, hidden=0.05), "gru": td.Zoneout(hidden=0.05), "rnn": td.Zoneout(hidden=0.05)}


def kinds(cell: str) -> dict[str, object]:
    found = {
        "variational": td.Variational(input=0.5, hidden=0.3),
        "variational, tied": td.Variational(input=0.5, hidden=0.3, tied=True),
        "weight drop": td.WeightDrop(0.5),
        "zoneout": ZONEOUT[cell],
    }
    if cell != "rnn":
        found["update, by step"] = td.UpdateDropout(0.25)
    if cell == "lstm":
        found["cell"] = td.CellDropout(0.25)
    return found


def step(module: nn.Module, x: Tensor) -> Callable[[], object]:
    parameters, grad = list(module.parameters()), torch.randn_like(module(x)[0])
    return lambda: torch.autograd.grad(module(x)[0], [x, *parameters], grad)


def products(cell: str, shape: tuple[int, ...]) -> Callable[[], object]:
    """The matrix products of a step, by PyTorch."""
    steps, rows, inputs, size = shape
    wide = GATES[cell] * size
    x, all_gates, states = (
        torch.randn(steps * rows, inputs),
        torch.randn(steps * rows, wide),
        torch.randn(steps * rows, size),
    )
    w_in, w, h, gates = (
        torch.randn(inputs, wide),
        torch.randn(size, wide),
        torch.randn(rows, size),
        torch.randn(rows, wide),
    )

    def run() -> None:
        x @ w_in
        for _ in range(steps):
            torch.mm(h, w)
        for _ in range(steps):
            torch.mm(gates, w.T)
        all_gates @ w_in.T, all_gates.T @ x, all_gates.T @ states

    return run


def rows_of(cell: str, shape: tuple[int, ...], seconds: float) -> tuple[list[list[str]], list[float]]:
    steps, rows, inputs, size = shape
    x = torch.randn(steps, rows, inputs, requires_grad=True)
    calls = {"plain": step(PLAIN[cell](inputs, size), x), "products": products(cell, shape)}
    calls |= {name: step(OURS[cell](inputs, size, recurrent=kind), x) for name, kind in kinds(cell).items()}
    t = medians(calls, seconds=seconds)
    ratios = {name: t[name] / t["plain"] for name in calls if name != "plain"}
    label = f"{cell} {shape}"
    return [[label, f"{1000 * t['plain']:.2f}", name, f"{ratio:.2f}"] for name, ratio in ratios.items()], [
        ratio for name, ratio in ratios.items() if name != "products"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=1.0, help="for each call")
    parser.add_argument("--cells", default="lstm,gru,rnn")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    lines, ratios = [], []
    for cell in options.cells.split(","):
        for shape in SHAPES:
            more, found = rows_of(cell, shape, options.seconds)
            lines, ratios = lines + more, ratios + found
    print(table(["(T, B, I, H)", "without dropout, ms", "kind", "ratio"], lines))
    print(f"\ngeometric mean of the kinds: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}")


if __name__ == "__main__":
    main()
