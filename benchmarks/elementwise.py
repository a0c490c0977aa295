"""Element-wise noise: ours, PyTorch's, and one multiplication, the limit that memory sets.

python benchmarks/elementwise.py [--threads N] [--exponents 8,10,...] [--dtypes float32,...] [--seconds S]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import machine, medians, table
from torch import Tensor

import torchdropout.functional as tdf

RATES = {"p = 0.5": 0.5, "p = 0.25": 0.25, "p = 0.3": 0.3, "p = 0.001": 0.001}


def both_passes(function: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Callable[[], object]:
    """Forward and backward of one function."""
    leaf = x.clone().requires_grad_()
    return lambda: torch.autograd.grad(function(leaf), leaf, grad)


def groups(x: Tensor) -> list[dict[str, Callable[[], object]]]:
    """What is timed on one tensor: each group in turn, so that a ratio is between neighbours."""
    grad = torch.ones_like(x)
    rates = {name: lambda p=p: tdf.dropout(x, p) for name, p in RATES.items()}
    return [
        {"mul": lambda: torch.mul(x, 2.0), **rates},
        {"torch": lambda: F.dropout(x, 0.3), "ours": lambda: tdf.dropout(x, 0.3)},
        {
            "torch both": both_passes(lambda t: F.dropout(t, 0.3), x, grad),
            "ours both": both_passes(lambda t: tdf.dropout(t, 0.3), x, grad),
        },
        {"torch normal": lambda: x * torch.randn_like(x), "ours normal": lambda: tdf.gaussian_dropout(x, 0.3)},
    ]


def row(exponent: int, dtype: torch.dtype, seconds: float) -> list[str]:
    """One size and dtype: nanoseconds per element, then ratios."""
    n = 2**exponent
    t: dict[str, float] = {}
    for group in groups(torch.randn(n).to(dtype)):
        t |= medians(group, seconds=seconds)
    ns = {name: value / n * 1e9 for name, value in t.items()}
    cells = [f"2^{exponent}", str(dtype).removeprefix("torch.")]
    cells += [f"{ns[name]:.3g}" for name in ("mul", "torch", "ours", "torch both", "ours both")]
    cells += [f"{t['torch'] / t['ours']:.2f}", f"{t['torch both'] / t['ours both']:.2f}"]
    cells += [f"{t[name] / t['mul']:.2f}" for name in RATES]
    return [*cells, f"{t['ours normal'] / t['torch normal']:.3f}"]


HEADER = ["elements", "dtype", "mul ns", "torch ns", "ours ns", "torch fwd+bwd ns", "ours fwd+bwd ns"]
HEADER += ["torch / ours", "torch / ours, fwd+bwd", *[f"{name}, ours / mul" for name in RATES]]
HEADER += ["normal: ours / torch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--exponents", default="8,10,13,15,17,19,20,22,24")
    parser.add_argument("--dtypes", default="float32,float64,float16,bfloat16")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each call of each row")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    dtypes = [getattr(torch, name) for name in options.dtypes.split(",")]
    exponents = [int(e) for e in options.exponents.split(",")]
    print(table(HEADER, [row(e, dtype, options.seconds) for dtype in dtypes for e in exponents]))


if __name__ == "__main__":
    main()
