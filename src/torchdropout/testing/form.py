"""Checks of form: shapes, dtypes, layouts, odd inputs. A check returns None, or why it does not apply."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from torchdropout.testing.case import Case, close, noisy, require, same, takes_key

_ELEMENTS = 1 << 22  # enough for several threads
_FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def check_form(case: Case) -> str | None:
    """Shape, dtype, device and memory format are the input's, or else eval's, for every dtype."""
    for dtype in _FLOATING if case.is_floating else (torch.int64, torch.int32):
        x = case.input.to(dtype)
        layer = case.factory().to(dtype) if case.is_floating else case.factory()
        found = noisy(layer, x)
        require(isinstance(found, torch.Tensor), f"the output must be a tensor, got {type(found).__name__}.")
        y = x if case.elementwise else layer.eval()(x)
        require(isinstance(y, torch.Tensor), f"the output of eval must be a tensor, got {type(y).__name__}.")
        form, expected = _form(case, found), _form(case, y)
        whose = "the input's" if case.elementwise else "eval's"
        require(form == expected, f"shape, dtype, device and strides must be {whose} {expected}, got {form}.")
    return None


def _form(case: Case, y: Tensor) -> tuple[object, ...]:
    shape = (len(y), y.dim()) if case.resizes else tuple(y.shape)
    return shape, y.dtype, y.device, y.stride() if case.elementwise else None


def check_memory_format(case: Case) -> str | None:
    """The noise of one key is the same for every layout; a layer of elements keeps a dense layout."""
    layer, x = case.factory(), case.input
    layouts = [x.transpose(0, -1).contiguous().transpose(0, -1)]
    if x.dim() == 4:
        layouts.append(x.contiguous(memory_format=torch.channels_last))
    for laid_out in layouts:
        y = noisy(layer, laid_out)
        if case.elementwise:
            require(y.stride() == laid_out.stride(), f"strides {laid_out.stride()} became {y.stride()}.")
        if takes_key(layer):
            require(_alike(case, y, noisy(layer, x)), f"the noise depends on the strides {laid_out.stride()}.")
    return None if case.elementwise or takes_key(layer) else "takes no key"


def check_not_contiguous(case: Case) -> str | None:
    """A slice with gaps and an expanded tensor get the noise of their dense copies."""
    layer = case.factory()
    wide = torch.stack([case.input, case.input + 1], dim=-1)
    expanded = case.input[:1].expand(case.input.shape)
    for x in (wide[..., 0], expanded):
        require(_alike(case, noisy(layer, x), noisy(layer, x.contiguous())), "the noise depends on the strides.")
    return None


def _alike(case: Case, left: Tensor, right: Tensor) -> bool:
    return same(left, right) if case.elementwise else close(left, right)


def check_input_unchanged(case: Case) -> str | None:
    """Neither mode writes to its input, to the parameters or to the buffers."""
    layer, x = case.factory(), case.input.clone()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    for mode in (True, False):
        for _ in range(3):
            layer.train(mode)(x)
        when = "training" if mode else "eval"
        require(same(x, case.input), f"the input was changed in {when} mode.")
        for name, value in layer.state_dict().items():
            require(same(value, before[name]), f"`{name}` was changed in {when} mode.")
    return None


def check_odd_inputs(case: Case) -> str | None:
    """Empty inputs pass; a scalar works or is refused with a sentence; NaN in the input stays."""
    layer = case.factory().train()
    empty = case.input[:0]
    expected = _form(case, empty if case.elementwise else layer.eval()(empty))
    require(_form(case, layer.train()(empty)) == expected, "an empty input changed shape.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning about 0-d inputs is as good as an error
        _check_scalar(case, layer)
    if case.is_floating:
        _check_nan(case)
    return None


def _check_scalar(case: Case, layer: nn.Module) -> None:
    scalar = torch.tensor(1.5) if case.is_floating else torch.tensor(1)
    try:
        shape = layer.train()(scalar).shape
        require(shape == (() if case.elementwise else layer.eval()(scalar).shape), "a 0-d input changed shape.")
    except (ValueError, RuntimeError, TypeError) as error:
        require(len(str(error)) > 20, f"a 0-d input was refused without a sentence: {error!r}")


def _check_nan(case: Case) -> None:
    layer, x = case.factory().train(), case.input.clone()
    if case.elementwise:
        x.view(-1)[::2] = torch.nan
        require(bool(torch.isnan(layer(x).reshape(-1)[::2]).all()), "a NaN in the input was lost.")
    else:
        require(bool(torch.isnan(layer(torch.full_like(x, torch.nan))).all()), "NaN in the input was lost.")


def check_huge(case: Case) -> str | None:
    """An input large enough for several threads: its beginning has the noise of a small input under the same seed."""
    if not case.elementwise:
        return "not a layer of elements"
    layer, x = case.factory(), case.input
    large = enlarged(x)
    y = noisy(layer, large, seed=13)
    require(y.shape == large.shape, "a large input changed shape.")
    if case.claim is not None and case.probe is None and 0 not in case.claim.shared_dims and takes_key(layer):
        part = noisy(layer, x, seed=13)
        require(same(y[: x.shape[0]], part), "the noise of the first examples depends on the size of the batch.")
    return None


def enlarged(x: Tensor) -> Tensor:
    """The input repeated along its batch until it is large."""
    copies = -(-_ELEMENTS // x.numel())
    return x.repeat(copies, *[1] * (x.dim() - 1))
