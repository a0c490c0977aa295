"""Multiplication by noise: autograd, `torch.library` registration, and the choice of a kernel.

`y = x * noise(key)` is linear in `x`, so the backward pass, the forward-mode derivative and every higher derivative
are the same operation on another tensor, and only the key is kept between the passes.

Three ways lead to a kernel. Eager calls go through a `torch.autograd.Function`, the cheapest; under a transform of
`torch.func` through one that can be batched; under a compiler, export or a tensor subclass through an operator of
`torch.library` on the CPU, where the kernel beats fused code, and otherwise through the reference kernel in plain
torch operations, which a compiler fuses with its neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, empty_like, is_grad_enabled
from torch.autograd import forward_ad
from torch.autograd.function import Function, FunctionCtx
from torch.compiler import is_compiling

from torchdropout import laws, rng
from torchdropout.laws import Law
from torchdropout.ops.devices import kernel_for

# Between the matrix products of a network a call finds the caches cold: each Python function and each lookup that it
# adds then costs about a microsecond, so the eager way has as few of them as it can.
_PLAIN = (Tensor, torch.nn.Parameter)
_functorch_active = torch._C._are_functorch_transforms_active
_unwrap_if_dead = torch._C._functorch.unwrap_if_dead


def multiply(
    x: Tensor, law: laws.Spec, *, key: Tensor | None = None, inplace: bool = False, batch_dim: int = 0
) -> Tensor:
    """`x` times noise.

    Args:
        x: `(*batch, ...)`, floating point.
        law: What the noise is; its strength may be a 0-d tensor under a compiler, where it can then change without
            recompilation.
        key: `(*batch, 2)`, one for each row of the leading axes; None draws one for all. A jagged nested tensor
            takes one.
        inplace: Whether to write to `x`.
        batch_dim: The axis of the examples, if there is one: where a source gives each a key, they are given there.

    Raises:
        TypeError: `key` is no key.
        ValueError: The batch shape of `key` does not begin the shape of `x`.
    """
    if key is not None:
        key = _checked(key, x)
    if is_compiling() or type(x) not in _PLAIN:
        if x.is_nested and x.layout == torch.jagged:
            return _jagged(x, law, key, inplace)
        y = _traced(x, law, _drawn_in_graph() if key is None else key)
        return x.copy_(y) if inplace else y
    if key is None:
        if (source := rng.source()) is not None:
            return _by_example(x, law, inplace, *source.draw(x.shape, batch_dim))
        key = _drawn_on_device(x) if x.is_cuda and _is_captured() else rng.draw()
    return _eager(x, key, laws.settle(law), inplace)


def _is_captured() -> bool:
    """Whether a CUDA graph is being recorded."""
    return torch.cuda.is_current_stream_capturing()


def _drawn_on_device(x: Tensor) -> Tensor:
    """A key from the device's generator, whose state each replay of a graph moves on; a key of the CPU's would stay."""
    return torch.randint(-(2**63), 2**63 - 1, (2,), dtype=torch.int64, device=x.device)


def _by_example(x: Tensor, law: laws.Spec, inplace: bool, key: Tensor, axis: int, groups: int) -> Tensor:
    """Noise of which each example has its own key, at `axis`, or in runs of so many rows there."""
    if axis == 0 and groups == 1:
        return _eager(x, key, laws.settle(law), inplace)
    first = x.movedim(axis, 0)
    rows = first.reshape(len(key), groups, *first.shape[1:])
    y = _eager(rows, key, laws.settle(law)).flatten(0, 1).movedim(0, axis)
    return x.copy_(y) if inplace else y


def plain_operations_wanted(x: Tensor) -> bool:
    """Whether only operations that PyTorch itself can transform will do."""
    return _functorch_active() or forward_ad._current_level >= 0 or type(x) not in _PLAIN


def _checked(key: Tensor, x: Tensor) -> Tensor:
    key = rng.as_key(key, "torchdropout")
    if key.ndim > 1 and key.shape[:-1] != x.shape[: key.ndim - 1]:
        raise ValueError(
            f"torchdropout: the batch shape of `key` must begin the shape of the noise, "
            f"got {tuple(key.shape[:-1])} for {tuple(x.shape)}."
        )
    return key


# --------------------------------------------------------------------------------------------------------------------
# Eager.


def _eager(x: Tensor, key: Tensor, law: Law, inplace: bool = False) -> Tensor:
    if _functorch_active():
        y: Tensor = _Batched.apply(x, key, law)  # type: ignore[no-untyped-call]
        return x.copy_(y) if inplace else y
    if (x.requires_grad and is_grad_enabled()) or forward_ad._current_level >= 0:
        return _apply(_unwrap_if_dead(x), key, law, inplace)  # type: ignore[no-untyped-call, no-any-return]
    return _run(x, key, law, inplace)


class _Multiply(Function):
    """The cheap one: its context is set in `forward`, which the transforms of `torch.func` do not accept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, key: Tensor, law: Law, inplace: bool) -> Tensor:
        ctx.arguments = key, law, inplace
        if inplace:
            ctx.mark_dirty(x)
        return _run(x, key, law, inplace)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        key, law, _ = ctx.arguments
        return _eager(grad, key, law), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _eager(tangent, *ctx.arguments)


_apply = super(Function, _Multiply).apply  # what `Function.apply` comes to where no transform is active


class _Batched(Function):
    """The one for `torch.func`: under `vmap` the key's batch axis joins the key's leading axes."""

    @staticmethod
    def forward(x: Tensor, key: Tensor, law: Law) -> Tensor:
        return _run(x, key, law, inplace=False)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Law], output: Tensor) -> None:
        _, key, law = inputs
        ctx.save_for_backward(key)
        ctx.save_for_forward(key)
        ctx.law = law  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _eager(grad, _alive(ctx.saved_tensors[0]), ctx.law), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _eager(tangent, _alive(ctx.saved_tensors[0]), ctx.law)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, key: Tensor, law: Law) -> tuple[Tensor, int]:
        x, key = _batch_first(info.batch_size, in_dims, x, key)
        return _eager(x, key, law), 0


def _alive(key: Tensor) -> Tensor:
    """The key without the wrapper of a transform that may have ended, as it has when `vjp`'s function is called."""
    return key.clone()


def _batch_first(size: int, dims: tuple[int | None, ...], *tensors: Tensor) -> list[Tensor]:
    pairs = zip(tensors, dims, strict=False)
    return [t.expand(size, *t.shape) if d is None else t.movedim(d, 0) for t, d in pairs]


def _run(x: Tensor, key: Tensor, law: Law, inplace: bool) -> Tensor:
    """The kernel itself, on plain tensors."""
    kernel = kernel_for(x)
    if kernel is None:
        from torchdropout.kernels import reference  # noqa: PLC0415 - kernels load when first needed

        y = reference.multiply(x, key, law)
        return x.copy_(y) if inplace else y
    if x.numel() == 0:
        return x if inplace else empty_like(x)
    if key.device != x.device or not key.is_contiguous():
        key = key.to(x.device).contiguous()
    if x.is_contiguous():
        out = x if inplace else empty_like(x)
        kernel.multiply(x, out, key, law)
        return out
    # Elements count in C order, so the noise of other layouts is made apart, in what the kernel computes in.
    noise = torch.ones(x.shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    kernel.multiply(noise, noise, key, law)
    return torch.mul(x, noise, out=x if inplace else empty_like(x))


# --------------------------------------------------------------------------------------------------------------------
# Traced.


def _jagged(x: Any, law: laws.Spec, key: Tensor | None, inplace: bool) -> Tensor:
    """A nested tensor's values are one dense tensor: the noise is that tensor's."""
    values = multiply(x.values(), law, key=key, inplace=inplace)
    return x if inplace else torch.nested.nested_tensor_from_jagged(values, x.offsets(), x.lengths(), x._ragged_idx)


def _traced(x: Tensor, law: laws.Spec, key: Tensor) -> Tensor:
    if x.is_cpu and not _functorch_active():  # an operator's gradient is unknown to the transforms of `torch.func`
        return _multiply_op(x, key, *law.as_arguments())  # type: ignore[no-any-return]
    from torchdropout.kernels import reference  # noqa: PLC0415 - kernels load when first needed

    return reference.multiply(x, key, law.as_tensors())


def _drawn_in_graph() -> Tensor:
    """A key whose draw is part of the graph; the fresh tensor keeps equal calls from being merged into one."""
    if _functorch_active():  # `vmap` knows how to treat this one
        return rng.draw()
    return _draw_op(torch.empty((), dtype=torch.int64, device="cpu"))  # type: ignore[no-any-return]


@torch.library.custom_op("torchdropout::draw", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _draw_op(salt: Tensor) -> Tensor:
    return rng.draw()


@_draw_op.register_fake
def _(salt: Tensor) -> Tensor:
    return salt.new_empty((2,))


@torch.library.custom_op("torchdropout::multiply", mutates_args=())
def _multiply_op(x: Tensor, key: Tensor, kind: str, strength: Tensor, other: float) -> Tensor:
    spec = laws.Spec(kind, float(strength), other)
    fixed = spec.fixed_noise()
    if fixed is not None:
        return x * fixed
    return _run(x, key, laws.settle(spec), inplace=False)


@_multiply_op.register_fake
def _(x: Tensor, key: Tensor, kind: str, strength: Tensor, other: float) -> Tensor:
    return empty_like(x)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, key, ctx.kind, strength, ctx.other = inputs
    ctx.save_for_backward(key, strength)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    key, strength = ctx.saved_tensors
    return _multiply_op(grad, key, ctx.kind, strength, ctx.other), None, None, None, None


_multiply_op.register_autograd(_backward, setup_context=_setup)
