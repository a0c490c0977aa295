"""What the methods cost, against a peer and against the layer or the copy that they take the place of.

python benchmarks/layers.py [--threads N] [--seconds S] [NAME ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _memory import peak
from _timing import machine, medians, table
from torch import Tensor, nn

import torchdropout as td

Call = Callable[[], object]
Row = tuple[str, float, str]  # what is compared, the ratio, the aim


def step(layer: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> Call:
    """Forward and backward, the gradient of the input included."""
    leaf = x.clone().requires_grad_()
    grad = torch.ones_like(layer(leaf))
    return lambda: torch.autograd.grad(layer(leaf), (leaf, *parameters), grad)


def step_of(layer: nn.Module, x: Tensor) -> Call:
    return step(layer, x, *layer.parameters())


def dropconnect(seconds: float) -> list[Row]:
    """Per example, B = 128, 800 to 800, beside a materialised mask and the dense product."""
    x, layer, rows = torch.randn(128, 800), nn.Linear(800, 800, bias=False), []

    def materialised(p: float) -> Callable[[Tensor], Tensor]:
        return lambda v: torch.bmm(F.dropout(layer.weight.expand(128, 800, 800), p), v.unsqueeze(2)).squeeze(2)

    for p, faster, dense in ((0.5, 40, 15), (0.3, 20, 35)):
        ours = td.DropConnectLinear.from_linear(layer, p=p)
        t = medians({"ours": step_of(ours, x), "dense": step_of(layer, x)}, seconds=seconds)
        t |= medians({"bmm": step(materialised(p), x, layer.weight)}, seconds=0, least=3)
        rows += [
            (f"DropConnectLinear, p = {p}: masks materialised / ours", t["bmm"] / t["ours"], f">= {faster}"),
            (f"DropConnectLinear, p = {p}: ours / dense", t["ours"] / t["dense"], f"<= {dense}"),
        ]
    floats = 128 * 1600 + 800 * 800
    rows.append(
        (
            "DropConnectLinear: peak extra memory / (B (in + out) + in out) floats",
            peak(step_of(ours, x)) / 4 / floats,
            "<= 3",
        )
    )
    return rows


def pooling(seconds: float) -> list[Row]:
    """Max-pooling dropout on (64, 64, 32, 32)."""
    x, layer = torch.rand(64, 64, 32, 32), td.MaxPoolDropout2d(2)
    test = td.MaxPoolDropout2d(2).eval()
    calls = {"ours": step(layer, x), "pool": step(lambda v: F.max_pool2d(v, 2), x), "dropout": step(td.Dropout(0.5), x)}
    t = medians(calls, seconds=seconds)
    t |= medians({"ours test": lambda: test(x), "test": lambda: F.max_pool2d(x, 2)}, seconds=seconds)
    return [
        ("MaxPoolDropout2d, training / (max_pool2d + dropout)", t["ours"] / (t["pool"] + t["dropout"]), "<= 1.5"),
        ("MaxPoolDropout2d, test / max_pool2d", t["ours test"] / t["test"], "<= 4"),
    ]


def local(seconds: float) -> list[Row]:
    """Layers with the local reparameterization beside the plain layer: two products and one noise pass."""
    x, plain = torch.randn(128, 800), nn.Linear(800, 800)
    images, conv = torch.randn(64, 64, 14, 14), nn.Conv2d(64, 64, 3, padding=1)
    calls = {
        "linear": step_of(plain, x),
        "SparseVariationalLinear": step_of(td.SparseVariationalLinear.from_linear(plain), x),
        "VariationalLinear": step_of(td.VariationalLinear.from_linear(plain), x),
        "FastDropoutLinear": step_of(td.FastDropoutLinear.from_linear(plain), x),
    }
    t = medians(calls, seconds=seconds)
    rows = [(f"{name} / Linear", t[name] / t["linear"], "<= 2.5") for name in calls if name != "linear"]
    calls = {
        "conv": step_of(conv, images),
        "SparseVariationalConv2d": step_of(td.SparseVariationalConv2d.from_conv(conv), images),
        "VariationalConv2d": step_of(td.VariationalConv2d.from_conv(conv), images),
    }
    t = medians(calls, seconds=seconds)
    return rows + [(f"{name} / Conv2d", t[name] / t["conv"], "<= 2.5") for name in calls if name != "conv"]


def cutout(seconds: float) -> list[Row]:
    """On (256, 3, 32, 32), beside a copy."""
    x, layer = torch.randn(256, 3, 32, 32), td.Cutout(16)
    t = medians({"copy": x.clone, "ours": lambda: layer(x)}, seconds=seconds)
    return [("Cutout / copy", t["ours"] / t["copy"], "<= 1.3")]


def noise(seconds: float) -> list[Row]:
    """Learned and normal noise beside our dropout at p = 0.3, forward and backward."""
    rows: list[Row] = []
    for shape in ((256, 1024), (1024, 1024), (4096, 2048)):
        x, logit = torch.randn(shape), torch.tensor(-1.0, requires_grad=True)
        gate = td.LogNormalDropout(shape[1], dim=-1)
        calls = {
            "dropout": step(td.Dropout(0.3), x),
            "GaussianDropout": step(td.GaussianDropout(0.3), x),
            "ConcreteDropout's noise": step(lambda v, logit=logit: td.functional.concrete_dropout(v, logit), x, logit),
            "LogNormalDropout": step_of(gate, x),
        }
        t = medians(calls, seconds=seconds)
        for name in list(calls)[1:]:
            rows.append((f"{name}, {shape[0]} x {shape[1]} / Dropout(0.3)", t[name] / t["dropout"], "<= 2"))
    return rows


GROUPS = {"dropconnect": dropconnect, "pooling": pooling, "local": local, "cutout": cutout, "noise": noise}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(GROUPS), metavar="NAME", help=", ".join(GROUPS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each call")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    rows = [row for name in options.names for row in GROUPS[name](options.seconds)]
    print(table(["forward and backward, unless said", "ratio", "aim"], [[a, f"{b:.2f}", c] for a, b, c in rows]))


if __name__ == "__main__":
    main()
