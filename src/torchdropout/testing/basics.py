"""Checks of form: shapes, modes, copies, odd inputs, errors."""

from __future__ import annotations

import copy
import io
import pickle

import torch
from torch import Tensor

from torchdropout.testing.case import Case


def require(condition: bool, message: str) -> None:
    """Fail with a sentence."""
    if not condition:
        raise AssertionError(message)


def same(left: Tensor, right: Tensor) -> bool:
    """Equal, a NaN counting as equal to a NaN."""
    return torch.equal(torch.nan_to_num(left, nan=17.0), torch.nan_to_num(right, nan=17.0))


def check_form(case: Case) -> None:
    """Shape, dtype, device and memory format are the input's, for every floating dtype."""
    layer = case.factory()
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        x = case.input.to(dtype)
        y = case.noisy(layer, x)
        form = (y.shape, y.dtype, y.device, y.stride())
        expected = (x.shape, x.dtype, x.device, x.stride())
        require(form == expected, f"shape, dtype, device and strides must be the input's {expected}, got {form}.")


def check_memory_format(case: Case) -> None:
    """A dense input of another layout keeps it; the noise of one key is the same for every layout."""
    layer, x = case.factory(), case.input
    layouts = [x.transpose(0, -1).contiguous().transpose(0, -1)]
    if x.dim() == 4:
        layouts.append(x.contiguous(memory_format=torch.channels_last))
    for laid_out in layouts:
        y = case.noisy(layer, laid_out)
        require(y.stride() == laid_out.stride(), f"strides {laid_out.stride()} became {y.stride()}.")
        if case.takes_key(layer):
            require(same(y, case.noisy(layer, x)), f"the noise depends on the strides {laid_out.stride()}.")


def check_not_contiguous(case: Case) -> None:
    """A slice with gaps and an expanded tensor get the noise of their dense copies."""
    layer = case.factory()
    wide = torch.stack([case.input, case.input + 1.0], dim=-1)
    expanded = case.input[:1].expand(case.input.shape)
    for x in (wide[..., 0], expanded):
        require(same(case.noisy(layer, x), case.noisy(layer, x.contiguous())), "the noise depends on the strides.")


def check_eval(case: Case) -> None:
    """Eval mode is deterministic and follows the test rule."""
    layer = case.factory().eval()
    state = torch.get_rng_state()
    y = layer(case.input)
    require(torch.equal(state, torch.get_rng_state()), "eval mode drew from the random generator.")
    require(same(y, layer(case.input)), "eval mode is not deterministic.")
    if case.claim is not None:
        torch.testing.assert_close(y, case.input * case.claim.eval_scale)


def check_train_is_noisy(case: Case) -> None:
    """Training mode draws anew at every call."""
    layer = case.factory().train()
    require(not same(layer(case.input), layer(case.input)), "two calls in training mode gave the same output.")


def check_input_unchanged(case: Case) -> None:
    """Neither mode writes to its input."""
    layer, x = case.factory(), case.input.clone()
    for mode in (True, False):
        layer.train(mode)(x)
        require(same(x, case.input), f"the input was changed in {'training' if mode else 'eval'} mode.")


def check_copies(case: Case) -> None:
    """A deep copy, a pickle and a saved whole module give the same noise; the state dict is strict both ways."""
    layer = case.factory()
    expected = case.noisy(layer, case.input)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=False)
    for kind, twin in {
        "deepcopy": copy.deepcopy(layer),
        "pickle": pickle.loads(pickle.dumps(layer)),
        "torch.save": saved,
    }.items():
        require(same(case.noisy(twin, case.input), expected), f"{kind} changed the layer.")
    case.factory().load_state_dict(layer.state_dict(), strict=True)


def check_extremes_of_p(case: Case) -> None:
    """At `p = 0` the layer is the identity; at `p = 1` it gives finite values and gradients, or refuses `p` by name."""
    layer = case.factory().train()
    if not hasattr(layer, "p"):
        return
    layer.p = 0.0  # type: ignore[assignment]
    require(same(layer(case.input), case.input), "p = 0 is not the identity.")
    try:
        layer.p = 1.0  # type: ignore[assignment]
    except ValueError as error:
        require("1.0" in str(error), f"the refusal of p = 1.0 does not show the value: {error}")
        return
    x = case.input.clone().requires_grad_()
    y = layer(x)
    y.sum().backward()
    require(x.grad is not None and bool(torch.isfinite(x.grad).all()), "p = 1 gives gradients that are not finite.")
    require(bool((y == y.flatten()[0]).all()), "p = 1 must make the output constant.")


def check_odd_inputs(case: Case) -> None:
    """Empty inputs pass through; a scalar works or is refused with a sentence about shape; NaN and infinity stay."""
    layer = case.factory().train()
    empty = case.input[:0]
    require(layer(empty).shape == empty.shape, "an empty input changed shape.")
    try:
        require(layer(torch.tensor(1.5)).shape == (), "a 0-d input changed shape.")
    except (ValueError, RuntimeError) as error:
        require(len(str(error)) > 20, f"a 0-d input was refused without a sentence: {error!r}")
    x = case.input.clone()
    x.view(-1)[::2] = torch.nan
    require(bool(torch.isnan(layer(x).reshape(-1)[::2]).all()), "a NaN in the input was lost.")


def check_errors(case: Case) -> None:
    """A probability outside [0, 1] or NaN is refused when the layer is made, with the value in the sentence."""
    layer = case.factory()
    if not hasattr(layer, "p"):
        return
    for bad in (-0.25, 1.5, float("nan")):
        try:
            type(layer)(bad)
        except ValueError as error:
            require(str(bad) in str(error), f"the refusal of p = {bad} does not show the value: {error}")
        else:
            raise AssertionError(f"p = {bad} was accepted.")
