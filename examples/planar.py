"""Two classes in the plane: no regularization, L2, dropout, and dropout with one frozen mask.

A network 2-20-3-1 is trained on 211 points and tested on 200 others, ten times with other data and other weights.

The data: points drawn evenly from the rectangle [-0.7, 0.4] x [-0.65, 0.6]; with f = x2 - 0.25 sin(5 x1) - 0.9 x1 - 0.1
the label is 1 with probability 1 / (1 + exp(-f / 0.08)), so no rule can be right more often than about 92 %.

What is expected:

- Without regularization the network fits the noise: its training accuracy is above what any rule can reach on new
  points. L2 (lambda 0.7) narrows the gap between training and test (Krogh and Hertz, NIPS 1991).
- A well-known course resets the seed inside every forward pass, so its dropout has one frozen mask for the whole
  training: each point always loses the same units. The network then fits that one mask: its cost with it is far below
  its cost with fresh masks. Trained with fresh masks, the two are equal (Srivastava et al., JMLR 2014, section 5.1: a
  thinned network is sampled anew for every training case of every mini-batch).
- On new points L2 and dropout are a little better than nothing (the course's single run: 91.5 % without, 93.0 % with
  L2), and the frozen mask is worth less than fresh ones (its single run with the frozen mask: 95.0 %; one run of 200
  test points is uncertain by 3 points). The differences, within the same run, are printed with their intervals.

Options: `--mat FILE` reads the points from a MATLAB file with X (points, 2), y (points, 1), Xval and yval, instead of
drawing them; the ten runs then differ in their weights and masks only.
"""
# ruff: noqa: N803, N806 - the names of the classic course

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from _common import Finding, interval, parse, plus_minus, pyplot, save, show

from torchdropout import scratch
from torchdropout.scratch import checks

LAYERS, KEEP, LAMBDA = [2, 20, 3, 1], 0.86, 0.7
METHODS = {"none": {}, "L2": {"lambd": LAMBDA}, "dropout": {"keep_prob": KEEP}, "frozen mask": {"keep_prob": KEEP}}


def draw(rng: np.random.Generator, points: int):
    """Points and labels, as the text above says; examples in columns."""
    X = rng.uniform([[-0.7], [-0.65]], [[0.4], [0.6]], (2, points))
    f = X[1] - 0.25 * np.sin(5 * X[0]) - 0.9 * X[0] - 0.1
    return X, (rng.random((1, points)) < 1 / (1 + np.exp(-f / 0.08))).astype(float)


def read(path: Path):
    """Training and test points of a MATLAB file; a sentence and exit code 2 if it does not hold them."""
    from scipy.io import loadmat  # noqa: PLC0415 - only for such a file

    try:
        found = loadmat(path)
    except (OSError, ValueError, NotImplementedError) as error:
        sys.exit(_refuse(f"{path} cannot be read as a MATLAB file: {error}"))
    missing = [name for name in ("X", "y", "Xval", "yval") if name not in found]
    if missing:
        sys.exit(_refuse(f"{path} lacks {', '.join(missing)}: expected X (points, 2), y (points, 1), Xval and yval."))
    X, Y, test_X, test_Y = (found[name].T for name in ("X", "y", "Xval", "yval"))
    try:
        return *_checked(X, Y), *_checked(test_X, test_Y)
    except (ValueError, TypeError) as error:
        sys.exit(_refuse(f"{path}, examples in columns: {error}"))


def _checked(X, Y):
    X = checks.as_numbers("X", X)
    if X.shape[0] != LAYERS[0]:
        raise ValueError(f"X has {X.shape[0]} rows, expected 2: points in the plane.")
    return X, checks.check_labels(Y, (1, X.shape[1]))


def _refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def draw_masks(rng: np.random.Generator, points: int):
    return {f"D{i}": (rng.random((LAYERS[i], points)) < KEEP).astype(float) for i in (1, 2)}


def train(seed: int, iterations: int, data):
    """The parameters that each method ends with, from the same weights; and the frozen mask."""
    rng = np.random.default_rng(seed)
    start, masks = scratch.initialize_parameters(LAYERS, rng=rng), draw_masks(rng, data[0].shape[1])
    trained = {}
    for name, options in METHODS.items():
        source = {"masks": masks} if name == "frozen mask" else {"rng": rng}
        trained[name] = scratch.model(*data[:2], LAYERS, 0.3, iterations, parameters=start, **options, **source)
    return trained, masks


def accuracy(parameters, X, Y) -> float:
    return 100 * float((scratch.predict(X, parameters) == Y).mean())


def mask_gap(parameters, masks, X, Y, rng) -> float:
    """How much the cost with fresh masks (mean of 200) is above that with `masks`."""

    def cost(**source):
        A, cache = scratch.forward_propagation_with_dropout(X, parameters, KEEP, **source)
        return scratch.compute_cost(A, Y, cache["Z3"])

    return float(np.mean([cost(rng=rng) for _ in range(200)])) - cost(masks=masks)


def measure(runs: int, iterations: int, given):
    """Per method the training and test accuracies and the gap of costs, one per run; and the first run for drawing."""
    results = {name: {"train": [], "test": [], "gap": []} for name in METHODS}
    first = None
    for seed in range(runs):
        rng = np.random.default_rng([seed, 1])
        data = given if given is not None else (*draw(rng, 211), *draw(rng, 200))
        trained, masks = train(seed, iterations, data)
        first = first or (trained, data)
        for name, parameters in trained.items():
            results[name]["train"].append(accuracy(parameters, *data[:2]))
            results[name]["test"].append(accuracy(parameters, *data[2:]))
            results[name]["gap"].append(mask_gap(parameters, masks, *data[:2], rng))
    return results, first


def judge(results) -> list[Finding]:
    gap = {name: np.subtract(of["train"], of["test"]) for name, of in results.items()}
    narrower = gap["none"] - gap["L2"]
    frozen, fresh = results["frozen mask"]["gap"], results["dropout"]["gap"]
    findings = [
        Finding(
            "training minus test accuracy, none minus L2",
            "above 0: L2 narrows the gap",
            plus_minus(narrower, 1, " points"),
            interval(narrower)[0] > 0,
        ),
        Finding(
            "cost with fresh masks minus cost with the frozen one, after training with the frozen one",
            "above 0: that one mask was fitted",
            plus_minus(frozen, 3),
            interval(frozen)[0] - interval(frozen)[1] > 0,
        ),
        Finding(
            "the same after training with fresh masks",
            "near 0, and below the line above",
            plus_minus(fresh, 3),
            interval(np.subtract(frozen, fresh))[0] > 0 and abs(interval(fresh)[0]) < 0.5 * interval(frozen)[0],
        ),
    ]
    for above, below in (("L2", "none"), ("dropout", "none"), ("dropout", "frozen mask")):
        better = [a - b for a, b in zip(results[above]["test"], results[below]["test"], strict=True)]
        text = plus_minus(better, 1, " points")
        holds = sum(interval(better)) > 0
        findings.append(Finding(f"test accuracy, {above} minus {below}", "not below 0 beyond chance", text, holds))
    return findings


def draw_figure(results, first, out: Path) -> None:
    plt = pyplot()
    trained, (X, Y, _, _) = first
    figure, grid = plt.subplots(1, 4, figsize=(15, 4.4), sharey=True, layout="constrained")
    for axes, (name, parameters) in zip(grid, trained.items(), strict=True):
        scratch.plot_decision_boundary(parameters, X, Y, axes)
        of = {kind: plus_minus(results[name][kind], 1, " %") for kind in ("train", "test")}
        axes.set_title(f"{name}\ntrain {of['train']}\ntest {of['test']}", fontsize=10)
        axes.set_xlabel("x1")
        axes.grid(False)
    grid[0].set_ylabel("x2")
    grid[0].legend(loc="lower right", fontsize=8)
    save(figure, out / "planar.png")


def run(small: bool, out: Path, mat: Path | None = None) -> list[Finding]:
    given = read(mat) if mat is not None else None
    results, first = measure(3 if small else 10, 2_000 if small else 15_000, given)
    for name, of in results.items():
        print(f"{name:12} train {plus_minus(of['train'], 1, ' %')}   test {plus_minus(of['test'], 1, ' %')}")
    findings = judge(results)
    draw_figure(results, first, out)
    return findings


def main() -> None:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--mat", type=Path)
    known, sys.argv[1:] = options.parse_known_args()
    small, out = parse(__doc__)
    show(run(small, out, known.mat))


if __name__ == "__main__":
    main()
