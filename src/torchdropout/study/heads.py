"""The head of a network, found by running it, and several samples of dropout before it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchdropout.layers.dropout import Dropout
from torchdropout.losses.multi_sample import MultiSampleDropout
from torchdropout.study.errors import StudyError
from torchdropout.study.named import raised


@dataclass(frozen=True, slots=True)
class _Call:
    module: nn.Module
    given: Tensor
    output: Tensor


def sample_(model: nn.Module, example: Tensor, num_samples: int, p: float, name: str) -> None:
    """Put `MultiSampleDropout` in place of a network's head; dropout right before the head becomes its samples.

    Args:
        model: The network, changed in place.
        example: A batch that it can be run on.
        num_samples: How many samples.
        p: The drop probability where no dropout is right before the head, else that one's.
        name: What the model is called.

    Raises:
        StudyError: The network has no head: a layer with weights that is called last, once, and makes the output.
    """
    calls, output = _calls(model, example, name)
    counts = Counter(id(call.module) for call in calls)
    heads = [c for c in calls if c.output is output and _is_layer(c.module) and counts[id(c.module)] == 1]
    if not heads:
        raise StudyError(
            f"compare: multisample needs a head in model {name!r}, a layer with weights whose output is the network's, "
            f"found none."
        )
    head = heads[-1]
    before = [
        c for c in calls if c.output is head.given and isinstance(c.module, Dropout) and counts[id(c.module)] == 1
    ]
    for call in before:
        p = call.module.p  # type: ignore[assignment]
        model.set_submodule(_name(model, call.module), nn.Identity())
    model.set_submodule(_name(model, head.module), MultiSampleDropout(head.module, num_samples, p))


def output_of(model: nn.Module, batch: Tensor, name: str) -> object:
    """What a network in eval mode makes of a batch.

    Raises:
        StudyError: It raised.
    """
    try:
        with torch.no_grad():
            return model.eval()(batch)
    except Exception as error:
        sizes = " x ".join(map(str, batch.shape[1:]))
        shape = f"({len(batch)}, {sizes})"
        raise StudyError(f"{name}: the model must accept inputs of shape {shape}, {raised(error)}") from error


def _calls(model: nn.Module, example: Tensor, name: str) -> tuple[list[_Call], object]:
    """Every call of a module with one tensor, in the order of their ends, and the output; noise off."""
    calls: list[_Call] = []

    def keep(module: nn.Module, given: tuple[object, ...], output: object) -> None:
        if given and isinstance(given[0], Tensor) and isinstance(output, Tensor):
            calls.append(_Call(module, given[0], output))

    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        output = output_of(model, example, name)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return calls, output


def _is_layer(module: nn.Module) -> bool:
    """Whether a module has weights of its own, and is no container of others."""
    return any(True for _ in module.parameters(recurse=False)) and not any(True for _ in module.children())


def _name(model: nn.Module, module: nn.Module) -> str:
    return next(str(name) for name, each in model.named_modules() if each is module)
