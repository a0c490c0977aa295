"""The suite itself: every check, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchdropout.testing import basics, noise
from torchdropout.testing.case import Case, Claim

CHECKS: dict[str, Callable[[Case], None]] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        basics.check_form,
        basics.check_memory_format,
        basics.check_not_contiguous,
        basics.check_eval,
        basics.check_train_is_noisy,
        basics.check_input_unchanged,
        basics.check_copies,
        basics.check_extremes_of_p,
        basics.check_odd_inputs,
        basics.check_errors,
        noise.check_reproducible,
        noise.check_gradient,
        noise.check_checkpoint,
        noise.check_autocast,
        noise.check_compile,
        noise.check_statistics,
        noise.check_huge,
    )
}


def check_layer(
    factory: Callable[[], nn.Module],
    input: Tensor,  # noqa: A002 - PyTorch's name
    *,
    claim: Claim | None = None,
    backend: str | None = "aot_eager",
) -> None:
    """Run the conformance suite on a noise layer.

    Form: shape, dtype, device, memory format; deep copy, pickle, state dict; an unchanged input; odd inputs and
    errors. Noise: off in eval, anew at every call in training, the same for the same seed or key, under activation
    checkpointing, autocast and `torch.compile`; with a claim, its rate, mean and variance, and which axes share a
    draw, against bounds that a conforming layer exceeds with probability `torchdropout.testing.ERROR_RATE` a check.

    Args:
        factory: Makes the layer, with noise neither off nor total.
        input: A floating-point tensor of a shape the layer takes, batch first.
        claim: What the noise is: a `TwoPointClaim` or a `GaussianNoiseClaim`; None leaves the statistics unchecked.
        backend: The `torch.compile` backend; None leaves compilation unchecked.

    Raises:
        AssertionError: A check failed; the message begins with the check's name.

    Example:
        >>> import torch, torchdropout as td
        >>> from torchdropout.testing import TwoPointClaim, check_layer
        >>> claim = TwoPointClaim(keep=0.75, dropped=0.0, kept=4 / 3)
        >>> check_layer(lambda: td.Dropout(0.25), torch.randn(8, 16), claim=claim, backend=None)
    """
    case = Case(factory, input, claim, backend)
    state = torch.get_rng_state()
    try:
        for name, check in CHECKS.items():
            _run(name, check, case)
    finally:
        torch.set_rng_state(state)


def _run(name: str, check: Callable[[Case], None], case: Case) -> None:
    try:
        check(case)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error
