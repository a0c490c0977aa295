"""How often a forward pass calls each module, found by tracing it, or by running it once."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn


class _Tracer(fx.Tracer):
    """Stops at the modules that are counted."""

    def __init__(self, counted: Iterable[nn.Module]) -> None:
        super().__init__()
        self.counted = {id(module) for module in counted}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether not to look inside."""
        return id(m) in self.counted or super().is_leaf_module(m, module_qualified_name)


def count(owner: str, model: nn.Module, names: dict[str, nn.Module], example_inputs: Any) -> dict[str, int]:
    """The number of calls by name, each module under the name given.

    Raises:
        ValueError: The model cannot be traced, and there are no inputs to run it on.
    """
    if example_inputs is not None:
        return _by_running(model, names, example_inputs)
    if set(names) == {""}:
        return {"": 1}
    try:
        graph = _Tracer(names.values()).trace(model)
    except Exception as error:  # whatever a model does to a value that stands for a tensor
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{owner}: a module that is called more than once must be found, and the model cannot be traced: give "
            f"`example_inputs` to run it on, or `every_call=True`; found: {reason}"
        ) from error
    called = Counter(id(model.get_submodule(str(node.target))) for node in graph.nodes if node.op == "call_module")
    return {name: 1 if name == "" else called[id(module)] for name, module in names.items()}


def _by_running(model: nn.Module, names: dict[str, nn.Module], example_inputs: Any) -> dict[str, int]:
    """In eval on a copy, so that nothing of the model changes."""
    twin, calls = copy.deepcopy(model).eval(), Counter[str]()
    for name in names:
        twin.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
    with torch.no_grad():
        run(twin, example_inputs)
    return {name: calls[name] for name in names}


def run(model: nn.Module, example_inputs: Any) -> Any:
    """Call a model on a tensor, a tuple of arguments, or a dict of named ones."""
    if isinstance(example_inputs, dict):
        return model(**example_inputs)
    return model(*example_inputs) if isinstance(example_inputs, (tuple, list)) else model(example_inputs)
