"""Timing that survives a noisy machine: several calls in turn, again and again, and the median of each."""

from __future__ import annotations

import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def medians(
    calls: Mapping[str, Callable[[], object]], *, seconds: float = 1.0, least: int = 9, row: int = 1
) -> dict[str, float]:
    """The median seconds of each call, all of them in turn, the turn's order drawn anew, for `seconds` each.

    The order matters: what a call leaves in the caches, and in the allocator, is paid for by the next. Calls that
    follow themselves where they are used are therefore made `row` times in a row, of which the first is not counted.
    """
    for call in calls.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or len(next(iter(times.values()))) < least:
        for name in order.sample(list(calls), len(calls)):
            for turn in range(row):
                start = time.perf_counter()
                calls[name]()
                if turn or row == 1:
                    times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> str:
    """One line: processor, cores, threads of torch, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    model = model or platform.processor() or "unknown processor"
    family = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("cpu family", "model\t"))][:2]
    names = f"{model} (family {family[0]}, model {family[1]})" if len(family) == 2 else model
    mkl = "with" if torch.backends.mkl.is_available() else "without"
    return (
        f"{names}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, {mkl} MKL; "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---:|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
