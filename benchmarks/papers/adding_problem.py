"""The adding problem: which recurrent dropout leaves a network its long memory?

A sequence has two numbers a step: a uniform one, and a mark that is 1 at two steps, one in each half. The target is
the sum of the marked numbers (S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997,
experiment 4; the form is that of Q. Le, N. Jaitly, G. Hinton, arXiv:1504.00941). Who answers 1 always has a mean
squared error of 1/6. Error is measured without noise, on sequences never trained on; a seed has solved the task from
the step on at which its error is below 0.01.

python benchmarks/papers/adding_problem.py [--steps 3000] [--length 200] [--seeds 3] [--cells lstm,gru]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td

sys.path.insert(0, str(Path(__file__).parents[1]))
from _timing import machine, table

SOLVED, EVERY, SIZE, BATCH = 0.01, 100, 32, 32
LAYERS = {"lstm": td.LSTM, "gru": td.GRU, "rnn": td.RNN}


def kinds(cell: str) -> dict[str, object]:
    zoneout = td.Zoneout(cell=0.25, hidden=0.05) if cell == "lstm" else td.Zoneout(hidden=0.25)
    found = {
        "none": (),
        "variational, 0.25": td.Variational(0.0, 0.25),
        "variational, tied, 0.25": td.Variational(0.0, 0.25, tied=True),
        f"zoneout, {'0.25 and 0.05' if cell == 'lstm' else '0.25'}": zoneout,
        "weight drop, 0.25": td.WeightDrop(0.25),
    }
    if cell != "rnn":
        found["update, by step, 0.25"] = td.UpdateDropout(0.25)
        found["update, by sequence, 0.25"] = td.UpdateDropout(0.25, per="sequence")
    if cell == "lstm":
        found["cell, 0.25"] = td.CellDropout(0.25)
    return found


class Adder(nn.Module):
    def __init__(self, cell: str, kind: object, length: int) -> None:
        super().__init__()
        self.rnn, self.output = LAYERS[cell](2, SIZE, recurrent=kind), nn.Linear(SIZE, 1)
        if cell != "rnn":
            open_gates(self.rnn, length)

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        return self.output(self.rnn(x, key=key)[0][-1]).squeeze(-1)


@torch.no_grad()
def open_gates(rnn: nn.RNNBase, length: int) -> None:
    """Memories of all spans up to the length (C. Tallec, Y. Ollivier, Can Recurrent Neural Networks Warp Time?, ICLR
    2018, arXiv:1804.11188): the gate that keeps the state begins at 1 - 1 / span, the LSTM's input gate at 1 / span.
    """
    bias = torch.log(torch.empty(SIZE).uniform_(1.0, length - 1.0))
    for name in ("bias_ih_l0", "bias_hh_l0"):
        getattr(rnn, name).zero_()
    rnn.bias_ih_l0[SIZE : 2 * SIZE] = bias
    if rnn.mode == "LSTM":
        rnn.bias_ih_l0[:SIZE] = -bias


def examples(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`(T, count, 2)` and `(count,)`."""
    numbers, marks = torch.rand(length, count, generator=generator), torch.zeros(length, count)
    half = length // 2
    for begin, end in ((0, half), (half, length)):
        marks.scatter_(0, torch.randint(begin, end, (1, count), generator=generator), 1.0)
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(0)


def one(cell: str, kind: object, seed: int, steps: int, length: int) -> tuple[float, int | None]:
    """The error at the end, and the step from which on the task is solved."""
    torch.manual_seed(seed)
    model, key = Adder(cell, kind, length), td.key(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    test = examples(1000, length, torch.Generator().manual_seed(999))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    error, solved = float("nan"), None
    for step in range(1, steps + 1):
        x, y = examples(BATCH, length, generator)
        loss = F.mse_loss(model.train()(x, td.fold_in(key, step)), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % EVERY == 0:
            with torch.no_grad():
                error = float(F.mse_loss(model.eval()(test[0], key), test[1]))
            solved = (solved or step) if error < SOLVED else None
    return error, solved


def row(cell: str, name: str, kind: object, options: argparse.Namespace) -> list[str]:
    start = time.perf_counter()
    runs = [one(cell, kind, seed, options.steps, options.length) for seed in range(options.seeds)]
    seconds = (time.perf_counter() - start) / len(runs)
    solved = [step for _, step in runs if step is not None]
    when = f"{len(solved)} of {len(runs)}" + (f", from step {statistics.median_low(solved):,}" if solved else "")
    errors = ", ".join(f"{error:.4f}" for error, _ in sorted(runs, key=lambda run: run[0]))
    print(cell, name, errors, when, f"{seconds:.0f} s", file=sys.stderr, flush=True)
    return [cell, name, errors, when, f"{seconds:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cells", default="lstm,gru")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cells = options.cells.split(",")
    lines = [row(cell, name, kind, options) for cell in cells for name, kind in kinds(cell).items()]
    print(f"{machine()}; T = {options.length}, {options.steps:,} steps of {BATCH} sequences, {SIZE} units\n")
    print(table(["cell", "dropout", "mean squared errors", "solved", "seconds a run"], lines))


if __name__ == "__main__":
    main()
