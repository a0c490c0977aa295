"""The conformance suite on layers of other projects: what a noise layer owes its users, and which layers pay.

`torchdropout.testing` takes any `torch.nn.Module` that is noisy iff it is in training mode. `torch.nn.Dropout2d` is
one; Keras 3's `GaussianDropout` with its torch backend takes the mode as an argument of the call, so five lines adapt
it. With a claim of the noise, the distribution and what shares a draw are checked with bounds that a right layer
exceeds with probability 1e-9.

What is expected follows from the two projects' source:

- both draw the noise they say they draw, with one draw a map and one an element, and are quiet in eval;
- PyTorch's layer passes every check but one: it compares the rate with 0 and 1, which a NaN survives;
- Keras's layer accepts the rate 1, for which its standard deviation divides by zero at the first call;
- Keras's noise comes from a counter that the layer keeps: `torch.manual_seed` does not set it, activation
  checkpointing, which restores PyTorch's generators, recomputes other noise, and the gradient is another function's;
- this package's layers of the same names pass every check that applies.

What fails is not hidden: the figure shows every check of every layer. Most of Keras's failures have one of two causes,
that counter and a dtype policy, by which the layer returns float32 whatever it is given.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from _common import Finding, parse, pyplot, save, show
from torch import Tensor, nn

import torchdropout as td
from torchdropout.testing import CHECKS, Case, GaussianNoiseClaim, Outcome, TwoPointClaim, run_checks

P = 0.25
SCALED = TwoPointClaim(keep=1 - P, dropped=0.0, kept=1 / (1 - P), shared_dims=(2, 3))
NORMAL = GaussianNoiseClaim(std=math.sqrt(P / (1 - P)))
BAD_RATES = (-0.25, 1.0, 1.5, math.nan)
COLOURS = {"pass": "#009E73", "fail": "#D55E00", "n/a": "#DDDDDD"}


def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras as module  # noqa: PLC0415 - only this example needs it, and seconds to load
    except ModuleNotFoundError:
        print("error: this example needs keras: pip install keras", file=sys.stderr)
        sys.exit(2)
    return module


class KerasGaussianDropout(nn.Module):
    """The adapter: a module that hands its mode on."""

    def __init__(self, rate: float = P) -> None:
        super().__init__()
        self.layer = keras().layers.GaussianDropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, training=self.training)


def check_all(backend: str | None) -> dict[str, dict[str, Outcome]]:
    """Every check of the four layers."""
    maps, vectors = torch.randn(32, 64, 4, 4), torch.randn(64, 128)

    def of_vectors(layer: Callable[..., nn.Module]) -> Case:
        return Case(lambda: layer(P), vectors, NORMAL, backend, remake=layer, bad=BAD_RATES)

    cases = {
        "torch.nn.Dropout2d": Case(lambda: nn.Dropout2d(P), maps, SCALED, backend),
        "torchdropout.Dropout2d": Case(lambda: td.Dropout2d(P), maps, SCALED, backend),
        "keras GaussianDropout": of_vectors(KerasGaussianDropout),
        "torchdropout.GaussianDropout": of_vectors(td.GaussianDropout),
    }
    return {name: run_checks(case) for name, case in cases.items()}


def failing(outcomes: dict[str, Outcome]) -> list[str]:
    return [check for check, outcome in outcomes.items() if outcome.status == "fail"]


def called_at_rate_one() -> str:
    try:
        layer = KerasGaussianDropout(1.0).train()
    except ValueError:
        return "refused"
    try:
        layer(torch.ones(4))
    except ZeroDivisionError:
        return "accepted; the call raises ZeroDivisionError"
    return "accepted, and the call returns"


def judge(found: dict[str, dict[str, Outcome]]) -> list[Finding]:
    rows = []
    for name in ("torchdropout.Dropout2d", "torchdropout.GaussianDropout"):
        fails = failing(found[name])
        rows.append(Finding(f"checks that {name} fails", "none", ", ".join(fails) or "none", not fails))
    detail = found["torch.nn.Dropout2d"]["errors"].detail
    fails = failing(found["torch.nn.Dropout2d"])
    expected = "errors alone: p = nan is accepted"
    measured = f"{', '.join(fails)}: {detail}"
    rows.append(
        Finding("checks that torch.nn.Dropout2d fails", expected, measured, fails == ["errors"] and "nan" in detail)
    )
    theirs = found["keras GaussianDropout"]
    for check, status, what in (
        ("statistics", "pass", "Keras: the noise is Normal(1, rate / (1 - rate))"),
        ("sharing", "pass", "Keras: one draw for each element"),
        ("eval", "pass", "Keras: quiet in eval"),
        ("train_is_noisy", "pass", "Keras: drawn anew at every call"),
        ("reproducible", "fail", "Keras: the same noise after the same torch.manual_seed"),
        ("checkpoint", "fail", "Keras: the same noise when a checkpoint recomputes"),
        ("errors", "fail", "Keras: rates without a finite deviation are refused"),
    ):
        outcome = theirs[check]
        measured = f"{outcome.status}: {outcome.detail}" if outcome.detail else outcome.status
        rows.append(Finding(what, status, measured, outcome.status == status))
    one = called_at_rate_one()
    rows.append(Finding("Keras: rate 1", "accepted, then divides by zero", one, "ZeroDivisionError" in one))
    return rows


def draw_figure(found: dict[str, dict[str, Outcome]], path: Path) -> None:
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 8), layout="constrained")
    for column, outcomes in enumerate(found.values()):
        for row, outcome in enumerate(outcomes.values()):
            axes.add_patch(plt.Rectangle((column, row), 0.94, 0.9, color=COLOURS[outcome.status]))
            axes.text(column + 0.47, row + 0.47, outcome.status, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-0.05, len(found)), ylim=(len(CHECKS), -0.1), title="Checks by layer")
    axes.set_xticks([column + 0.47 for column in range(len(found))], list(found), fontsize=8)
    axes.set_yticks([row + 0.45 for row in range(len(CHECKS))], [name.replace("_", " ") for name in CHECKS], fontsize=8)
    axes.grid(False)
    save(figure, path)


def run(small: bool, out: Path) -> list[Finding]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = check_all(None if small else "aot_eager")
    for name, outcomes in found.items():
        counts = (sum(outcome.status == status for outcome in outcomes.values()) for status in COLOURS)
        print(f"{name:29}", ", ".join(f"{count} {status}" for count, status in zip(counts, COLOURS, strict=True)))
        for check in failing(outcomes):
            print(f"  {check}: {outcomes[check].detail.splitlines()[0]}")
    draw_figure(found, out / "conformance.png")
    return judge(found)


def main() -> None:
    small, out = parse(__doc__)
    show(run(small, out))


if __name__ == "__main__":
    main()
