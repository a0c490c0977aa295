"""The advice of dropout's authors as one call: what to use, why, and both put into effect."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from torchdropout.constraints import Filter, MaxNorm, constrain_
from torchdropout.layers._checks import check_number
from torchdropout.layers.dropout import Dropout
from torchdropout.surgery import insert_after_, insert_before_

_ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Sigmoid, nn.Tanh, nn.Hardtanh,
    nn.Hardswish, nn.ReLU6, nn.CELU,
)  # fmt: skip
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)


@dataclass(frozen=True)
class Advice:
    """One piece of advice.

    Attributes:
        what: What it is about.
        value: What to use.
        why: The reason that the paper gives.
    """

    what: str
    value: str
    why: str


@dataclass(frozen=True, kw_only=True)
class DropoutRecipe:
    """How to train a network with dropout, by those who proposed it; made by `dropout_recipe`.

    Attributes:
        input_p: The drop probability of inputs.
        hidden_p: That of hidden units of dense layers.
        conv_p: That after convolutions.
        lr: The learning rate at the start.
        momentum: The momentum.
        max_norm: The greatest length of a unit's incoming weights.
    """

    input_p: float
    hidden_p: float
    conv_p: float
    lr: float
    momentum: float
    max_norm: float

    def width(self, units: int) -> int:
        """How many units a hidden layer needs where `units` are right without dropout: `units / keep`."""
        check_number("DropoutRecipe", "units", units, "at least 1", lambda n: n >= 1)
        return math.ceil(units / (1 - self.hidden_p))

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What to use and why."""
        return (
            Advice("inputs", f"drop {self.input_p:g}", "real-valued inputs carry much: more than this costs accuracy"),
            Advice("hidden units", f"drop {self.hidden_p:g}", "near the best over a wide range; the noise is greatest"),
            Advice("after convolutions", f"drop {self.conv_p:g}", "shared weights overfit less"),
            Advice("hidden layers' width", f"units / {1 - self.hidden_p:g}", "so many units are there in expectation"),
            Advice("learning rate", f"{self.lr:g}", "10 to 100 times a plain network's: gradients cancel one another"),
            Advice("momentum", f"{self.momentum:g}", "0.95 to 0.99 for the same reason, 0.9 without dropout"),
            Advice("max-norm", f"{self.max_norm:g}", "bounds weights that a high rate drives up: 3 to 4, 2 on MNIST"),
            Advice("decay of the rate", "to a hundredth", "a high rate explores first, and must settle"),
            Advice("length of training", "2 to 3 times", "every step trains another thinned network"),
        )

    def __str__(self) -> str:
        """A line for each piece of advice."""
        wide = max(len(one.what) for one in self.advice)
        value = max(len(one.value) for one in self.advice)
        return "\n".join(f"{one.what:<{wide}}  {one.value:<{value}}  {one.why}" for one in self.advice)

    def apply_(self, model: nn.Module, example_inputs: Any = None) -> list[str]:
        """Insert dropout on the input of a model and after its hidden activations; `revert_` takes it out again.

        Args:
            model: The model, changed in place; its activations are modules.
            example_inputs: What to run a copy of the model on where `torch.fx` cannot trace it; see `insert_after_`.

        Returns:
            The names of the activations.

        Raises:
            ValueError: There is no hidden activation; see also `insert_after_`.
        """
        rates = dict(self._rates(model))
        if not rates:
            raise ValueError("DropoutRecipe: the model must have hidden activations that are modules, found none.")
        names = insert_after_(
            model, lambda _, name: name in rates, lambda _, name: Dropout(rates[name]), example_inputs=example_inputs
        )
        insert_before_(model, "", lambda *_: Dropout(self.input_p), every_call=True)
        return names

    def optimizer(self, model: nn.Module) -> torch.optim.SGD:
        """SGD as the recipe says, with max-norm on every weight but the output layer's."""
        optimizer = torch.optim.SGD(model.parameters(), lr=self.lr, momentum=self.momentum)
        constrain_(optimizer, model, MaxNorm(self.max_norm), hidden(model))
        return optimizer

    def schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.ExponentialLR:
        """The decay of the learning rate to a hundredth, over so many steps."""
        check_number("DropoutRecipe", "steps", steps, "at least 1", lambda n: n >= 1)
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / steps))

    def _rates(self, model: nn.Module) -> Iterator[tuple[str, float]]:
        """By activation; what has no weights after it makes outputs."""
        modules = list(model.named_modules())
        left, p = len(list(_weighted(model))), self.hidden_p
        for name, module in modules:
            if isinstance(module, _WEIGHTED):
                left, p = left - 1, self.conv_p if isinstance(module, _CONVOLUTIONS) else self.hidden_p
            elif type(module) in _ACTIVATIONS and left:
                yield name, p


_WEIGHTED = (nn.Linear, nn.Bilinear, *_CONVOLUTIONS)


def hidden(model: nn.Module) -> Filter:
    """For `constrain_`: the weights of all layers but the last, which makes the output."""
    last = {id(p) for module in [*_weighted(model)][-1:] for p in module.parameters(recurse=False)}
    return lambda weight, _: id(weight) not in last


def _weighted(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if isinstance(module, _WEIGHTED))


def dropout_recipe(lr: float = 0.01, *, max_norm: float = 3.0) -> DropoutRecipe:
    """The practical recipe of dropout's authors for a network whose plain learning rate is known.

    Args:
        lr: The learning rate that SGD with momentum 0.9 would have without dropout; the recipe takes ten times that.
        max_norm: The greatest length of a unit's incoming weights: 3 to 4, or 2 as on MNIST.

    Raises:
        ValueError: `lr` or `max_norm` is not positive and finite.

    Example:
        >>> import torch, torchdropout as td
        >>> recipe = td.dropout_recipe(lr=0.01)
        >>> recipe.width(400), recipe.lr
        (800, 0.1)
        >>> model = torch.nn.Sequential(torch.nn.Linear(784, 800), torch.nn.ReLU(), torch.nn.Linear(800, 10))
        >>> recipe.apply_(model)
        ['1']
        >>> optimizer = recipe.optimizer(model)

    Reference:
        N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov. Dropout: A Simple Way to Prevent Neural
        Networks from Overfitting. JMLR 15:1929-1958, 2014, appendices A and B.
    """
    for name, value in (("lr", lr), ("max_norm", max_norm)):
        check_number("dropout_recipe", name, value, "positive and finite", lambda v: 0 < v < math.inf)
    return DropoutRecipe(input_p=0.2, hidden_p=0.5, conv_p=0.25, lr=10 * lr, momentum=0.95, max_norm=max_norm)
