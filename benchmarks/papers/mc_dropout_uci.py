"""Monte-Carlo dropout on UCI regression: errors and log-likelihoods over the published splits, beside the authors'.

Y. Gal, Z. Ghahramani, Dropout as a Bayesian Approximation, ICML 2016, arXiv:1506.02142, table 1, in the authors' later
code and results (github.com/yaringal/DropoutUncertaintyExps, 100 x epochs, one hidden layer): inputs and targets scaled
by the training rows; dropout, 50 ReLU units, dropout, a linear output; the mean squared error plus
`(1 - p) l**2 / (2 N tau)` times the squared weights, with l = 0.01 and no decay of biases; Adam in batches of 128 for
4,000 epochs. For each split p and tau are those of the grid with the highest log-likelihood of the last 20 % of the
training rows, in 10,000 passes; a new net is trained on all training rows. The precision tau is in the units of the
targets. All splits and values of tau are trained side by side.

A single pass is what their column "standard" has; weight scaling is a pass without noise. `--schedule short` takes a
tenth of the epochs and of the passes. Checkpoints under `--out` let a stopped run go on. Twice as fast with
MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=4000000000.

TORCHDROPOUT_DATA=folder python benchmarks/papers/mc_dropout_uci.py [--sets yacht,energy] [--schedule full|short]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _uci_data as data
import _uci_nets as nets
import torch
from torch import Tensor

import torchdropout as td

sys.path.insert(0, str(Path(__file__).parents[1]))
from _timing import machine, table

RATES, LENGTH_SCALE = (0.005, 0.01, 0.05, 0.1), 1e-2
TAUS = {
    "yacht": (0.25, 0.5, 0.75),
    "energy": (0.25, 0.5, 0.75),
    "concrete": (0.025, 0.05, 0.075),
    "wine": (2.5, 3.0, 3.5),
    "power-plant": (0.05, 0.1, 0.15),
}
PAPER = {  # RMSE and its standard error, log-likelihood and its standard error, RMSE of a single pass
    "yacht": (0.666, 0.049, -1.250, 0.015, 1.229),
    "energy": (0.539, 0.014, -1.212, 0.005, 0.967),
    "concrete": (4.826, 0.161, -2.937, 0.025, 5.448),
    "wine": (0.622, 0.008, -0.928, 0.013, 0.657),
    "power-plant": (4.014, 0.037, -2.808, 0.009, 4.176),
}
SCHEDULES = {"full": (4_000, 10_000), "short": (400, 1_000)}
CHOOSING, TEST, VALIDATION = 0, 1, 2  # what keys are for

Measured = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """How long nets are trained, how many passes predict, of which splits, from which seed, and where results go."""

    epochs: int
    samples: int
    splits: int
    seed: int
    folder: Path

    def key(self, use: int, split: int, rate: float = 0.0, tau: float = 0.0) -> Tensor:
        """The key of a net, or of what it is used for."""
        key = td.key(self.seed)
        for number in (use, split, round(1e6 * rate), round(1e6 * tau)):
            key = td.fold_in(key, number)
        return key


def train(plan: Plan, parts: data.Parts, use: int, rate: float, cells: Sequence[tuple[int, float]]) -> nets.Nets:
    """Nets with one dropout rate, each of a split and with a tau, trained or read."""
    keys = torch.stack([plan.key(use, split, rate, tau) for split, tau in cells])
    count = parts.x.shape[1]
    decay = torch.tensor([LENGTH_SCALE**2 * (1.0 - rate) / (2.0 * count * tau) for _, tau in cells])
    found = nets.begin(parts.x.shape[2], rate, keys, decay)
    name = f"{('choosing', 'test')[use]}-{rate}.pt"
    own = parts.take([split for split, _ in cells])
    nets.train(found, own.x, own.y, plan.epochs, plan.folder / name)
    return found


def choose(plan: Plan, parts: data.Parts, taus: Sequence[float]) -> list[tuple[float, float]]:
    """The rate and the tau of each split with the highest log-likelihood of its validation rows."""
    file = plan.folder / "validation.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for rate in RATES:
        if str(rate) not in found:
            found[str(rate)] = _validate(plan, parts, rate, taus)
            file.write_text(json.dumps(found))
    grid = torch.tensor([found[str(rate)] for rate in RATES])  # rates, splits, taus
    best = grid.movedim(0, 1).flatten(1).argmax(1).tolist()
    return [(RATES[cell // len(taus)], taus[cell % len(taus)]) for cell in best]


def _validate(plan: Plan, parts: data.Parts, rate: float, taus: Sequence[float]) -> list[list[float]]:
    """The mean log-likelihood of validation rows by split and tau."""
    cells = [(split, tau) for split in range(plan.splits) for tau in taus]
    trained, values = train(plan, parts, CHOOSING, rate, cells), []
    for number, (split, tau) in enumerate(cells):
        model = nets.module(trained, number, float(parts.mean[split]), float(parts.std[split]))
        x, y, key = parts.held_x[split], parts.held_y[split], plan.key(VALIDATION, split, rate, tau)
        values.append(float(nets.log_likelihood(model, x, y, tau, plan.samples, key).mean()))
    return torch.tensor(values, dtype=torch.float64).view(plan.splits, len(taus)).tolist()


def measure(plan: Plan, parts: data.Parts, chosen: Sequence[tuple[float, float]]) -> list[Measured]:
    """What nets of the chosen rates and taus do on the test rows of their splits."""
    found: dict[int, Measured] = {}
    for rate in sorted({rate for rate, _ in chosen}):
        cells = [(split, tau) for split, (of_split, tau) in enumerate(chosen) if of_split == rate]
        trained = train(plan, parts, TEST, rate, cells)
        for number, (split, tau) in enumerate(cells):
            model = nets.module(trained, number, float(parts.mean[split]), float(parts.std[split]))
            found[split] = {"p": rate, "tau": tau} | predict(plan, model, parts, split, tau)
    return [found[split] for split in range(plan.splits)]


def predict(plan: Plan, model: torch.nn.Module, parts: data.Parts, split: int, tau: float) -> Measured:
    """Errors and log-likelihood; `other` is the latter by passes that share a key each, with other noise."""
    x, y, key = parts.held_x[split], parts.held_y[split].unsqueeze(1), plan.key(VALIDATION, split)
    prediction = td.mc_predict(model, x, plan.samples, output="values", key=key, keep_samples=True)
    other = nets.log_likelihood(model, x, y[:, 0], tau, plan.samples, td.fold_in(key, 1))
    with torch.no_grad():
        scaled = model.eval()(x)
    return {
        "rmse": _rmse(prediction.mean, y),
        "ll": float(prediction.log_likelihood(y, tau).mean()),
        "other": float(other.mean()),
        "single": _rmse(prediction.samples[0], y),
        "scaled": _rmse(scaled, y),
    }


def _rmse(predicted: Tensor, y: Tensor) -> float:
    return float((predicted - y).double().square().mean().sqrt())


def one(name: str, plan: Plan) -> list[Measured]:
    """What was measured on each split, or what a file says of it."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    file = plan.folder / "measured.json"
    if not file.exists():
        rows, start = data.read(name), time.perf_counter()
        chosen = choose(plan, data.for_choosing(rows, plan.splits), TAUS[name])
        found = measure(plan, data.for_test(rows, plan.splits), chosen)
        file.write_text(json.dumps(found))
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return list(json.loads(file.read_text()))


def mean_and_error(values: Sequence[float]) -> str:
    """The mean and its standard error."""
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{error}"


def row(name: str, found: Sequence[Measured]) -> list[str]:
    """A line of the table; a pass is not worse than published by more than two of its standard errors."""
    rmse, rmse_error, ll, ll_error, single = PAPER[name]
    column = {what: [of_split[what] for of_split in found] for what in found[0]}
    good = statistics.mean(column["rmse"]) <= rmse + 2 * rmse_error
    likely = statistics.mean(column["ll"]) >= ll - 2 * ll_error
    return [
        name,
        f"{rmse:.3f} ± {rmse_error:.3f}",
        f"{mean_and_error(column['rmse'])}, {'pass' if good else 'miss'}",
        f"{ll:.3f} ± {ll_error:.3f}",
        f"{mean_and_error(column['ll'])}, {'pass' if likely else 'miss'}",
        f"{single:.3f}",
        mean_and_error(column["single"]),
        mean_and_error(column["scaled"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(TAUS))
    parser.add_argument("--schedule", choices=tuple(SCHEDULES), default="short")
    parser.add_argument("--splits", type=int, default=data.SPLITS, choices=range(1, data.SPLITS + 1), metavar="1..20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mc-dropout-uci"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    names = options.sets.split(",")
    if unknown := set(names) - set(TAUS):
        parser.error(f"--sets must be of {', '.join(TAUS)}, got {', '.join(sorted(unknown))}.")
    torch.set_num_threads(options.threads)
    epochs, samples = SCHEDULES[options.schedule]
    stem = f"{options.schedule}-{options.splits}-{options.seed}"
    found = {}
    for name in names:
        plan = Plan(epochs, samples, options.splits, options.seed, options.out / f"{name}-{stem}")
        found[name] = one(name, plan)
    print(f"{machine()}\n\n{epochs:,} epochs, {samples:,} passes, {options.splits} splits, seed {options.seed}\n")
    header = ["set", "RMSE, paper", "here", "log-likelihood, paper", "here", "single pass, paper", "here", "scaled"]
    print(table(header, [row(name, values) for name, values in found.items()]))
    apart = [[of["ll"] - of["other"] for of in values] for values in found.values()]
    one_split, whole_set = (
        max(abs(of) for values in apart for of in values),
        max(abs(statistics.mean(of)) for of in apart),
    )
    print("\nLog-likelihood by mc_predict, less that by passes of one key each:")
    print(f"at most {one_split:.4f} of a split, {whole_set:.4f} of a set's mean.")


if __name__ == "__main__":
    main()
