"""Under-, good and overfit: polynomials of degree 1, 3 and 19 fitted to a noisy cubic.

The data are those of *Dive into Deep Learning* (A. Zhang, Z. Lipton, M. Li, A. Smola; the section on underfitting and
overfitting): y = 5 + 1.2 x - 3.4 x²/2! + 5.6 x³/3! + noise, where x is standard normal and the noise has standard
deviation 0.1; features are x^i/i!, so that their sizes are alike.

What is expected, and why:

- Degree 3 is the truth: its test error is the noise's variance, 0.01, and a little more for having learnt four numbers
  from finitely many points; its coefficients are those above.
- Degree 1 cannot bend. For standard normal x the cubic is a line, plus -1.7 (x² - 1), plus 0.933 (x³ - 3 x); these
  three are uncorrelated, so the best line leaves 1.7²·2 + 0.933²·6 = 11.0 of squared error, with any number of points.
- Degree 19 has 20 numbers to learn from 100 points: the training error falls below the noise, the test error rises.
  Gradient descent, stopped after 400 passes as in the book, hides most of that: it has not reached the minimum yet.
- Over many training sets, the mean squared error of a prediction is bias² + variance + noise: degree 1 is all bias,
  degree 19 all variance (S. Geman, E. Bienenstock, R. Doursat. Neural Networks and the Bias/Variance Dilemma. 1992).
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
from _common import COLOURS, Finding, interval, parse, plus_minus, pyplot, save, show

COEFFICIENTS = np.array([5.0, 1.2, -3.4, 5.6])
NOISE = 0.1
DEGREES = {1: "degree 1 (underfit)", 3: "degree 3 (good)", 19: "degree 19 (overfit)"}
GRID = np.linspace(-2, 2, 41)  # 95 % of the points lie here
BEST_LINE = 1.7**2 * 2 + (5.6 / 6) ** 2 * 6 + NOISE**2


def features(x: np.ndarray, degree: int) -> np.ndarray:
    """The columns x^i / i! for i = 0..degree."""
    return np.stack([x**i / math.factorial(i) for i in range(degree + 1)], axis=1)


def truth(x: np.ndarray) -> np.ndarray:
    return features(x, 3) @ COEFFICIENTS


def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal(count)
    return x, truth(x) + NOISE * rng.standard_normal(count)


def least_squares(x: np.ndarray, y: np.ndarray, degree: int) -> np.ndarray:
    """The coefficients of the least training error."""
    return np.linalg.lstsq(features(x, degree), y, rcond=None)[0]


def gradient_descent(x: np.ndarray, y: np.ndarray, degree: int, epochs: int, rng: np.random.Generator) -> np.ndarray:
    """The coefficients after so many passes in batches of 10 at learning rate 0.01, from zero."""
    inputs, w = features(x, degree), np.zeros(degree + 1)
    for _ in range(epochs):
        for batch in np.split(rng.permutation(len(x)), len(x) // 10):
            errors = inputs[batch] @ w - y[batch]
            w -= 0.01 * 2 * inputs[batch].T @ errors / len(batch)  # the gradient of the mean squared error
    return w


def error(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((features(x, len(w) - 1) @ w - y) ** 2))


def repeated(degree: int, count: int, repeats: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Training and test errors (100 new points each time), and predictions on a grid, over as many training sets."""
    found = {"train": [], "test": [], "predictions": []}
    for _ in range(repeats):
        x, y = sample(rng, count)
        w = least_squares(x, y, degree)
        found["train"].append(error(w, x, y))
        found["test"].append(error(w, *sample(rng, 100)))
        found["predictions"].append(features(GRID, degree) @ w)
    return {name: np.array(values) for name, values in found.items()}


def stopped_early(repeats: int, epochs: int, rng: np.random.Generator) -> tuple[float, float]:
    """Degree 19: the median test error of gradient descent, and that of least squares on the same points."""
    errors = []
    for _ in range(repeats):
        (x, y), test = sample(rng, 100), sample(rng, 100)
        ws = gradient_descent(x, y, 19, epochs, rng), least_squares(x, y, 19)
        errors.append([error(w, *test) for w in ws])
    return tuple(np.median(errors, axis=0))


def decompose(predictions: np.ndarray) -> tuple[float, float]:
    """Squared bias and variance, averaged over the grid."""
    variance = predictions.var(axis=0, ddof=1)
    bias = (predictions.mean(axis=0) - truth(GRID)) ** 2 - variance / len(predictions)
    return float(bias.mean()), float(variance.mean())


def draw(path: Path, fits: dict, counts: list[int], curves: dict, parts: dict) -> None:
    figure, (left, middle, right) = pyplot().subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    (x, y), ws = fits["data"], fits["w"]
    grid = np.linspace(-3, 3, 301)
    left.plot(x, y, ".", color="0.6", label="100 training points")
    for colour, style, (degree, w) in zip(COLOURS, ("-", "--", ":"), ws.items(), strict=False):
        left.plot(grid, features(grid, degree) @ w, style, color=colour, lw=2, label=DEGREES[degree])
        middle.plot(counts, curves[degree]["test"], style, color=colour, marker="o", label=f"degree {degree}, test")
        middle.plot(counts, curves[degree]["train"], style, color=colour, marker="x", alpha=0.5, lw=1)
    left.set(xlim=(-3, 3), ylim=(-50, 20), xlabel="x", ylabel="y", title="One training set, fitted")
    middle.axhline(NOISE**2, color="black", lw=1)
    middle.text(counts[-1], NOISE**2 / 1.5, "noise", ha="right", va="top")
    middle.set(xscale="log", yscale="log", xlabel="training points", ylabel="mean squared error (median of sets)")
    middle.set(title="Test (o) and training (x, pale) error", ylim=(1e-4, 1e6))
    places = np.arange(len(parts))
    for shift, (name, colour) in enumerate((("bias²", COLOURS[0]), ("variance", COLOURS[1]))):
        heights = [max(parts[degree][shift], 1e-8) for degree in parts]
        right.bar(places + 0.36 * (shift - 0.5), heights, 0.34, color=colour, label=name, hatch="/" * shift)
    right.axhline(NOISE**2, color="black", lw=1, label="noise")
    right.set(yscale="log", xticks=places, xticklabels=[f"degree {d}" for d in parts], ylabel="squared error, |x| < 2")
    right.set(title="Bias and variance over training sets of 100", ylim=(1e-7, 1e4))
    for axis in (left, middle, right):
        axis.legend(fontsize=8)
    save(figure, path)


def run(small: bool, out: Path) -> list[Finding]:
    rng = np.random.default_rng(0)
    repeats = 400 if small else 10_000
    x, y = sample(rng, 100)
    ws = {degree: least_squares(x, y, degree) for degree in DEGREES}
    found = {degree: repeated(degree, 100, repeats, rng) for degree in DEGREES}
    parts = {degree: decompose(found[degree]["predictions"]) for degree in DEGREES}
    counts, curves = [25, 50, 100, 200, 400, 1000], {degree: {"train": [], "test": []} for degree in DEGREES}
    for degree, count in itertools.product(DEGREES, counts):
        one = repeated(degree, count, repeats // 10, rng)
        for part in ("train", "test"):
            curves[degree][part].append(float(np.median(one[part])))
    early = stopped_early(5, 100, rng) if small else stopped_early(30, 400, rng)
    draw(out / "polynomials.png", {"data": (x, y), "w": ws}, counts, curves, parts)
    return [coefficients(x, ws[3]), *errors(found, early, curves), *bias_and_variance(parts)]


def coefficients(x: np.ndarray, w: np.ndarray) -> Finding:
    inputs = features(x, 3)
    deviations = NOISE * np.sqrt(np.diag(np.linalg.inv(inputs.T @ inputs)))
    off = np.abs(w - COEFFICIENTS) / deviations
    measured = f"{', '.join(f'{value:.3f}' for value in w)}: at most {off.max():.1f} off"
    expected = "5, 1.2, -3.4, 5.6, each within 4 standard errors"
    return Finding("degree 3, coefficients from 100 points", expected, measured, bool(off.max() < 4))


def errors(found: dict, early: tuple[float, float], curves: dict) -> list[Finding]:
    good, line = (interval(found[degree]["test"])[0] for degree in (3, 1))
    train, test = (float(np.median(found[19][part])) for part in ("train", "test"))
    few, many = (curves[19]["test"][k] / curves[19]["train"][k] for k in (2, -1))
    text = f"{BEST_LINE:.2f} for the best line, up to a fifth more for one learnt from 100 points"
    return [
        Finding("degree 3, test error", "0.0100 to 0.0115", plus_minus(found[3]["test"], 5), 0.0099 < good < 0.0115),
        Finding("degree 1, test error", text, plus_minus(found[1]["test"]), 0.9 < line / BEST_LINE < 1.2),
        Finding(
            "degree 19, training error (median)", "0.01·(1 - 20/100) = 0.0080", f"{train:.4f}", 0.0072 < train < 0.0088
        ),
        Finding("degree 19, test error (median)", "more than ten times the noise's 0.01", f"{test:.3g}", test > 0.1),
        Finding(
            "degree 19, test error (median): gradient descent stopped early / least squares",
            "less than 1: stopping early regularizes",
            f"{early[0]:.3g} / {early[1]:.3g}",
            early[0] < early[1],
        ),
        Finding(
            "degree 19, test / training error: 100 points, 1000 points",
            "falls: more data cure overfitting",
            f"{few:.3g}, {many:.3g}",
            many < few,
        ),
    ]


def bias_and_variance(parts: dict) -> list[Finding]:
    (bias1, variance1), (bias3, variance3), (bias19, variance19) = (parts[degree] for degree in DEGREES)
    return [
        Finding(
            "degree 1, |x| < 2: bias², variance", "bias² is larger", f"{bias1:.2f}, {variance1:.2f}", bias1 > variance1
        ),
        Finding(
            "degree 3, |x| < 2: bias², variance",
            "bias² (unbiased, so it may be below 0) below a tenth of the variance, that a tenth of the noise's 0.01",
            f"{bias3:.1e}, {variance3:.1e}",
            abs(bias3) < 0.1 * variance3 and variance3 < 0.001,
        ),
        Finding(
            "degree 19, |x| < 2: bias², variance",
            "the variance is larger, and larger than at degree 3",
            f"{bias19:.1e}, {variance19:.1e}",
            abs(bias19) < variance19 and variance3 < variance19,
        ),
    ]


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
