"""How often a study finds a difference: where there is none, and where there is one.

python benchmarks/study_errors.py [--studies 2000]

Each study draws fresh data and trains a learner in closed form on real folds: the plain one and four methods, two
seeds each (`tests/study/simulated.py` says what makes them equal). Family-wise error: the share of studies that give
any of four equal methods a verdict. Power: the share that say "helps" of a method that is better by the points in the
cell, beside three equals. "Uncorrected" is the usual paired t-test over folds, with the same adjustment.

2,000 studies in every cell, nominal error 5 %, November 2026:

| examples | folds | family-wise error [exact 95 %] | uncorrected | power, blind to 3 | power, blind to none |
|---:|---:|---:|---:|---:|---:|
| 300 | 5 × 1 | 1.95 % [1.39, 2.66] | 4.7 % | 4 % at 4.5 points | 12 % at 7.6 points |
| 300 | 5 × 3 | 1.75 % [1.22, 2.43] | 39.0 % | 13 % at 4.4 points | 51 % at 7.7 points |
| 1,000 | 5 × 1 | 0.95 % [0.57, 1.48] | 4.6 % | 19 % at 4.6 points | 54 % at 8.1 points |
| 1,000 | 5 × 3 | 1.45 % [0.97, 2.08] | 39.6 % | 72 % at 4.7 points | 100 % at 8.1 points |
| 1,000 | 10 × 1 | 0.65 % [0.35, 1.11] | 4.1 % | 40 % at 4.6 points | 91 % at 8.0 points |

For the same cost, thirty trainings a method, repeats find more than seeds (400 studies each, 8 points): 1 repeat with 6
seeds 57 %, 3 repeats with 2 seeds 100 %.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from _timing import table
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "study"))
import simulated

from torchdropout.study.statistics import compare_conditions

DESIGNS = [(300, 5, 1), (300, 5, 3), (1000, 5, 1), (1000, 5, 3), (1000, 10, 1)]
BETTER = simulated.BETTER  # the plain network is blind to 6 of 12 coordinates, these to fewer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    studies = parser.parse_args().studies
    heads = ["examples", "folds", "family-wise error [exact 95 %]", "uncorrected", *(f"power, {b}" for b in BETTER)]
    print(table(heads, [row(design, studies) for design in DESIGNS]))
    print(f"\n{studies:,} studies in every cell, nominal error 5 %.\n")
    heads = ["repeats", "seeds", "power, blind to none"]
    print(table(heads, [one_cost(repeats, seeds, studies // 5) for repeats, seeds in ((1, 6), (3, 2))]))
    print(f"\n1,000 examples, 5 folds, thirty trainings a method either way; {studies // 5:,} studies a row.")


def row(design: tuple[int, int, int], studies: int) -> list[str]:
    examples, folds, repeats = design
    settings = {"examples": examples, "folds": folds, "repeats": repeats}
    generator = np.random.default_rng(design)
    errors = plain = 0
    for _ in range(studies):
        results = simulated.study(generator, simulated.EQUALS, **settings)
        errors += any(each.verdict in ("helps", "hurts") for each in compared(results))
        plain += simulated.uncorrected(results)
    cells = [f"{examples:,}", f"{folds} × {repeats}", share(errors, studies), f"{100 * plain / studies:.1f} %"]
    return cells + [power(generator, coordinates, studies, settings) for coordinates in BETTER.values()]


def one_cost(repeats: int, seeds: int, studies: int) -> list[str]:
    settings = {"examples": 1000, "folds": 5, "repeats": repeats, "seeds": seeds}
    generator = np.random.default_rng((repeats, seeds))
    return [str(repeats), str(seeds), power(generator, BETTER["blind to none"], studies, settings)]


def compared(results):
    return compare_conditions(results, metric="accuracy", judge="val")


def power(generator: np.random.Generator, coordinates: range, studies: int, settings: dict[str, int]) -> str:
    methods = (*simulated.EQUALS[:3], coordinates)
    found = [compared(simulated.study(generator, methods, **settings))[-1] for _ in range(studies)]
    helps = sum(each.verdict == "helps" for each in found)
    return f"{100 * helps / studies:.0f} % at {100 * np.mean([each.difference for each in found]):.1f} points"


def share(count: int, of: int) -> str:
    interval = stats.binomtest(count, of).proportion_ci(method="exact")
    return f"{100 * count / of:.2f} % [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


if __name__ == "__main__":
    main()
