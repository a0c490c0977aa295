"""What may draw in a forward pass, and whether one draw serves a whole batch.

A layer says what one of its draws covers by the attribute `draws_per`: `"example"`, `"batch"`, or None where its own
forward draws nothing. Layers of one's own say so too; of a module that says nothing, the forward is traced.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_RANDOM = {
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_dropout_",
    "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_", "native_dropout", "rrelu",
    "rrelu_", "gumbel_softmax", "scaled_dot_product_attention", "multi_head_attention_forward", "bernoulli",
    "bernoulli_", "multinomial", "normal", "normal_", "poisson", "binomial", "rand", "randn", "randint", "randperm",
    "rand_like", "randn_like", "randint_like", "uniform_", "random_", "exponential_", "cauchy_", "geometric_",
    "log_normal_", "fractional_max_pool2d", "fractional_max_pool3d", "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d_with_indices", "trunc_normal_", "lstm", "gru", "rnn_tanh", "rnn_relu",
}  # fmt: skip
_DROPS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}
_WRITING = {
    "iadd",
    "isub",
    "imul",
    "imatmul",
    "itruediv",
    "ifloordiv",
    "imod",
    "ipow",
    "iand",
    "ior",
    "ixor",
    "setitem",
}


def declared(module: nn.Module) -> bool:
    """Whether a module says itself what one of its draws covers."""
    return hasattr(type(module), "draws_per") or "draws_per" in vars(module)


def draws_for_batch(model: nn.Module) -> bool:
    """Whether a live layer of a model draws once for a whole batch."""
    return any(_per_batch(module) and may_draw(module) for module in model.modules())


def _per_batch(module: Any) -> bool:
    if declared(module):
        return bool(module.draws_per == "batch")
    return type(module).__name__ == "StochasticDepth" and getattr(module, "mode", None) == "batch"  # torchvision's


def is_whole(module: nn.Module) -> bool:
    """Whether a module is called as it is, and not looked into: it says what it draws, is known, or has hooks."""
    if declared(module) or has_hooks(module) or "forward" in vars(module) or "_orig_mod" in vars(module)["_modules"]:
        return True
    return _is_from(module, "torchdropout") or (_is_from(module, "torch.nn") and type(module) is not nn.Sequential)


def has_hooks(module: nn.Module) -> bool:
    """Whether calling a module does more than its forward."""
    return any(vars(module).get(name) for name in _HOOKS)


def _has_foreign_hooks(module: nn.Module) -> bool:
    """Whether a hook that PyTorch's own utilities did not set sees inputs or outputs."""
    hooks = [hook for name in _HOOKS[:2] for hook in vars(module).get(name, {}).values()]
    return any(not _is_from(hook, "torch.nn") for hook in hooks)


def draws(module: nn.Module) -> bool:
    """Whether calling a module may draw, in it or in what it holds."""
    return any(may_draw(each) for each in module.modules())


def may_draw(module: Any) -> bool:
    """Whether a module's own forward may draw, as the module is now; what nothing is known of may."""
    if declared(module) and module.draws_per is None:
        return False
    if _has_foreign_hooks(module):
        return True
    if _is_from(module, "torchdropout"):
        return _ours_may_draw(module)
    if declared(module):
        return bool(module.training)
    if not _is_from(module, "torch.nn") or "forward" in vars(module):
        return True
    return _torchs_may_draw(module)


def _ours_may_draw(module: Any) -> bool:
    live = getattr(module, "_live", None)
    if live is not None:  # a recurrent layer, of several sources
        return bool(live())
    if getattr(module, "_p", None) == 0:
        return False
    return bool(module.training or getattr(module, "inference", None) == "sample")


def _torchs_may_draw(module: Any) -> bool:
    if isinstance(module, (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)):
        return True  # in eval too
    if not module.training:
        return False
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.RReLU) or (isinstance(module, nn.MultiheadAttention) and module.dropout > 0)


def is_known_module(module: nn.Module) -> bool:
    """Whether a module is PyTorch's or ours, as it was written."""
    return (_is_from(module, "torch.nn") or _is_from(module, "torchdropout")) and "forward" not in vars(module)


def _is_from(module: object, package: str) -> bool:
    return f"{type(module).__module__}.".startswith(f"{package}.")


def node_draws(node: fx.Node, model: nn.Module) -> bool:
    """Whether a step of a traced forward pass may draw."""
    if node.op == "call_module":
        return draws(model.get_submodule(str(node.target)))
    if node.op == "call_method":
        return str(node.target) in _RANDOM
    return node.op == "call_function" and _function_draws(node)


def _function_draws(node: fx.Node) -> bool:
    target: Any = node.target
    if not _is_known(target):
        return True
    if target.__name__ not in _RANDOM:
        return False
    given = _arguments(node)
    if target in _DROPS:
        live = given.get("training", True)
        return live is not False and not (isinstance(given.get("p"), (int, float)) and given["p"] == 0)
    if target is F.scaled_dot_product_attention:
        rate = node.kwargs.get("dropout_p", node.args[4] if len(node.args) > 4 else 0.0)
        return not (isinstance(rate, (int, float)) and rate == 0)
    return True


def _is_known(target: Any) -> bool:
    """Whether a function is PyTorch's or Python's, of which it is known which ones draw."""
    where, name = getattr(target, "__module__", None), getattr(target, "__name__", "")
    if where is None:
        return any(getattr(home, name, None) is target for home in (torch, torch._C._nn, torch.Tensor))
    return where in ("torch", "_operator", "operator", "builtins", "math") or where.startswith("torch.")


def writes(node: fx.Node, model: nn.Module) -> bool:
    """Whether a step may write to what it is given."""
    if node.op == "call_module":
        held = list(model.get_submodule(str(node.target)).modules())
        return any(getattr(m, "inplace", False) or not is_known_module(m) for m in held)
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")
    if node.op == "call_method":
        return name.endswith("_") and not name.endswith("__")
    if node.op != "call_function":
        return False
    given = _arguments(node)
    return name.endswith("_") or name in _WRITING or bool(given.get("inplace")) or given.get("out") is not None


def _arguments(node: fx.Node) -> dict[str, Any]:
    """A function's arguments by name, its defaults too, as far as its signature is known."""
    target: Any = node.target
    try:
        bound = inspect.signature(target).bind(*node.args, **node.kwargs)
    except (TypeError, ValueError):  # a built-in has none
        return dict(node.kwargs)
    bound.apply_defaults()
    return bound.arguments
