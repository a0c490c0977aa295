"""What a forward pass draws, seen from outside: which function, in which module, of what shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves

from torchdropout import rng

_DROPS = {
    F.dropout: "dropout", F.dropout1d: "dropout1d", F.dropout2d: "dropout2d", F.dropout3d: "dropout3d",
    F.alpha_dropout: "alpha_dropout", F.feature_alpha_dropout: "feature_alpha_dropout",
}  # fmt: skip


class Draw(NamedTuple):
    """A draw from a generator, or from the keys of a pass.

    Attributes:
        module: The name of the module in whose forward it was made.
        inside: The names of all modules whose forward it was in.
        function: What drew from a generator; empty for a draw of this package's.
        shape: That of the function's output; None where it is no tensor, and for draws of this package's.
        for_batch: Whether it is a draw of this package's that covers a whole batch.
    """

    module: str
    inside: tuple[str, ...]
    function: str
    shape: tuple[int, ...] | None
    for_batch: bool = False


class Visit(NamedTuple):
    """A module that was called: whether in train mode, and what its output was made of."""

    training: bool
    structure: Any


class Observer(TorchFunctionMode):
    """Notes the draws of a pass, the modules it visits, and the largest tensor that it makes."""

    def __init__(self, model: nn.Module, generators: Generators) -> None:
        super().__init__()
        self.draws, self.visits = list[Draw](), dict[str, list[Visit]]()
        self.silent = dict[tuple[str, str], None]()
        self.largest, self.keyed = 0, True
        self._inside, self._generators = list[str](), generators
        self._names = {module: name for name, module in model.named_modules()}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A block in which passes of the model are seen."""
        hooks = [m.register_forward_pre_hook(self._enter) for m in self._names]
        hooks += [m.register_forward_hook(self._leave) for m in self._names]
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def place(self) -> str:
        """The module in whose forward the pass is now, or was when it raised."""
        return self._inside[-1] if self._inside else ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self._generators.state()
        y = func(*args, **(kwargs or {}))
        if self._generators.state() != before:
            self.draws.append(Draw(self.place, self._path(), _name(func), _shape(y)))
        elif func in _DROPS and _rate(args, kwargs or {}) > 0:
            self.silent[self.place, _DROPS[func]] = None
        if isinstance(y, Tensor):
            self.largest = max(self.largest, y.numel() * y.element_size())
        return y

    def note(self, by_example: bool, as_promised: bool) -> None:
        """A draw of this package's."""
        self.keyed = self.keyed and as_promised
        self.draws.append(Draw(self.place, self._path(), "", None, not by_example))

    def _path(self) -> tuple[str, ...]:
        return tuple(self._inside)

    def _enter(self, module: nn.Module, _: Any) -> None:
        self._inside.append(self._names[module])

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        name = self._inside.pop()
        self.visits.setdefault(name, []).append(Visit(module.training, structure(output)))


class Generators:
    """The generators that a pass may draw from: PyTorch's, of the CPU and of the model's device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state(self) -> tuple[bytes, ...]:
        """Their states."""
        states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device))
        return tuple(state.numpy().tobytes() for state in states)

    def seed(self, key: Tensor) -> None:
        """Set them by a key."""
        seed = int(rng.fold_in(key, 0)[0]) & 0xFFFFFFFF
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)

    def restore(self, states: tuple[bytes, ...]) -> None:
        """Set them to former states."""
        tensors = [torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in states]
        torch.set_rng_state(tensors[0])
        if len(tensors) > 1:
            torch.cuda.set_rng_state(tensors[1], self.device)


def structure(output: Any) -> Any:
    """Types and ranks of a module's output: what must be alike in both modes."""
    if output is None:
        return None
    leaves, spec = tree_flatten(output)
    return spec, [leaf.dim() if isinstance(leaf, Tensor) else type(leaf) for leaf in leaves]


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", func)).strip("_") or str(func)


def _shape(output: Any) -> tuple[int, ...] | None:
    first = next((leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)), None)
    return None if first is None else tuple(first.shape)


def _rate(args: Any, kwargs: dict[str, Any]) -> float:
    rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    return float(rate)
