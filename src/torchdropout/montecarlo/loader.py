"""Monte-Carlo predictions over the batches of a loader."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchdropout.layers._checks import check_choice
from torchdropout.losses._passes import Select
from torchdropout.montecarlo._settings import Output, Settings, key_of
from torchdropout.montecarlo.predict import device_of, predicted
from torchdropout.montecarlo.prediction import Prediction, joined
from torchdropout.montecarlo.sampling import Excluded


def mc_predict_loader(
    model: nn.Module,
    loader: Iterable[Any],
    num_samples: int = 50,
    output: Output = "logits",
    key: int | Tensor | None = None,
    select: Select = None,
    *,
    inputs: Callable[[Any], Any] | None = None,
    progress: bool = False,
    interrupt: Literal["raise", "return"] = "raise",
    log_variance: Select = None,
    class_dim: int = -1,
    keep_samples: bool = False,
    consistent: bool = False,
    exclude: Excluded = (),
    strict: bool = True,
    memory: int = 2**24,
) -> Prediction:
    """`mc_predict` over the batches of a loader, which are moved to the model's device one by one.

    The noise of an example depends on its number in the loader's order, not on its batch.

    Args:
        model: As for `mc_predict`.
        loader: Batches: tensors; tuples or lists, whose first part is the input; or dicts of named arguments.
        num_samples: As for `mc_predict`.
        output: As for `mc_predict`.
        key: As for `mc_predict`.
        select: As for `mc_predict`.
        inputs: What the model takes of a batch, where it is another part: a function of the batch.
        progress: Whether to show a progress bar; it needs `rich`.
        interrupt: What Ctrl-C does: `"raise"`, or `"return"` the prediction of the batches that are done.
        log_variance: As for `mc_predict`.
        class_dim: As for `mc_predict`.
        keep_samples: As for `mc_predict`.
        consistent: As for `mc_predict`.
        exclude: As for `mc_predict`.
        strict: As for `mc_predict`.
        memory: As for `mc_predict`.

    Returns:
        The prediction of all examples, on the CPU.

    Raises:
        ValueError: As `mc_predict`; or the loader gives nothing.
        ImportError: `progress` without `rich`.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(td.Dropout(0.5), torch.nn.Linear(4, 3))
        >>> loader = torch.utils.data.DataLoader(torch.randn(10, 4), batch_size=4)
        >>> len(td.mc_predict_loader(model, loader, num_samples=20, key=0))
        10
    """
    settings = Settings(
        "mc_predict_loader", num_samples, output, key_of(key), select, log_variance, class_dim, 0, keep_samples,
        consistent, exclude, strict, memory,
    )  # fmt: skip
    check_choice("mc_predict_loader", "interrupt", interrupt, ("raise", "return"))
    parts: list[Prediction] = []
    try:
        for batch in _shown(loader) if progress else loader:
            x = tree_map(_to(device_of(model)), (inputs or _input_of)(batch))
            parts.append(predicted(model, x, settings, sum(map(len, parts))).to("cpu"))
    except KeyboardInterrupt:
        if interrupt == "raise" or not parts:
            raise
        warnings.warn(f"mc_predict_loader: interrupted after {sum(map(len, parts))} examples.", stacklevel=2)
    if not parts:
        raise ValueError("mc_predict_loader: `loader` must give a batch, got none; was it an iterator already used up?")
    return joined(parts)


def _input_of(batch: Any) -> Any:
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def _to(device: torch.device) -> Callable[[Any], Any]:
    return lambda leaf: leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf


def _shown(loader: Iterable[Any]) -> Iterator[Any]:
    try:
        from rich.progress import track  # noqa: PLC0415 - only where it is asked for
    except ImportError as error:
        raise ImportError("mc_predict_loader: `progress` needs the package rich: pip install rich.") from error
    total = len(loader) if isinstance(loader, Sized) else None
    return iter(track(loader, description="Predicting", total=total))
