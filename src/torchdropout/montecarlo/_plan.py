"""How the passes of a model are best run: what they share, and how many of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from torchdropout import rng, streams
from torchdropout.losses._state import state
from torchdropout.losses.shared_prefix import SharedPrefix, shared_prefix
from torchdropout.montecarlo._inputs import batch_size, first_rows, repeated, signature
from torchdropout.montecarlo._observe import Generators, Observer
from torchdropout.montecarlo._stand_in import is_compiled, live
from torchdropout.montecarlo._trial import Take, Trial, alike, attempt
from torchdropout.montecarlo.sampling import Excluded
from torchdropout.surgery._calls import run

Pass = Callable[[streams.Samples], Any]


@dataclass(frozen=True)
class Way:
    """A model, and how its inputs are read.

    Attributes:
        model: The model.
        take: What of its output is wanted, as a tensor.
        exclude: What stays in eval.
        batch_dim: The axis of the examples in its inputs.
        generators: Those of its device.
    """

    model: nn.Module
    take: Take
    exclude: Excluded
    batch_dim: int
    generators: Generators

    def passes(self, inputs: Any, plan: Plan) -> Passes:
        """What runs passes over inputs, in sampling mode."""
        return Passes(self, inputs, plan)


@dataclass
class Plan:
    """What is known of a model's passes.

    Attributes:
        trial: What small passes showed.
        by_example: Whether each example's noise has a key of its own.
        joins: Whether several samples can be one batch.
        cut: Where what passes share ends; None where nothing is to be shared.
        bytes_each: Of the largest tensor of an example in what samples do not share.
        stays: Whether an example's samples are the same in any batch.
    """

    trial: Trial
    by_example: bool
    joins: bool
    cut: SharedPrefix | None = None
    bytes_each: int = 0
    cut_joins: bool = False
    stays: bool = True


class Passes:
    """Passes over the same inputs, with what precedes the first live noise computed once."""

    def __init__(self, way: Way, inputs: Any, plan: Plan) -> None:
        self.way, self.inputs, self.plan = way, inputs, plan
        self.examples = batch_size(inputs, way.batch_dim)
        self.values = None if plan.cut is None else plan.cut.before(_arguments(inputs))

    def run(self, key: Tensor, samples: range, first: int, consistent: bool) -> Any:
        """The output of a pass over so many samples."""
        examples = self.examples if self.plan.by_example else None
        with rng.streaming(streams.Samples(key, samples, first, examples, consistent=consistent)):
            if self.values is None or self.plan.cut is None:
                return run(self.way.model, repeated(self.inputs, self.way.batch_dim, len(samples)))
            return self.plan.cut.after(self._values(len(samples)))

    def _values(self, times: int) -> dict[Any, Any]:
        """What stands before the cut, for so many samples."""
        values = self.values or {}
        if times == 1:
            return values
        return {node: _repeated(value, self.examples, times) for node, value in values.items()}


def _repeated(value: Any, examples: int, times: int) -> Any:
    rows = isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == examples
    return torch.cat([value] * times) if rows else value


def _arguments(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, tuple[Any, Plan]]] = WeakKeyDictionary()


def plan_for(way: Way, inputs: Any, wanted: Any) -> Plan:
    """The plan for such inputs, made anew when the model changes; `wanted` tells what of the output is taken."""
    name = (signature(inputs), str(way.exclude), way.batch_dim, wanted)
    known = _KNOWN.setdefault(way.model, {}).get(name)
    now = state(way.model, ())
    if known is None or known[0] != now:
        known = _KNOWN[way.model][name] = now, _plan(way, inputs)
    return known[1]


def _plan(way: Way, inputs: Any) -> Plan:
    trial = attempt(way.model, inputs, way.take, way.exclude, way.batch_dim, way.generators)
    if is_compiled(way.model) or trial.batch_axis is None:
        return Plan(trial, by_example=False, joins=False, stays=False)
    plan = Plan(trial, by_example=True, joins=not trial.for_batch, bytes_each=trial.bytes_each)
    plan.stays = trial.keyed and not trial.foreign
    few = first_rows(inputs, way.batch_dim, min(2, batch_size(inputs, way.batch_dim)))
    with live(way.model, way.exclude, way.generators.device), torch.no_grad():
        _cut(way, plan, few)
        if not trial.foreign:
            _confirm(way, plan, few)
    return plan


def _cut(way: Way, plan: Plan, few: Any) -> None:
    """Look for work that passes share, and whether what it gives can be repeated along its examples."""
    if isinstance(few, dict) or way.batch_dim != 0:
        return
    cut = shared_prefix(way.model, len(_arguments(few)))
    if not cut.saves:
        return
    examples = batch_size(few, 0)
    once, twice = cut.before(_arguments(few)), cut.before(_arguments(repeated(few, 0, 2)))
    grows = all(_grows(once[node], twice[node], examples) for node in once)
    if plan.joins and not grows:
        return  # one batch of all samples is worth more than what they share
    plan.cut = cut
    observer = Observer(way.model, way.generators)
    with observer.watching(), rng.streaming(streams.Samples(rng.key(1), range(1), 0, examples)):
        cut.after(once)
    plan.bytes_each = max([observer.largest, *(v.nbytes for v in once.values() if isinstance(v, Tensor))]) // examples


def _grows(one: Any, two: Any, examples: int) -> bool:
    """Whether a value of twice the examples is the value twice, or does not depend on them."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.dim() > 0 and one.shape[0] == examples:
            return alike(torch.cat([one, one]), two)
        return alike(one, two)
    return bool(one == two) if isinstance(one, (int, float, str, bool, type(None))) else False


def apart(y: Tensor, axis: int, count: int) -> Tensor:
    """The outputs of so many samples, which were one batch: `(S, ...)`."""
    shape = [*y.shape[:axis], count, y.shape[axis] // count, *y.shape[axis + 1 :]]
    return y.reshape(shape).movedim(axis, 0)


def _confirm(way: Way, plan: Plan, few: Any) -> None:
    """See that a sample is the same alone as beside another, and an example as beside another."""
    axis, key = plan.trial.batch_axis or 0, rng.key(1)

    def samples(inputs: Any, numbers: range) -> Tensor:
        y = way.take(way.passes(inputs, plan).run(key, numbers, 0, False))
        return apart(y, axis, len(numbers))

    alone = samples(few, range(1, 2))[0]
    if plan.joins:
        try:
            plan.joins = alike(samples(few, range(2))[1], alone)
        except streams.SharedAcrossSamplesError:
            plan.joins = False
    one = samples(first_rows(few, way.batch_dim, 1), range(1, 2))[0]
    plan.stays = plan.stays and alike(one, alone.narrow(axis, 0, 1))
