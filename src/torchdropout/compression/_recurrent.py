"""Units of recurrent layers that do nothing: zero at every step, or read by nothing.

From a zero state a unit stays zero if the weights and biases of its candidate value are zero. All layers and directions
of one module have as many units, so as many go from each as can go from the one that has fewest to spare.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

KINDS = (nn.LSTM, nn.GRU, nn.RNN)
_GATES = {nn.LSTM: (4, 2), nn.GRU: (3, 2), nn.RNN: (1, 0)}  # how many, and which makes the candidate value


@torch.no_grad()
def smaller(model: nn.Module, name: str) -> nn.Module | None:
    """The model with a recurrent layer's superfluous units gone from it and from what reads it; changed in place."""
    layer: Any = model.get_submodule(name)
    if getattr(layer, "proj_size", 0):
        return None
    sides = 2 if layer.bidirectional else 1
    readers = _readers(model, layer, sides * layer.hidden_size)
    gone = {(n, d): _idle(layer, n, d, readers) for n in range(layer.num_layers) for d in range(sides)}
    count = min(layer.hidden_size - 1, *(int(each.sum()) for each in gone.values()))
    if count == 0:
        return None
    kept = {place: _without_first(each, count) for place, each in gone.items()}
    last = _side_by_side([kept[layer.num_layers - 1, d] for d in range(sides)], layer.hidden_size)
    for reader in readers:
        _read_fewer(reader, last)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, _made(layer, kept, sides))
    return model


def _readers(model: nn.Module, layer: Any, width: int) -> list[Any]:
    """Layers that may read a recurrent layer: whether they do is seen by the outputs of the smaller model."""
    found: list[Any] = []
    for module in model.modules():
        if module is layer:
            continue
        if (type(module) is nn.Linear and module.in_features == width) or (
            isinstance(module, KINDS) and module.input_size == width
        ):
            found.append(module)
    return found


def _idle(layer: Any, number: int, side: int, readers: list[Any]) -> Tensor:
    """The units of one layer and direction that are always zero, or that nothing reads."""
    gates, candidate = next(value for kind, value in _GATES.items() if isinstance(layer, kind))
    size, suffix = layer.hidden_size, _suffix(number, side)
    into = [getattr(layer, f"{part}_l{suffix}").view(gates, size, -1) for part in _parts(layer)]
    zero = torch.stack([(part[candidate] == 0).all(1) for part in into]).all(0)
    back = into[1].clone()
    back[:, torch.arange(size), torch.arange(size)] = 0.0  # what a unit does to itself nobody sees
    unread = (back == 0).all(0).all(0)
    slots = slice(side * size, (side + 1) * size)
    last = number == layer.num_layers - 1
    sides = 2 if layer.bidirectional else 1
    weights = [w for reader in readers for w in _weights(reader)] if last else [
        getattr(layer, f"weight_ih_l{_suffix(number + 1, d)}") for d in range(sides)
    ]  # fmt: skip
    unread &= torch.stack([(w[:, slots] == 0).all(0) for w in weights]).all(0) if weights else False
    idle: Tensor = zero | unread
    return idle


def _parts(layer: Any) -> tuple[str, ...]:
    return ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.bias else ()))


def _suffix(number: int, side: int) -> str:
    return f"{number}{'_reverse' if side else ''}"


def _without_first(gone: Tensor, count: int) -> Tensor:
    """The units that stay where the first so many of those that may go do."""
    return ((~gone) | (gone.cumsum(0) > count)).nonzero().flatten()


def _side_by_side(kept: list[Tensor], size: int) -> Tensor:
    return torch.cat([each + number * size for number, each in enumerate(kept)])


def _weights(reader: Any) -> list[Tensor]:
    if isinstance(reader, nn.Linear):
        return [reader.weight]
    return [getattr(reader, f"weight_ih_l0{side}") for side in ("", *(["_reverse"] * reader.bidirectional))]


def _read_fewer(reader: Any, kept: Tensor) -> None:
    if isinstance(reader, nn.Linear):
        reader.weight = nn.Parameter(reader.weight[:, kept].clone())
        reader.in_features = len(kept)
        return
    for side in ("", *(["_reverse"] * reader.bidirectional)):
        setattr(reader, f"weight_ih_l0{side}", nn.Parameter(getattr(reader, f"weight_ih_l0{side}")[:, kept].clone()))
    reader.input_size = len(kept)


def _made(layer: Any, kept: dict[tuple[int, int], Tensor], sides: int) -> Any:
    options = {name: getattr(layer, name) for name in
               ("input_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")}  # fmt: skip
    if isinstance(layer, nn.RNN):
        options["nonlinearity"] = layer.nonlinearity
    weight = layer.weight_ih_l0
    kind = next(kind for kind in KINDS if isinstance(layer, kind))
    new = kind(hidden_size=len(kept[0, 0]), **options, device=weight.device, dtype=weight.dtype)
    gates = next(value for kind, value in _GATES.items() if isinstance(layer, kind))[0]
    for (number, side), own in kept.items():
        for part in _parts(layer):
            name = f"{part}_l{_suffix(number, side)}"
            old = getattr(layer, name).view(gates, layer.hidden_size, -1)[:, own]
            if part == "weight_hh":
                old = old[:, :, own]
            elif part == "weight_ih" and number:
                old = old[:, :, _side_by_side([kept[number - 1, d] for d in range(sides)], layer.hidden_size)]
            getattr(new, name).copy_(old.reshape(getattr(new, name).shape))
    return new.train(layer.training)
