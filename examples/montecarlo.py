"""Monte-Carlo dropout on a curve: a network that knows where it has seen no data.

Dropout is left on when predicting, and the network is asked many times: the mean is the prediction, and the spread says
how sure it is. Y. Gal and Z. Ghahramani (Dropout as a Bayesian Approximation, ICML 2016, arXiv:1506.02142, section 5.1)
show it on a curve with a gap: the standard error band is narrow at the data and widens away from them.

Here the curve is sin(3 x) + x / 2 with noise 0.1, seen in [-2, -0.5] and [0.5, 2] alone. What is expected:

- the band is at least 1.5 times as wide beyond the data (2 < |x| < 4) as at the data, for every seed;
- the mean of many noisy passes is close to one pass with the noise off, closer than the noise of the data: that one
  pass is the usual approximation of the mean (N. Srivastava et al. 2014, section 7.5);
- the error of a mean of n passes falls as 1 / √n, so four times the passes halve it.

The band is no promise: it follows the p that was chosen and the network's shape. How often the truth lies within two
standard deviations, of the network and the data's noise together, is measured too, at the data and beyond.
"""

from __future__ import annotations

from pathlib import Path

import torch
from _common import BLUE, ORANGE, Finding, interval, parse, plus_minus, pyplot, save, show
from torch import Tensor, nn

import torchdropout as td

NOISE, P = 0.1, 0.1
GRID = torch.linspace(-4, 4, 161)[:, None]
AT_DATA = ((GRID.abs() > 0.5) & (GRID.abs() < 2)).squeeze(1)
BEYOND = (GRID.abs() > 2).squeeze(1)


def truth(x: Tensor) -> Tensor:
    return torch.sin(3 * x) + x / 2


def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points of the two intervals, with noise."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(2, (count, 1), generator=generator) * 2 - 1
    x = side * (0.5 + 1.5 * torch.rand(count, 1, generator=generator))
    return x, truth(x) + NOISE * torch.randn(count, 1, generator=generator)


def fit(x: Tensor, y: Tensor, steps: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    hidden = [nn.Linear(1, 128), nn.ReLU(), td.Dropout(P), nn.Linear(128, 128), nn.ReLU(), td.Dropout(P)]
    model = nn.Sequential(*hidden, nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003, weight_decay=1e-6)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        decay.step()
    return model


@torch.no_grad()
def passes(model: nn.Sequential, x: Tensor, count: int, seed: int) -> Tensor:
    """The outputs of so many noisy passes, (count, len(x)): every mask from one key."""
    model.train()  # the noise is on; nothing else in this network changes with the mode
    with td.keyed(seed):
        return torch.stack([model(x).squeeze(1) for _ in range(count)])


def measure(model: nn.Sequential, count: int, seed: int) -> dict[str, float]:
    outputs = passes(model, GRID, count, seed)
    mean, spread = outputs.mean(0), outputs.std(0)
    with torch.no_grad():
        quiet = model.eval()(GRID).squeeze(1)
    inside = (mean - truth(GRID).squeeze(1)).abs() < 2 * (spread**2 + NOISE**2) ** 0.5
    blocks = [outputs.unflatten(0, (-1, size)).mean(1).std(0).mean() for size in (1, 4, 16)]
    return {
        "at": float(spread[AT_DATA].mean()),
        "beyond": float(spread[BEYOND].mean()),
        "off": float((mean - quiet)[AT_DATA].square().mean().sqrt()),
        "slope": float((blocks[2] / blocks[0]).log() / torch.tensor(16.0).log()),
        "covered at": 100 * float(inside[AT_DATA].float().mean()),
        "covered beyond": 100 * float(inside[BEYOND].float().mean()),
    }


def draw(path: Path, model: nn.Sequential, data: tuple[Tensor, Tensor], count: int) -> None:
    outputs, x = passes(model, GRID, count, 0).numpy(), GRID.squeeze(1).numpy()
    mean, spread = outputs.mean(0), outputs.std(0)
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    for width, alpha in ((2, 0.2), (1, 0.35)):
        label = f"± {width} standard deviation{'s' * (width > 1)}"
        left.fill_between(x, mean - width * spread, mean + width * spread, color=BLUE, alpha=alpha, lw=0, label=label)
    left.plot(x, mean, color=BLUE, label=f"mean of {count} passes")
    left.plot(x, truth(GRID).squeeze(1).numpy(), "--", color="black", lw=1, label="truth")
    left.plot(*(part.squeeze(1).numpy() for part in data), ".", color=ORANGE, ms=4, label="training data")
    left.set(xlabel="x", ylabel="y", title="Monte-Carlo dropout", ylim=(-5, 5))
    right.plot(x, spread, color=BLUE)
    for low, high in ((-2, -0.5), (0.5, 2)):
        right.axvspan(low, high, color=ORANGE, alpha=0.2, lw=0, label="data were seen here" if low > 0 else None)
    right.set(xlabel="x", ylabel="standard deviation of the passes", title="How unsure it is", ylim=(0, None))
    left.legend(fontsize=8, loc="lower right")
    right.legend(fontsize=8)
    save(figure, path)


def run(small: bool, out: Path) -> list[Finding]:
    seeds, steps, count = (2, 1000, 320) if small else (10, 4000, 1600)
    models = [fit(*sample(100, seed), steps, seed) for seed in range(seeds)]
    found = [measure(model, count, seed) for seed, model in enumerate(models)]
    draw(out / "montecarlo.png", models[0], sample(100, 0), count)
    column = {name: [one[name] for one in found] for name in found[0]}
    ratios = [one["beyond"] / one["at"] for one in found]
    slope = interval(column["slope"])[0]
    return [
        Finding(
            "band beyond the data / at the data", "above 1.5 for every seed", plus_minus(ratios), min(ratios) > 1.5
        ),
        Finding(
            "at the data: mean of the passes less noise off (rms)",
            f"below the data's noise, {NOISE}",
            plus_minus(column["off"], 3),
            max(column["off"]) < NOISE,
        ),
        Finding(
            "log of the mean's spread by log of passes",
            "-0.5: as 1 / √n",
            plus_minus(column["slope"], 3),
            abs(slope + 0.5) < 0.05,
        ),
        Finding(
            "truth within two standard deviations (network and noise), at the data",
            "95 % or more",
            plus_minus(column["covered at"], 1, " %"),
            interval(column["covered at"])[0] >= 95,
        ),
        Finding(
            "the same, beyond the data",
            "less than at the data: the band is no promise",
            plus_minus(column["covered beyond"], 1, " %"),
            interval(column["covered beyond"])[0] < interval(column["covered at"])[0],
        ),
    ]


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
