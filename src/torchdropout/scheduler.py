"""The scheduler that sets a model's drop probabilities, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from torchdropout.layers._checks import check_number
from torchdropout.layers._rate import Rate
from torchdropout.recurrent._layer import Recurrent
from torchdropout.recurrent.kinds import PROBABILITIES
from torchdropout.schedules import Schedule

Filter = Callable[[nn.Module, str], bool]


class DropoutScheduler:
    """Sets every drop probability of a model to its own, times a factor that a schedule gives for the step.

    What a model's layers have when the scheduler is made is the full strength: `p` of this package's and PyTorch's
    dropout layers, `dropout` of recurrent and attention layers, and the probabilities of recurrent kinds. `step()` is
    called once for each step of the optimizer, or once an epoch: `total` counts the same. Changing `p` of this
    package's layers does not recompile a compiled model, but to and from exactly 0 and 1.

    Args:
        model: Whose layers.
        schedule: `Constant()`, `Linear()`, `Cosine()`, `Curriculum()`, `Early()`, `Late()`, or a function of the step
            and the total.
        total: How often `step()` will be called.
        filter_fn: Called with a layer and its qualified name: whether it is scheduled; None for all.

    Raises:
        ValueError: `total` is below 1, no layer is left, or the schedule takes a probability out of [0, 1].

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), td.Dropout(0.5))
        >>> scheduler = td.DropoutScheduler(model, td.schedules.Linear(), total=4)
        >>> rates = []
        >>> for _ in range(5):
        ...     rates.append(model[1].p)
        ...     scheduler.step()
        >>> rates
        [0.0, 0.125, 0.25, 0.375, 0.5]
    """

    def __init__(self, model: nn.Module, schedule: Schedule, total: int, filter_fn: Filter | None = None) -> None:
        check_number("DropoutScheduler", "total", total, "at least 1", lambda v: v >= 1)
        self.schedule, self.total, self.taken = schedule, total, 0
        self._rates = {
            f"{name}.{rate.what}" if name else rate.what: rate
            for name, module in getattr(model, "_orig_mod", model).named_modules()
            if filter_fn is None or filter_fn(module, name)
            for rate in _rates(module)
        }
        if not self._rates:
            which = "the model has none" if filter_fn is None else "`filter_fn` chose none"
            raise ValueError(f"DropoutScheduler: there must be a layer with a drop probability, {which}.")
        self._full = {name: rate.read() for name, rate in self._rates.items()}
        self._set()

    @property
    def rates(self) -> dict[str, float]:
        """The probabilities as they are now, by qualified name."""
        return {name: rate.read() for name, rate in self._rates.items()}

    def step(self) -> None:
        """Go to the next step."""
        self.taken += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Where it is, and the full strengths."""
        return {"taken": self.taken, "total": self.total, "full": dict(self._full)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a `state_dict` stopped, probabilities included.

        Raises:
            ValueError: It is of a model with other layers.
        """
        if set(state["full"]) != set(self._full):
            other = sorted(set(state["full"]) ^ set(self._full))
            raise ValueError(f"DropoutScheduler: `state` must be of the same layers, these differ: {', '.join(other)}.")
        self.taken, self.total, self._full = state["taken"], state["total"], dict(state["full"])
        self._set()

    def _set(self) -> None:
        factor = self.schedule(self.taken, self.total)
        values = {name: full * factor for name, full in self._full.items()}
        for name, p in values.items():
            if not 0 <= p <= 1:
                raise ValueError(
                    f"DropoutScheduler: the schedule must keep `p` in [0, 1], got {p} for {name} at step {self.taken}."
                )
        for name, p in values.items():
            self._rates[name].write(p)


@dataclass(frozen=True)
class _Attribute:
    """A drop probability that a module holds."""

    module: nn.Module
    what: str

    def read(self) -> float:
        return float(getattr(self.module, self.what))

    def write(self, p: float) -> None:
        setattr(self.module, self.what, p)


@dataclass(frozen=True)
class _OfKind:
    """A drop probability of a recurrent kind, which is replaced as a whole."""

    layer: Recurrent
    index: int
    name: str

    @property
    def what(self) -> str:
        return f"recurrent.{self.index}.{self.name}"

    def read(self) -> float:
        return float(getattr(self.layer.recurrent[self.index], self.name))

    def write(self, p: float) -> None:
        kinds = list(self.layer.recurrent)
        changed: dict[str, Any] = {self.name: p}
        kinds[self.index] = dataclasses.replace(kinds[self.index], **changed)
        self.layer.recurrent = kinds


def _rates(module: nn.Module) -> Iterator[_Attribute | _OfKind]:
    if isinstance(module, (Rate, nn.modules.dropout._DropoutNd)):
        yield _Attribute(module, "p")
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        yield _Attribute(module, "dropout")
    if isinstance(module, Recurrent):
        for index, kind in enumerate(module.recurrent):
            yield from (_OfKind(module, index, name) for name in PROBABILITIES if hasattr(kind, name))
