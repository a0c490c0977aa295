"""Does a classifier's uncertainty show what is none of its classes? With Monte-Carlo dropout and without.

A text model of CLINC150's 150 intents is asked its 1,000 questions out of scope (S. Larson et al., An Evaluation
Dataset for Intent Classification and Out-of-Scope Prediction, EMNLP 2019, arXiv:1909.02027), and a small CNN of
Fashion-MNIST is shown the digits of MNIST. The area under the ROC curve (AUROC) is the chance that an input of no class
has a higher score than one of the test part: one minus the largest probability, the entropy of the probabilities, or
the mutual information of the class and the passes, which takes several. With sampling, the first two are of the mean
probabilities.

TORCHDROPOUT_DATA=folder python benchmarks/papers/out_of_distribution.py [--sets clinc150,fashion-mnist] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from _ood_sets import SETS, Problem
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import torchdropout as td
from torchdropout.study.statistics import holm

sys.path.insert(0, str(Path(__file__).parents[1]))
from _timing import machine, table

COLUMNS = {"accuracy": "accuracy", "probability": "max-probability", "entropy": "entropy", "information": "mutual inf."}
Measured = dict[str, float]


def train(problem: Problem, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model, (x, y) = problem.model(), problem.train
    generator = torch.Generator().manual_seed(seed)
    steps = problem.epochs * math.ceil(len(x) / problem.batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=problem.rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(problem.epochs):
        for rows in torch.randperm(len(x), generator=generator).split(problem.batch):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
    return model


def sampled(model: nn.Module, x: Tensor, samples: int, seed: int) -> td.Prediction:
    return td.mc_predict_loader(model, DataLoader(x, batch_size=500), samples, key=seed)


@torch.no_grad()
def single(model: nn.Module, x: Tensor) -> Tensor:
    """The probabilities of a pass without noise."""
    return torch.cat([model.eval()(part).softmax(-1) for part in x.split(500)])


def scores(probabilities: Tensor) -> dict[str, Tensor]:
    return {
        "probability": 1.0 - probabilities.amax(-1),
        "entropy": torch.special.entr(probabilities).sum(-1),
    }


def measure(problem: Problem, seed: int, samples: int) -> dict[str, Measured]:
    """What one seed's model gives with sampling and without."""
    model, (x, y) = train(problem, seed), problem.test
    inside, outside = sampled(model, x, samples, seed), sampled(model, problem.other, samples, seed + 1)
    information = inside.mutual_information, outside.mutual_information
    plain = _measured(y, single(model, x), single(model, problem.other))
    noisy = _measured(y, inside.mean, outside.mean) | {"information": auroc(*information)}
    return {"no": plain, "yes": noisy}


def _measured(y: Tensor, inside: Tensor, outside: Tensor) -> Measured:
    accuracy = float((inside.argmax(-1) == y).double().mean())
    ours, theirs = scores(inside), scores(outside)
    return {"accuracy": accuracy} | {name: auroc(ours[name], theirs[name]) for name in ours}


def auroc(inside: Tensor, outside: Tensor) -> float:
    """The chance that an input of no class has the higher score."""
    labels = torch.cat([torch.zeros(len(inside)), torch.ones(len(outside))])
    return float(roc_auc_score(labels, torch.cat([inside, outside])))


def run(name: str, problem: Problem, seeds: int, samples: int, folder: Path) -> list[dict[str, Measured]]:
    found = []
    for seed in range(seeds):
        file, start = folder / f"{name}-{seed}-{samples}.json", time.perf_counter()
        if not file.exists():
            file.write_text(json.dumps(measure(problem, seed, samples)))
        found.append(json.loads(file.read_text()))
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s, {found[-1]}", file=sys.stderr, flush=True)
    return found


def mean_and_error(values: Sequence[float]) -> str:
    """The mean and its standard error, in percent."""
    error = f" ± {100 * statistics.stdev(values) / math.sqrt(len(values)):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}{error}"


def rows(name: str, found: Sequence[dict[str, Measured]]) -> list[list[str]]:
    return [
        [
            name,
            way,
            *(mean_and_error([of[way][what] for of in found]) if what in found[0][way] else "–" for what in COLUMNS),
        ]
        for way in ("no", "yes")
    ]


def changes(found: dict[str, list[dict[str, Measured]]]) -> str:
    """What sampling changes, by seed, with 95 % intervals (Student's t) and Holm's adjustment over all of them."""
    lines, ps = [], []
    for name, runs in found.items():
        for what in ("accuracy", "probability", "entropy"):
            apart = [100 * (of["yes"][what] - of["no"][what]) for of in runs]
            test = stats.ttest_1samp(apart, 0.0)
            low, high = test.confidence_interval(0.95)
            ps.append(float(test.pvalue))
            lines.append([name, COLUMNS[what], f"{statistics.mean(apart):+.2f}", f"{low:+.2f} to {high:+.2f}"])
    header = ["set", "of", "change, points", "95 % interval", "p, adjusted"]
    return table(header, [[*line, f"{p:.3f}"] for line, p in zip(lines, holm(ps), strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("runs/out-of-distribution"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    names = options.sets.split(",")
    if unknown := set(names) - set(SETS):
        parser.error(f"--sets must be of {', '.join(SETS)}, got {', '.join(sorted(unknown))}.")
    if options.seeds < 1 or options.samples < 2:
        parser.error(f"--seeds must be at least 1 and --samples 2, got {options.seeds} and {options.samples}.")
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    found = {name: run(name, SETS[name](), options.seeds, options.samples, options.out) for name in names}
    print(f"{machine()}\n\n{options.seeds} seeds, {options.samples} passes; percent\n")
    header = [
        "set",
        "sampling",
        *(f"AUROC, {title}" if what != "accuracy" else title for what, title in COLUMNS.items()),
    ]
    print(table(header, [line for name, values in found.items() for line in rows(name, values)]))
    if options.seeds > 1:
        print(f"\n{changes(found)}")


if __name__ == "__main__":
    main()
