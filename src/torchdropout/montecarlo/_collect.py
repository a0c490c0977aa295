"""All samples of a prediction, as many at once as memory allows."""

from __future__ import annotations

import torch
from torch import Tensor

from torchdropout.losses._passes import selected
from torchdropout.montecarlo._moments import Collector
from torchdropout.montecarlo._plan import Passes, apart
from torchdropout.montecarlo._settings import Settings, check_classes, check_finite

_LIVE = 4  # how many tensors of the largest size a pass may hold at once, roughly


def collect(passes: Passes, settings: Settings, first: int) -> Collector:
    collector = Collector(settings.output, settings.class_dim, settings.keep_samples)
    at_once, done = _at_once(passes, settings), 0
    while done < settings.num_samples:
        numbers = range(done, min(done + at_once, settings.num_samples))
        try:
            values, noise = _samples(passes, settings, numbers, first)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if at_once == 1:
                raise RuntimeError(
                    f"{settings.owner}: one pass over {passes.examples} examples needs more memory than there is; give "
                    "fewer at once, or a loader of smaller batches to mc_predict_loader."
                ) from error
            at_once = -(-at_once // 2)
            continue
        check_finite(settings, values, numbers)
        collector.add(values, noise)
        done = numbers.stop
    return collector


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _at_once(passes: Passes, settings: Settings) -> int:
    """How many samples are one batch: as many as the memory allows, in parts of about one size."""
    if not passes.plan.joins:
        return 1
    each = _LIVE * max(1, passes.plan.bytes_each) * passes.examples
    most = max(1, min(settings.num_samples, int(settings.memory) // each))
    parts = -(-settings.num_samples // most)
    return -(-settings.num_samples // parts)


def _samples(passes: Passes, settings: Settings, numbers: range, first: int) -> tuple[Tensor, Tensor | None]:
    """Outputs `(S, ...)` of a pass, and the log variances beside them."""
    output = passes.run(settings.key, numbers, first, settings.consistent)
    values = _apart(settings.take(output), passes, len(numbers))
    check_classes(settings, values)
    if settings.log_variance is None:
        return values, None
    noise = _apart(selected(settings.owner, output, settings.log_variance), passes, len(numbers))
    if noise.shape != values.shape:
        raise ValueError(
            f"{settings.owner}: `log_variance` must have the output's shape {tuple(values.shape[1:])}, "
            f"got {tuple(noise.shape[1:])}."
        )
    return values, noise


def _apart(y: Tensor, passes: Passes, count: int) -> Tensor:
    return y.unsqueeze(0) if count == 1 else apart(y, passes.plan.trial.batch_axis or 0, count)
