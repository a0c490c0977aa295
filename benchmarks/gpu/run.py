"""Noise on a GPU: against PyTorch's own, against its compiler, and against a copy of the same memory.

python benchmarks/gpu/run.py                              # on a GPU, under eight minutes
TRITON_INTERPRET=1 python benchmarks/gpu/run.py --toy     # without one: sizes of a toy, to see that it runs; no figures

Times are medians of device events around single calls, in an order drawn anew each turn. Bandwidth counts what must be
read and written: an element in and out for a pass, twice for a pass with its backward pass.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

import torchdropout as td
from torchdropout import laws, rng

Call = Callable[[], object]


def medians(calls: Mapping[str, Call], device: torch.device, turns: int) -> dict[str, float]:
    """Milliseconds of each call."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for call in calls.values():
        for _ in range(3 if device.type == "cuda" else 1):
            call()
    for _ in range(turns):
        for name in order.sample(list(calls), len(calls)):
            times[name].append(_event(calls[name]) if device.type == "cuda" else _clock(calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def _event(call: Call) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def _clock(call: Call) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def elementwise(size: int, dtype: torch.dtype, device: torch.device, turns: int) -> list[list[str]]:
    """Forward and backward of dropout."""
    x = torch.randn(size, device=device, dtype=dtype, requires_grad=True)
    grad, other = torch.randn_like(x), torch.empty_like(x)

    def step(drop: Callable[[Tensor], Tensor]) -> Call:
        return lambda: torch.autograd.grad(drop(x), x, grad)

    compiled = torch.compile(lambda t: torch.nn.functional.dropout(t, 0.5))
    calls: dict[str, Call] = {
        "copy": lambda: other.copy_(x.detach()),
        "ours": step(td.Dropout(0.5)),
        "PyTorch": step(torch.nn.Dropout(0.5)),
    }
    if device.type == "cuda":
        calls["PyTorch, compiled"] = step(compiled)
    else:  # the kernel itself, since a tensor of the CPU takes the CPU's
        calls["ours"] = interpreted(x.detach(), laws.Spec("scaled bernoulli", 0.5))
    t = medians(calls, device, turns)
    moved = {name: 1 if name == "copy" else 2 for name in calls}
    return [
        [f"dropout, {str(dtype).removeprefix('torch.')}", name, f"{t[name]:.3f}",
         f"{moved[name] * t['copy'] / t[name]:.2f}", f"{t['PyTorch'] / t[name]:.2f}"]
        for name in calls
    ]  # fmt: skip


def interpreted(x: Tensor, spec: laws.Spec) -> Call:
    """Triton's kernel on tensors of the CPU."""
    from torchdropout.kernels import cuda  # noqa: PLC0415 - needs Triton

    key, out = rng.key(0), torch.empty_like(x)
    return lambda: cuda.multiply(x, out, key, laws.settle(spec))


def residual(size: int, dtype: torch.dtype, device: torch.device, turns: int) -> list[list[str]]:
    """Dropout and the sum with a residual branch in one pass."""
    from torchdropout.kernels import cuda  # noqa: PLC0415 - needs Triton

    x, branch = (torch.randn(size, device=device, dtype=dtype) for _ in range(2))
    key, out, law = rng.key(0).to(device), torch.empty_like(x), laws.settle(laws.Spec("scaled bernoulli", 0.5))
    t = medians(
        {
            "ours": lambda: cuda.multiply(x, out, key, law, branch),
            "PyTorch": lambda: torch.nn.functional.dropout(x, 0.5) + branch,
        },
        device,
        turns,
    )
    name = f"dropout and sum, {str(dtype).removeprefix('torch.')}"
    return [[name, each, f"{t[each]:.3f}", "", f"{t['PyTorch'] / t[each]:.2f}"] for each in t]


def dropconnect(batch: int, width: int, device: torch.device, turns: int) -> list[list[str]]:
    """A mask for every weight and example, forward, and the same materialised for as many examples as fit."""
    from torchdropout.kernels import cuda_dropconnect  # noqa: PLC0415 - needs Triton

    x, weight = torch.randn(batch, width, device=device), torch.randn(width, width, device=device)
    law, key = laws.bernoulli(0.5, scaled=False), rng.key(0).to(device)
    some = max(1, min(batch, 2**32 // width**2))

    def materialised() -> Tensor:
        masks = torch.empty(some, width, width, device=device).bernoulli_(0.5)
        return torch.einsum("noi,ni->no", masks * weight, x[:some])

    calls: dict[str, Call] = {
        "ours": lambda: cuda_dropconnect.forward(x, weight, key, law),
        "materialised": materialised,
    }
    t = medians(calls, device, turns)
    t["materialised"] *= batch / some
    ratios = [f"{t['materialised'] / t[name]:.1f}" for name in calls]
    name = f"DropConnect {batch} x {width} x {width}"
    return [[name, each, f"{t[each]:.3f}", "", ratio] for each, ratio in zip(calls, ratios, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="small, in Triton's interpreter")
    options = parser.parse_args()
    if not options.toy and not torch.cuda.is_available():
        parser.error("no GPU was found; --toy runs small sizes in Triton's interpreter")
    device = torch.device("cpu" if options.toy else "cuda")
    size, width, batch, turns = (3000, 256, 3, 1) if options.toy else (2**28, 4096, 256, 50)
    card = "Triton's interpreter" if options.toy else torch.cuda.get_device_name()
    print(f"{card}; torch {torch.__version__}\n")
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        rows += elementwise(size, dtype, device, turns) + residual(size, dtype, device, turns)
    rows += dropconnect(batch, width, device, turns)
    print("| what | by | ms | of a copy's bandwidth | times faster than PyTorch |\n|---|---|---:|---:|---:|")
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))


if __name__ == "__main__":
    main()
