"""What a model costs, beside a smaller one."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from torchdropout.montecarlo._inputs import by_rows
from torchdropout.surgery._calls import run


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        parameters: How many numbers are trained.
        nonzero: How many of them are not zero.
        bytes: The size of all weights and buffers.
        flops: Of one example, a multiplication and an addition counted as two.
        latency_1: The median milliseconds of one example.
        latency_64: The median milliseconds of 64.
        accuracy: The part of labels that is predicted; None without data.
    """

    parameters: int
    nonzero: int
    bytes: int
    flops: int
    latency_1: float
    latency_64: float
    accuracy: float | None = None


@dataclass(frozen=True)
class CompressionReport:
    """Two models' costs; it prints as a table."""

    before: Cost
    after: Cost

    def __str__(self) -> str:
        lines = [f"{'':12}{'before':>14}{'after':>14}{'times less':>12}"]
        for each in fields(Cost):
            a, b = getattr(self.before, each.name), getattr(self.after, each.name)
            if a is None or b is None:
                continue
            form = ",d" if isinstance(a, int) else ".4g"
            ratio = "" if each.name == "accuracy" or not b else f"{a / b:12.2f}"
            lines.append(f"{each.name:12}{a:>14{form}}{b:>14{form}}{ratio}")
        return "\n".join(lines)


def compression_report(
    original: nn.Module,
    smaller: nn.Module,
    example_inputs: Any,
    data: tuple[Any, Tensor] | None = None,
    *,
    seconds: float = 1.0,
) -> CompressionReport:
    """Measure two models alike: parameters, bytes, operations, time and accuracy, all in eval.

    Times are medians of passes that take turns, on the threads that PyTorch has.

    Args:
        original: The model that was.
        smaller: The model that became of it.
        example_inputs: A tensor, a tuple of arguments, or a dict of named ones; batches of 1 and 64 are made of it.
        data: Inputs and labels to measure the accuracy on.
        seconds: How long to measure each time.

    Returns:
        Both models' costs.

    Raises:
        ValueError: `seconds` is not positive.

    Example:
        >>> import torch, torchdropout as td
        >>> large, small = torch.nn.Linear(100, 10), torch.nn.Linear(50, 10)
        >>> report = td.compression_report(large, torch.nn.Sequential(torch.nn.Linear(100, 5)), torch.randn(2, 100))
        >>> report.before.parameters, report.after.parameters
        (1010, 505)
    """
    if seconds <= 0:
        raise ValueError(f"compression_report: `seconds` must be positive, got {seconds}.")
    models = (original, smaller)
    modes = [[(module, module.training) for module in model.modules()] for model in models]
    try:
        for model in models:
            model.eval()
        times = {count: _latencies(models, _rows(example_inputs, count), seconds) for count in (1, 64)}
        costs = [
            Cost(
                *_sizes(model),
                _flops(model, _rows(example_inputs, 1)),
                times[1][i],
                times[64][i],
                _accuracy(model, data),
            )
            for i, model in enumerate(models)
        ]
    finally:
        for each in modes:
            for module, mode in each:
                module.training = mode
    return CompressionReport(*costs)


def _sizes(model: nn.Module) -> tuple[int, int, int]:
    parameters = list(model.parameters())
    nonzero = sum(int(p.count_nonzero()) for p in parameters)
    return sum(p.numel() for p in parameters), nonzero, sum(t.nbytes for t in model.state_dict().values())


def _rows(inputs: Any, count: int) -> Any:
    """The inputs with so many examples, repeated where there are fewer."""
    return by_rows(inputs, 0, lambda x: x[torch.arange(count, device=x.device) % len(x)])


_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Of the scores and of the mean of the values, from shapes `(N, heads, L, d)`."""
    batch, heads, length, size = query
    return int(2 * batch * heads * length * key[2] * (size + value[3]))


@torch.no_grad()
def _flops(model: nn.Module, inputs: Any) -> int:
    counter = FlopCounterMode(display=False, custom_mapping={_ATTENTION: _attention_flops})
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # kernels for whole layers, which the counter does not know
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a switch beside the one for recurrent layers does nothing here
            with counter, torch.backends.mkldnn.flags(enabled=False):
                run(model, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


@torch.no_grad()
def _latencies(models: tuple[nn.Module, ...], inputs: Any, seconds: float) -> list[float]:
    """Median milliseconds, in turns."""
    calls: list[Callable[[], Any]] = [lambda model=model: run(model, inputs) for model in models]  # type: ignore[misc]
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            own.append(time.perf_counter() - start)
    return [statistics.median(own) * 1e3 for own in times]


@torch.no_grad()
def _accuracy(model: nn.Module, data: tuple[Any, Tensor] | None) -> float | None:
    if data is None:
        return None
    x, labels = data
    right = 0
    for start in range(0, len(labels), 1024):
        part = slice(start, start + 1024)
        y = run(model, tree_map(lambda t, part=part: t[part] if isinstance(t, Tensor) else t, x))
        right += int((y.argmax(-1) == labels[part]).sum())
    return right / len(labels)
