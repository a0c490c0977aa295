"""What losses of several noisy passes cost: steps of R-Drop and of multi-sample dropout against a plain step.

python benchmarks/objectives.py [--threads N] [--seconds S] [--default-allocator]

Steps of several sizes take turns here, after which glibc gives memory back that the next step must fetch again: up to a
third of a step, whichever comes next. So the allocator is told to keep it, by starting anew, unless told not to.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import machine, medians, table
from torch import Tensor, nn

import torchdropout as td

Step = Callable[[], object]
Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


def cnn(place: str) -> nn.Module:
    """Three convolutions on 32 x 32 x 3, with dropout before the last layer or at the input."""
    layers: list[nn.Module] = [td.Dropout(0.2)] if place == "input" else []
    for c_in, c_out in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)]
    head = [td.Dropout(0.5)] if place == "head" else []
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(128 * 16, 10))


OBJECTIVES: dict[str, Objective] = {
    "plain": lambda model, x, y: F.cross_entropy(model(x), y),
    "R-Drop": lambda model, x, y: td.r_drop(model, x, y, alpha=5.0),
    "R-Drop, not shared": lambda model, x, y: td.r_drop(model, x, y, alpha=5.0, share=False),
    "two passes by hand": lambda model, x, y: td.RDropLoss(5.0)(model(x), model(x), y),
    "8 samples": lambda model, x, y: td.multi_sample_loss(model, x, y, 8),
}
LIMITS = {("head", "R-Drop"): 1.15, ("input", "R-Drop"): 2.05}


def step(place: str, objective: Objective) -> Step:
    """A function that makes one SGD step."""
    torch.manual_seed(0)
    model, x, y = cnn(place), torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def run() -> None:
        optimizer.zero_grad()
        objective(model, x, y).backward()
        optimizer.step()

    return run


def rows(place: str, seconds: float) -> list[list[str]]:
    """Each objective: milliseconds, its ratio to a plain step, and what the ratio may be."""
    wanted = [name for name in OBJECTIVES if place == "head" or name != "8 samples"]
    t = medians({name: step(place, OBJECTIVES[name]) for name in wanted}, seconds=seconds, row=3)
    return [
        [place, name, f"{t[name] * 1e3:.1f}", f"{t[name] / t['plain']:.3f}", str(LIMITS.get((place, name), ""))]
        for name in wanted
    ]


ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row")
    parser.add_argument("--default-allocator", action="store_true")
    options = parser.parse_args()
    if not options.default_allocator and not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ALLOCATOR)
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    print("CNN, batch 64, one SGD step with backward\n")
    found = [row for place in ("head", "input") for row in rows(place, options.seconds)]
    print(table(["dropout", "objective", "ms", "/ plain", "at most"], found))


if __name__ == "__main__":
    main()
