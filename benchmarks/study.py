"""What a comparison costs beside its training: the loop against a bare one, two processes against one.

python benchmarks/study.py [--seconds S] [--skip-jobs]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _timing import machine, medians, table
from torch import nn
from torch.nn import functional

from torchdropout.study import compare, read
from torchdropout.study.metrics import Split
from torchdropout.study.recipe import Recipe
from torchdropout.study.training import batches, train

EXAMPLES, BATCH = 6400, 64
LR = 0.001


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


def data() -> Split:
    return Split(torch.randn(EXAMPLES, 64), torch.randint(10, (EXAMPLES,)))


def bare(split: Split) -> Callable[[], object]:
    """An epoch as one writes it by hand."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        for batch in batches(EXAMPLES, BATCH, generator):
            optimizer.zero_grad()
            functional.cross_entropy(model(split.inputs[batch]), split.targets[batch]).backward()
            optimizer.step()

    return epoch


def ours(split: Split) -> Callable[[], object]:
    """An epoch of the study's loop, without the measuring that a bare loop has not."""
    recipe = Recipe(epochs=10**9, batch_size=BATCH, lr=LR)

    def nothing(model: nn.Module) -> dict[str, float]:
        return {}

    epochs = train(network(), split, functional.cross_entropy, recipe, measure=nothing, order_seed=0)
    return lambda: next(epochs)


def loop(seconds: float) -> str:
    torch.set_num_threads(1)
    split = data()
    t = medians({"bare": bare(split), "ours": ours(split)}, seconds=seconds)
    steps = EXAMPLES // BATCH
    row = [f"{t[name] / steps * 1e6:.0f}" for name in ("bare", "ours")] + [f"{t['ours'] / t['bare']:.3f}"]
    return table(["bare step, µs", "our step, µs", "ours / bare"], [row])


def study(jobs: int, folder: Path) -> tuple[float, float]:
    """Wall-clock seconds of a whole comparison of the digits, and of all its runs together."""
    start = time.perf_counter()
    compare(methods=["none", "dropout", "gaussian", "gaussian-noise"], seeds=4, jobs=jobs, out=folder)
    return time.perf_counter() - start, float(read(folder).results["seconds"].sum())


def jobs(times: int) -> str:
    """One process and two, in turn."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    work = []
    for number in range(times):
        for count in (1, 2) if number % 2 == 0 else (2, 1):
            with tempfile.TemporaryDirectory() as folder:
                wall, runs = study(count, Path(folder) / "study")
            walls[count].append(wall)
            work += [runs] if count == 1 else []
    one, two = (statistics.median(walls[count]) for count in (1, 2))
    row = [f"{statistics.median(work):.1f}", f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}"]
    return table(["serial work, s", "1 job, s", "2 jobs, s", "times sooner"], [row])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each loop")
    parser.add_argument("--times", type=int, default=3, help="comparisons with each number of jobs")
    parser.add_argument("--skip-jobs", action="store_true")
    options = parser.parse_args()
    print(f"{machine()}\n\n{loop(options.seconds)}")
    if not options.skip_jobs:
        print(f"\n{jobs(options.times)}")


if __name__ == "__main__":
    main()
