"""Gal's recurrent dropout three ways: this package's LSTM, a loop over `nn.LSTMCell`, and Keras 3 on torch.

A training step, float32, time major (Keras: batch first); the same rates everywhere. The loop is the one that people
write: one mask for inputs and one for states, drawn once a sequence. Keras takes `dropout` and `recurrent_dropout`.
Beside the times stands what each holds at its peak, against `nn.LSTM` without dropout.

python benchmarks/recurrent_peers.py [--threads N] [--seconds S]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import torch
from _memory import peak
from _timing import machine, medians, table
from torch import Tensor, nn

import torchdropout as td

SHAPES = ((35, 20, 256, 256), (35, 20, 650, 650), (100, 64, 128, 128))
INPUT, HIDDEN = 0.5, 0.3


class Loop(nn.Module):
    """The common hand-written loop."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(inputs, size)

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        batch, size = x.shape[1], self.cell.hidden_size
        of_x = torch.bernoulli(torch.full((batch, x.shape[2]), 1 - INPUT)) / (1 - INPUT)
        of_h = torch.bernoulli(torch.full((batch, size), 1 - HIDDEN)) / (1 - HIDDEN)
        h, c, outputs = torch.zeros(batch, size), torch.zeros(batch, size), []
        for step in x:
            h, c = self.cell(step * of_x, (h * of_h, c))
            outputs.append(h)
        return torch.stack(outputs), None


def keras(x: Tensor, size: int) -> Callable[[], object]:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras  # noqa: PLC0415 - the backend is chosen by the environment

    layer = keras.layers.LSTM(size, return_sequences=True, dropout=INPUT, recurrent_dropout=HIDDEN)
    rows = x.detach().transpose(0, 1).contiguous().requires_grad_()
    grad = torch.randn(rows.shape[0], rows.shape[1], size)
    layer(rows, training=True)
    parameters = [weight.value for weight in layer.trainable_weights]
    return lambda: torch.autograd.grad(layer(rows, training=True), [rows, *parameters], grad)


def step(module: nn.Module, x: Tensor) -> Callable[[], object]:
    parameters, grad = list(module.parameters()), torch.randn_like(module(x)[0])
    return lambda: torch.autograd.grad(module(x)[0], [x, *parameters], grad)


def rows(shape: tuple[int, int, int, int], seconds: float) -> list[list[str]]:
    steps, batch, inputs, size = shape
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    calls = {
        "nn.LSTM without dropout": step(nn.LSTM(inputs, size), x),
        "td.LSTM, variational": step(td.LSTM(inputs, size, recurrent=td.Variational(INPUT, HIDDEN)), x),
        "td.LSTM, variational, tied": step(
            td.LSTM(inputs, size, recurrent=td.Variational(INPUT, HIDDEN, tied=True)), x
        ),
        "loop over nn.LSTMCell": step(Loop(inputs, size), x),
        "keras.layers.LSTM": keras(x, size),
    }
    kinds = {"weight drop": td.WeightDrop(0.5), "zoneout": td.Zoneout(cell=0.5, hidden=0.05)}
    kinds |= {"update, by step": td.UpdateDropout(0.25), "cell": td.CellDropout(0.25)}
    held = {name: peak(call) for name, call in calls.items()}
    held |= {f"td.LSTM, {name}": peak(step(td.LSTM(inputs, size, recurrent=kind), x)) for name, kind in kinds.items()}
    t = medians(calls, seconds=seconds)
    plain, ours = "nn.LSTM without dropout", t["td.LSTM, variational"]
    lines = []
    for name, most in held.items():
        times = [f"{1000 * t[name]:.1f}", f"{t[name] / ours:.2f}"] if name in t else ["", ""]
        lines.append([str(shape), name, *times, f"{most / 2**20:.1f}", f"{most / held[plain]:.2f}"])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each call")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    header = ["(T, B, I, H)", "layer", "ms", "times ours", "peak, MiB", "peak / nn.LSTM"]
    print(table(header, [line for shape in SHAPES for line in rows(shape, options.seconds)]))


if __name__ == "__main__":
    main()
