"""The literal table of what a comparison can add to a noise method: penalties, a constraint, objectives, schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# What a strength must be, in words and as a test.
RULES: dict[str, Callable[[float], bool]] = {
    "finite and not negative": lambda v: 0 <= v < math.inf,
    "positive and finite": lambda v: 0 < v < math.inf,
    "a whole number from 1": lambda v: 1 <= v < math.inf and v == int(v),
    "in [0, 1]": lambda v: 0 <= v <= 1,
}

# What an addition is, and why a condition has at most one of the kind; empty where it may have several.
KINDS: dict[str, str] = {
    "penalty": "",
    "constraint": "",
    "objective": "each says how often the network is run, and what its loss is",
    "schedule": "each says how high the drop probabilities are at a step",
    "recipe": "",
}

_HIDDEN = ("mlp", "cnn", "transformer", "lstm")


@dataclass(frozen=True, slots=True)
class Addition:
    """One row: something that joins a condition besides its noise.

    Attributes:
        name: What the command line calls it.
        title: Its usual name.
        kind: A key of `KINDS`.
        what: What it does, in one line.
        argument: The name of its strength.
        default: The strength that a comparison uses when none is named.
        rule: What a strength must be, a key of `RULES`.
        why: Where the default comes from.
        reference: Authors, title, venue, year.
        noise: The noise method that it stands on where none is named; empty where it needs none.
        only: Whether it takes no other noise method.
        models: The built-in models that it fits.
    """

    name: str
    title: str
    kind: str
    what: str
    argument: str
    default: float
    rule: str
    why: str
    reference: str
    noise: str = ""
    only: bool = False
    models: tuple[str, ...] = ("linear", *_HIDDEN)


_SRIVASTAVA = "Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov. Dropout. JMLR 15, 2014"

ADDITIONS: tuple[Addition, ...] = (
    Addition(
        "l1", "L1 penalty", "penalty", "lambda times the sum of all weights' sizes joins the loss",
        argument="lambda", default=1e-5, rule="finite and not negative",
        why="its gradient is that of l2 on a weight of 0.1",
        reference="Tibshirani. Regression Shrinkage and Selection via the Lasso. JRSS B 58, 1996",
    ),
    Addition(
        "l2", "L2 penalty", "penalty", "lambda / 2 times the sum of squared weights joins the loss",
        argument="lambda", default=1e-4, rule="finite and not negative",
        why="the weight decay of residual networks (He et al. 2016)",
        reference="Hoerl, Kennard. Ridge Regression. Technometrics 12, 1970",
    ),
    Addition(
        "elastic", "Elastic net", "penalty", "alpha times half of the L1 and half of the L2 penalty joins the loss",
        argument="alpha", default=2e-5, rule="finite and not negative",
        why="its half of L1 is that of l1",
        reference="Zou, Hastie. Regularization and Variable Selection via the Elastic Net. JRSS B 67, 2005",
    ),
    Addition(
        "maxnorm", "Max-norm", "constraint", "no hidden unit's incoming weights are longer than c after a step",
        argument="c", default=3.0, rule="positive and finite",
        why="3 to 4 are typical (appendix A), 2 on MNIST", reference=_SRIVASTAVA, models=_HIDDEN,
    ),
    Addition(
        "rdrop", "R-Drop", "objective", "the mean loss of two passes, and alpha / 2 times how far they are apart",
        argument="alpha", default=1.0, rule="finite and not negative",
        why="1 for classifiers, 5 for generated text, in the paper",
        reference="Liang et al. R-Drop. NeurIPS 2021, arXiv:2106.14448", noise="dropout",
    ),
    Addition(
        "multisample", "Multi-sample dropout", "objective", "the mean loss of M samples of dropout before the head",
        argument="M", default=8.0, rule="a whole number from 1",
        why="8 in the paper's figures",
        reference="Inoue. Multi-Sample Dropout. 2019, arXiv:1905.09788", noise="dropout", only=True,
    ),
    Addition(
        "early-dropout", "Early dropout", "schedule", "noise up to a share of all steps, then none",
        argument="until", default=1 / 6, rule="in [0, 1]",
        why="50 of 300 epochs in the paper",
        reference="Liu et al. Dropout Reduces Underfitting. ICML 2023, arXiv:2303.01500", noise="dropout",
    ),
    Addition(
        "curriculum", "Curriculum dropout", "schedule", "drop probabilities grow from 0: 1 - exp(-gamma t / T) of them",
        argument="gamma", default=10.0, rule="positive and finite",
        why="10 / T a step in the paper",
        reference="Morerio et al. Curriculum Dropout. ICCV 2017, arXiv:1703.06229", noise="dropout",
    ),
    Addition(
        "recipe", "The recipe of dropout's authors", "recipe",
        "wider hidden layers, SGD at factor times the plain rate, momentum 0.95, max-norm 3",
        argument="factor", default=10.0, rule="positive and finite",
        why="the low end of the 10 to 100 of appendix A", reference=_SRIVASTAVA, noise="dropout", only=True,
        models=_HIDDEN,
    ),
)  # fmt: skip


def find(name: str) -> Addition | None:
    """The row called `name`, or None."""
    return next((row for row in ADDITIONS if row.name == name), None)


def get(name: str) -> Addition:
    """The row called `name`, which is in the table."""
    row = find(name)
    if row is None:
        raise KeyError(name)
    return row


def names() -> list[str]:
    """Every row's name, in the order of the table."""
    return [row.name for row in ADDITIONS]


def clash(first: Addition, second: Addition) -> str:
    """Why two rows cannot join one condition; empty where they can."""
    if first.kind == second.kind:
        return KINDS[first.kind]
    if {first.kind, second.kind} == {"constraint", "recipe"}:
        return "the recipe has a max-norm of its own"
    return ""
