"""The kinds of recurrent dropout, each inside an LSTM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.recurrent.kinds import Kind, of_strength
from torchdropout.testing.case import Case, Expectation, Factory, Twin
from torchdropout.testing.claims import TwoPointClaim
from torchdropout.testing.declared._lstm import Noisy, Outputs, lstm, weights
from torchdropout.testing.declared._reading import cell_masks, gate_masks, weight_masks, zones
from torchdropout.testing.declared._tools import BATCH, scaled
from torchdropout.testing.integration import masks

_P, _KEEP = 0.25, 0.75
_SIZES = 16, 8  # of the inputs and of the state
_X = torch.tensor([[0.8], [-1.5], [1.1]], dtype=torch.float64)
_SMALL = weights(1, 2)


def _small(kind: Kind) -> Factory:
    """An LSTM of two units and fixed weights."""

    def make() -> nn.Module:
        layer = Noisy(kind, 1, 2)
        _SMALL.given_to(layer.layer)
        return layer

    return make


def _of(
    kind: Kind, shape: tuple[int, ...], keep: float | Tensor, multipliers: Callable[[Tensor], Mapping[str, Tensor]],
    *, steps: int = 3, **options: Any,
) -> Expectation:  # fmt: skip
    """All masks of a shape, and what multiplies for each of them; eval is the LSTM without masks if nothing is said."""
    every, chances = masks(shape, keep)
    x = _X[:steps]
    options = {"test": lstm(x, _SMALL)} | options
    return Expectation(_small(kind), x.unsqueeze(0), lstm(x, _SMALL, **multipliers(every)), chances, **options)


def _settled(kind: Kind, *, test: Tensor | None = None, **multipliers: Tensor) -> Expectation:
    """A kind at probability 1, which has one outcome."""
    outcome, plain = lstm(_X, _SMALL, **multipliers), lstm(_X, _SMALL)
    one = torch.ones(1, dtype=torch.float64)
    return Expectation(_small(kind), _X.unsqueeze(0), outcome, one, plain if test is None else test, batch=1, calls=1)


def _case(kind: type[Any], claim: TwoPointClaim, settled: Sequence[Kind], **declared: Any) -> Case:
    """What all kinds declare alike; `settled` are those whose probabilities are 1."""

    def layer(p: float = _P) -> nn.Module:
        return Noisy(of_strength(kind, p), *_SIZES)

    extremes = {str(one): _set(one) for one in settled} | {"weights of 1e4": _saturate}
    return Case(
        layer, torch.randn(20, 8, _SIZES[0]), claim, elementwise=False, recurrent=True, remake=layer,
        twin=Twin(lambda: Outputs(nn.LSTM(*_SIZES, batch_first=True)), lambda: layer(0.0)), extremes=extremes,
        **declared,
    )  # fmt: skip


def _set(kind: Kind) -> Callable[[nn.Module], object]:
    return lambda layer: setattr(layer, "kind", kind)


def _saturate(layer: nn.Module) -> None:
    for name, parameter in layer.named_parameters():
        parameter.fill_(1e4 if "ih" in name else -1e4)


def variational() -> Case:
    """Masks of inputs and states that all steps share, a gate's own unless they are tied."""
    keep = torch.tensor([_KEEP] * 4 + [0.5] * 8)
    untied = _of(
        td.Variational(_P, 0.5), (12,), keep,
        lambda m: {"input": m[:, :4].view(-1, 4, 1) / _KEEP, "hidden": m[:, 4:].view(-1, 4, 2) / 0.5},
    )  # fmt: skip
    tied = _of(
        td.Variational(_P, 0.5, tied=True), (3,), keep[[0, 4, 5]],
        lambda m: {"input": m[:, :1].view(-1, 1, 1) / _KEEP, "hidden": m[:, 1:].view(-1, 1, 2) / 0.5},
    )  # fmt: skip
    no_input, no_state = td.Variational(1.0, 0.0), td.Variational(0.0, 1.0)
    return _case(
        td.Variational, scaled(_P, (1,)), probe=gate_masks(td.Variational(_P, _P)), settled=(no_input, no_state),
        expected=(
            untied, tied, _settled(no_input, input=torch.zeros(1, 4, 1)),
            _settled(no_state, hidden=torch.zeros(1, 4, 2)),
        ),
    )  # fmt: skip


def cell_dropout() -> Case:
    """A mask of cell states that all steps share; eval is the exact expectation of one step, then the rule."""
    expected = [
        _of(td.CellDropout(_P), (2,), _KEEP, lambda m: {"cell": m}, steps=steps, test=test)
        for steps, test in ((1, None), (3, lstm(_X, _SMALL, keep=torch.tensor([[_KEEP]]))))
    ]
    nothing = torch.zeros(1, 3, 2)
    return _case(
        td.CellDropout, TwoPointClaim(_KEEP, 0.0, 1.0, (1,)), probe=cell_masks(td.CellDropout(_P)),
        settled=(td.CellDropout(1.0),),
        expected=(*expected, _settled(td.CellDropout(1.0), test=nothing, cell=torch.zeros(1, 2))),
    )  # fmt: skip


def update_dropout() -> Case:
    """Masks of candidate values, of each step or of all; what a cell remembers is not dropped."""
    expected = (
        _of(td.UpdateDropout(_P), (3, 2), _KEEP, lambda m: {"update": m / _KEEP}),
        _of(
            td.UpdateDropout(_P, per="sequence"), (1, 2), _KEEP, lambda m: {"update": m.expand(-1, 3, -1) / _KEEP}
        ),
        _settled(td.UpdateDropout(1.0), update=torch.zeros(1, 3, 2)),
    )  # fmt: skip
    return _case(
        td.UpdateDropout, scaled(_P), probe=cell_masks(td.UpdateDropout(_P)), expected=expected,
        settled=(td.UpdateDropout(1.0), td.UpdateDropout(1.0, per="sequence")),
    )  # fmt: skip


def zoneout() -> Case:
    """Single units of both states that stay for a step; eval is the exact expectation of one step, then the rule."""
    kind = td.Zoneout(cell=0.5, hidden=_P)

    def of(steps: int, test: Tensor | None) -> Expectation:
        stay = torch.tensor([0.5, _P]).view(2, 1, 1).expand(2, steps, 2)
        return _of(
            kind, (2, steps, 2), stay, lambda m: {"zone_cell": m[:, 0], "zone_hidden": m[:, 1]}, steps=steps, test=test
        )

    rule = lstm(_X, _SMALL, zone_cell=torch.full((1, 3, 2), 0.5), zone_hidden=torch.full((1, 3, 2), _P))
    no_cell, no_hidden = td.Zoneout(cell=1.0), td.Zoneout(hidden=1.0)
    nothing, stays = torch.zeros(1, 3, 2), torch.ones(1, 3, 2)
    return _case(
        td.Zoneout, TwoPointClaim(_KEEP, 0.0, 1.0), probe=zones(td.Zoneout(cell=_P, hidden=_P)),
        settled=(no_cell, no_hidden),
        expected=(
            of(1, None), of(3, rule), _settled(no_hidden, test=nothing, zone_hidden=stays),
            _settled(no_cell, test=lstm(_X, _SMALL, zone_cell=stays), zone_cell=stays),
        ),
    )  # fmt: skip


_STACK = {
    "_l0": weights(1, 1),
    "_l0_reverse": weights(1, 1, 9),
    "_l1": weights(2, 1, 3),
    "_l1_reverse": weights(2, 1, 5),
}


def _stack(x: Tensor, multipliers: Tensor) -> Tensor:
    """Two layers of one unit, each in both directions; the multipliers of all recurrent weights are `(K, 16)`."""
    first, second, third, fourth = zip(_STACK.values(), multipliers.view(-1, 4, 4, 1, 1).unbind(1), strict=True)
    x = x.unsqueeze(0)
    for (of, mask), (of_reverse, mask_reverse) in ((first, second), (third, fourth)):
        y, reverse = lstm(x, of, weight=mask), lstm(x.flip(1), of_reverse, weight=mask_reverse)
        x = torch.cat([y, reverse.flip(1)], -1)
    return x


def weight_drop() -> Case:
    """One mask of the recurrent weights for a call, of every layer and direction."""

    def stacked() -> nn.Module:
        layer = Noisy(td.WeightDrop(_P), 1, 1, num_layers=2, bidirectional=True)
        for suffix, of in _STACK.items():
            of.given_to(layer.layer, suffix)
        return layer

    def one() -> nn.Module:
        layer = Noisy(td.WeightDrop(_P), 1, 1)
        _STACK["_l0"].given_to(layer.layer)
        return layer

    every, chances = masks((16,), _KEEP)
    deep = Expectation(
        stacked, _X.unsqueeze(0), _stack(_X, every / _KEEP), chances, _stack(_X, torch.ones(1, 16)), **BATCH
    )
    every, chances = masks((4, 1, 1), _KEEP)
    two = torch.stack([_X, -2.0 * _X])
    outcomes = torch.stack([lstm(x, _STACK["_l0"], weight=every / _KEEP) for x in two], 1)
    plain = torch.stack([lstm(x, _STACK["_l0"]) for x in two], 1)
    return _case(
        td.WeightDrop, scaled(_P, (0, 1)), probe=weight_masks(td.WeightDrop(_P)), settled=(td.WeightDrop(1.0),),
        expected=(
            Expectation(one, two, outcomes, chances, plain, **BATCH), deep,
            _settled(td.WeightDrop(1.0), weight=torch.zeros(1, 4, 2, 2)),
        ),
    )  # fmt: skip


DECLARATIONS: dict[str, Callable[[], Case]] = {
    "variational-rnn": variational,
    "rnn-drop": cell_dropout,
    "recurrent-dropout": update_dropout,
    "zoneout": zoneout,
    "weight-drop": weight_drop,
}
