"""From a model to one whose noise learns what can go, and how such a model is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

import torchdropout as td
from torchdropout.layers._checks import check_choice, check_number

Method = Literal["sparse-variational", "log-normal"]
Filter = Callable[[nn.Module, str], bool]

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NOISE = ("log_sigma2", "mu", "log_sigma", "log_alpha", "p_logit")


def sparsify_(
    model: nn.Module,
    method: Method = "sparse-variational",
    *,
    filter_fn: Filter | None = None,
    gate_inputs: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    example_inputs: Any = None,
    **arguments: Any,
) -> list[str]:
    """Give a model noise that learns which weights, or which units and channels, are useless.

    `"sparse-variational"` turns linear layers and convolutions into sparse variational ones with the same weights.
    `"log-normal"` puts a gate behind every linear layer and convolution but the last one, before the batch norm and the
    activation that may follow. Train with `kl_loss(model, num_data)` added to a mean loss in nats, the divergence's
    weight by `kl_warmup`, with the groups of `noise_param_groups`; then `prune_` and `shrink`. `revert_` undoes it.

    Args:
        model: Fresh or trained, changed in place. The authors start log-normal gates from trained weights, and sparse
            variational LeNets from fresh ones.
        method: `"sparse-variational"` (Molchanov et al. 2017) or `"log-normal"` (Neklyudov et al. 2017).
        filter_fn: Called with a layer and its name: whether to change it; None for all (gates: all but the last).
        gate_inputs: Whether the input of the first layer has a gate, too, as in the log-normal paper's dense network.
        optimizer: An optimizer of the model that is to go on: refused, since there are new parameters.
        example_inputs: What to run a copy of the model on, where gates are to come and `torch.fx` cannot trace it.
        arguments: The new layers' own arguments: `threshold`, `log_sigma2`, `train_clip`; or `per`, `snr_threshold`.

    Returns:
        The names of the layers that were changed, or behind which there is a gate.

    Raises:
        ValueError: The method is unknown, no layer fits, or `optimizer` would miss parameters.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> td.sparsify_(model)
        ['0', '2']
        >>> td.sparsify_(td.revert_(model), "log-normal")
        ['0']
    """
    check_choice("sparsify_", "method", method, ("sparse-variational", "log-normal"))
    layers = [(name, module) for name, module in model.named_modules() if type(module) in _WEIGHTED]
    if filter_fn is not None:
        layers = [(name, module) for name, module in layers if filter_fn(module, name)]
    elif method == "log-normal":
        layers = layers[:-1]
    if not layers:
        raise ValueError("sparsify_: the model must have linear layers or convolutions to change, found none.")
    names = {name for name, _ in layers}
    if method == "sparse-variational":
        return td.replace_(
            model, {lambda module, name: name in names: lambda module, name: _sparse(module, arguments)},
            optimizer=optimizer,
        )  # fmt: skip
    if optimizer is not None:
        raise ValueError("sparsify_: `optimizer` must be made after this, since gates have parameters.")
    run = {"example_inputs": example_inputs}
    td.insert_after_(model, lambda _, name: name in names, lambda module, _: _gate(module, True, arguments), **run)
    if gate_inputs:
        first = layers[0][0]
        td.insert_before_(
            model, lambda _, name: name == first, lambda module, _: _gate(module, False, arguments), **run
        )
    return [name for name, _ in layers]


def _sparse(module: nn.Module, arguments: dict[str, Any]) -> nn.Module:
    if isinstance(module, nn.Linear):
        return td.SparseVariationalLinear.from_linear(module, **arguments)
    if isinstance(module, nn.Conv1d):
        return td.SparseVariationalConv1d.from_conv(module, **arguments)
    return td.SparseVariationalConv2d.from_conv(module, **arguments)  # type: ignore[arg-type]


def _gate(module: Any, behind: bool, arguments: dict[str, Any]) -> nn.Module:
    if isinstance(module, nn.Linear):
        features, dim = (module.out_features if behind else module.in_features), -1
    else:
        features, dim = (module.out_channels if behind else module.in_channels), 1
    weight = module.weight
    return td.LogNormalDropout(features, dim, **arguments, device=weight.device, dtype=weight.dtype)


def kl_warmup(epoch: float, start: float = 5.0, end: float = 20.0) -> float:
    """The divergence's weight: 0 until `start`, growing evenly to 1 at `end`.

    Sparse variational layers that are trained from scratch lose too much without it. The defaults are the authors'.

    Args:
        epoch: The epoch, from 0; parts of one count.
        start: When it begins to grow.
        end: When it is 1.

    Raises:
        ValueError: `end` is before `start`.

    Example:
        >>> import torchdropout as td
        >>> td.kl_warmup(4), td.kl_warmup(8), td.kl_warmup(30)
        (0.0, 0.2, 1.0)

    Reference:
        D. Molchanov, A. Ashukha, D. Vetrov. Variational Dropout Sparsifies Deep Neural Networks. ICML 2017,
        arXiv:1701.05369, section 4.3 and the authors' program.
    """
    check_number("kl_warmup", "end", end, f"at least `start` = {start}", lambda value: value >= start)
    return 1.0 if epoch >= end else 0.0 if epoch <= start else (epoch - start) / (end - start)


def noise_param_groups(model: nn.Module, lr: float, noise_lr: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: all weights, and the parameters of learned noise, with learning rates of their own.

    Neither is decayed. The authors of the log-normal paper give the noise of VGG ten times the weights' rate.

    Args:
        model: A model with learned noise.
        lr: Of weights and biases.
        noise_lr: Of what says how noisy they are.

    Raises:
        ValueError: The model has no learned noise, or a rate is not positive.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), td.LogNormalDropout(4))
        >>> optimizer = torch.optim.Adam(td.noise_param_groups(model, lr=1e-5, noise_lr=1e-4))
        >>> [len(group["params"]) for group in optimizer.param_groups]
        [2, 2]
    """
    for name, value in (("lr", lr), ("noise_lr", noise_lr)):
        check_number("noise_param_groups", name, value, "positive", lambda v: v > 0)
    named = dict(model.named_parameters())
    noisy = {name for name in named if name.rpartition(".")[2] in _NOISE}
    if not noisy:
        raise ValueError("noise_param_groups: the model must have learned noise, found none.")
    weights = [p for name, p in named.items() if name not in noisy]
    return [
        {"params": weights, "lr": lr, "weight_decay": 0.0},
        {"params": [named[name] for name in named if name in noisy], "lr": noise_lr, "weight_decay": 0.0},
    ]
