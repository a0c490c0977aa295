"""Studies of a learner that trains in a tenth of a millisecond, where the truth about every method is known.

The learner is ridge regression on the class, ±1, of Gaussian inputs whose twelve coordinates carry the same signal.
Each method is blind to some coordinates. Coordinates are exchangeable, so over fresh data two methods that are blind
to equally many have the same expected accuracy, exactly. Within one study the equals are as hard to compare as can
be: where the coordinates of one happen to tell more, they do in every fold, for folds share training data.
"""

from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

COORDINATES, SIGNAL, RIDGE = 12, 0.3, 1.0
PLAIN = range(6)
EQUALS = (range(6, 12), range(0, 12, 2), range(1, 12, 2), range(3, 9))
BETTER = {"blind to 3": range(3), "blind to none": range(0)}


def study(generator, methods, *, examples=300, folds=5, repeats=1, seeds=2):
    """The results of one study on fresh data, a row per run: `none` is blind to the first six coordinates."""
    labels = np.repeat([-1.0, 1.0], examples // 2)
    inputs = generator.standard_normal((examples, COORDINATES)) + SIGNAL * labels[:, None]
    blind = {"none": PLAIN} | {f"method {number}": each for number, each in enumerate(methods, 1)}
    rows = []
    for repeat in range(repeats):
        parts = np.array_split(generator.permutation(examples // 2), folds)
        for fold, (name, coordinates), seed in product(range(folds), blind.items(), range(seeds)):
            judge = np.isin(np.arange(examples) % (examples // 2), parts[fold])
            seen = np.setdiff1d(np.arange(COORDINATES), coordinates)
            accuracy = _accuracy(generator, inputs[:, seen], labels, judge)
            rows.append((name, name, repeat, fold, seed, "ok", accuracy, judge.sum(), (~judge).sum()))
    names = ["condition", "method", "repeat", "fold", "seed", "status", "val_accuracy", "n_judge", "n_train"]
    return pd.DataFrame(rows, columns=names)


def _accuracy(generator, inputs, labels, judge):
    """The judged accuracy of one training, on inputs with a little noise of its own, as a seed brings it."""
    x = inputs[~judge] + 0.3 * generator.standard_normal((int((~judge).sum()), inputs.shape[1]))
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ labels[~judge])
    return float(np.mean(np.sign(inputs[judge] @ weights) == labels[judge]))


def uncorrected(results):
    """Holm-adjusted: whether the usual paired t-test, which takes folds for independent, finds any difference."""
    table = results.groupby(["condition", "repeat", "fold"])["val_accuracy"].mean().unstack("condition")
    others = table.columns.drop("none")
    p_values = [stats.ttest_rel(table[each], table["none"]).pvalue for each in others]
    return np.nanmin([1.0, *p_values]) * len(others) < 0.05


def bound(studies, rate=0.05, error=1e-3):
    """The count that events of at most this rate exceed with a probability of at most `error`."""
    return int(stats.binom.ppf(1 - error, studies, rate))
