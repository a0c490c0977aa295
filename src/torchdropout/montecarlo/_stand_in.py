"""Sampling mode in which PyTorch's dropout modules have this package's noise: the same law, a key for each example."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.layers import alpha, dropout, spatial
from torchdropout.montecarlo.sampling import Excluded, sampling

_FUNCTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Dropout: dropout.dropout,
    nn.Dropout1d: spatial.dropout1d,
    nn.Dropout2d: spatial.dropout2d,
    nn.Dropout3d: spatial.dropout3d,
    nn.AlphaDropout: alpha.alpha_dropout,
    nn.FeatureAlphaDropout: alpha.feature_alpha_dropout,
}


@contextmanager
def live(model: nn.Module, exclude: Excluded, device: torch.device) -> Iterator[None]:
    """Sampling mode; PyTorch's dropout modules draw from keys where that is fast: on the CPU, not compiled."""
    with sampling(model, exclude=exclude):
        stands_in = device.type == "cpu" and not is_compiled(model)
        chosen = [module for module in model.modules() if _is_replaced(module)] if stands_in else []
        for module in chosen:
            vars(module)["forward"] = functools.partial(_forward, module)
        try:
            yield
        finally:
            for module in chosen:
                del vars(module)["forward"]


def is_compiled(model: nn.Module) -> bool:
    """Whether a part of a model is."""
    return any("_orig_mod" in m._modules or vars(m).get("_compiled_call_impl") for m in model.modules())


def _is_replaced(module: nn.Module) -> bool:
    if type(module) not in _FUNCTIONS or "forward" in vars(module):
        return False
    return module.training and bool(module.p)


def _forward(module: Any, x: Tensor) -> Tensor:
    return _FUNCTIONS[type(module)](x, module.p, True, module.inplace)
