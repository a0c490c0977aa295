"""An LSTM as the suite takes layers, and its equations for all masks at once, by themselves."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.recurrent._layer import Recurrent
from torchdropout.recurrent.kinds import Kind, of_strength
from torchdropout.testing.declared._tools import with_values


class Outputs(nn.Module):
    """The outputs of a recurrent layer without its last state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)[0]
        return y


class Noisy(Outputs):
    """The same of a layer of this package that is given one kind of dropout, whose probabilities are all `p`.

    Args:
        kind: The kind.
        sizes: Of the inputs and of the state.
        name: The layer's.
        options: The layer's.
    """

    layer: Recurrent

    def __init__(self, kind: Kind, *sizes: int, name: str = "LSTM", **options: Any) -> None:
        super().__init__(getattr(td, name)(*sizes, batch_first=True, recurrent=kind, **options))

    def forward(self, x: Tensor, *, key: Tensor | None = None) -> Tensor:
        y: Tensor = self.layer(x, key=key)[0]
        return y

    @property
    def kind(self) -> Kind:
        """What is dropped."""
        (kind,) = self.layer.recurrent
        return kind

    @kind.setter
    def kind(self, value: Kind) -> None:
        self.layer.recurrent = value

    @property
    def p(self) -> float:
        """The probability of dropping."""
        return next(value for value in vars(self.kind).values() if isinstance(value, float))

    @p.setter
    def p(self, value: float) -> None:
        self.kind = of_strength(type(self.kind), value)


class Weights(NamedTuple):
    """Of an LSTM: by gate, in the order i, f, g, o.

    Attributes:
        w: `(4, H, I)`, for the inputs.
        u: `(4, H, H)`, for the state.
        b: `(4, H)`, the bias.
    """

    w: Tensor
    u: Tensor
    b: Tensor

    def given_to(self, layer: nn.Module, suffix: str = "_l0") -> nn.Module:
        """A layer of PyTorch's names with these weights."""
        values = {"weight_ih": self.w.flatten(0, 1), "weight_hh": self.u.flatten(0, 1), "bias_ih": self.b.flatten()}
        values["bias_hh"] = torch.zeros_like(values["bias_ih"])
        return with_values(layer, **{name + suffix: value for name, value in values.items()})


def weights(inputs: int, units: int, start: int = 0) -> Weights:
    """Some fixed weights, which float32 has too, and by which the state matters; another `start` gives others."""

    def some(*shape: int) -> Tensor:
        number = torch.arange(torch.Size(shape).numel(), dtype=torch.float64) + start
        return torch.cos(2.2 * number + 0.4 * number.square()).float().double().view(shape)

    return Weights(1.5 * some(4, units, inputs), 6.0 * some(4, units, units), 0.5 * some(4, units))


def lstm(x: Tensor, of: Weights, **masks: Tensor) -> Tensor:
    """The outputs `(K, T, H)` for inputs `(T, I)`, or `(K, T, I)`, and K masks, from the papers' equations.

    Args:
        x: The inputs of one sequence.
        of: The weights.
        masks: What multiplies: `input` `(K, 4, I)`, `hidden` `(K, 4, H)` and `weight` `(K, 4, H, H)` in the gates;
            `cell` `(K, H)` the new cell state; `update` `(K, T, H)` the candidate; `keep` `(K, 1)` the output.
            `zone_cell` and `zone_hidden` `(K, T, H)` are how much of the old state stays.
    """
    x = x.double() if x.dim() == 3 else x.double().unsqueeze(0)
    (gates, units, inputs), steps = of.w.shape, x.shape[1]
    sizes = {"input": (gates, inputs), "hidden": (gates, units), "weight": (gates, units, units), "cell": (units,)}
    sizes |= {"update": (steps, units), "keep": (1,)}
    m = {name: torch.ones(1, *size, dtype=torch.float64) for name, size in sizes.items()}
    m |= {name: torch.zeros(1, steps, units, dtype=torch.float64) for name in ("zone_cell", "zone_hidden")} | masks
    h = c = torch.zeros(1, units, dtype=torch.float64)
    outputs = []
    for t in range(steps):
        a = torch.einsum("qhi,kqi->kqh", of.w, x[:, t, None] * m["input"]) + of.b
        a = a + torch.einsum("kqhj,kqj->kqh", of.u * m["weight"], h[:, None] * m["hidden"])
        i, f, g, o = a[:, 0].sigmoid(), a[:, 1].sigmoid(), a[:, 2].tanh(), a[:, 3].sigmoid()
        new_c = m["cell"] * (f * c + i * (g * m["update"][:, t]))
        new_h = m["keep"] * o * new_c.tanh()
        stay_c, stay_h = m["zone_cell"][:, t], m["zone_hidden"][:, t]
        h, c = stay_h * h + (1 - stay_h) * new_h, stay_c * c + (1 - stay_c) * new_c
        outputs.append(h)
    return torch.stack(outputs, 1)
