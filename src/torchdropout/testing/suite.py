"""The suite itself: every check by name, and its runs over a case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from torchdropout.testing import form, gradients, learning, modes, noise
from torchdropout.testing.case import Case
from torchdropout.testing.claims import Claim

Check = Callable[[Case], str | None]

CHECKS: dict[str, Check] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        form.check_input_unchanged,
        form.check_form,
        form.check_memory_format,
        form.check_not_contiguous,
        form.check_odd_inputs,
        form.check_huge,
        modes.check_eval,
        modes.check_train_is_noisy,
        modes.check_reproducible,
        modes.check_copies,
        modes.check_errors,
        modes.check_extremes_of_p,
        modes.check_extremes,
        gradients.check_gradient,
        gradients.check_gradcheck,
        gradients.check_checkpoint,
        gradients.check_autocast,
        gradients.check_compile,
        noise.check_statistics,
        noise.check_sharing,
        noise.check_moments,
        noise.check_test_rule,
        learning.check_divergence,
        learning.check_twin,
    )
}


class Outcome(NamedTuple):
    """How a check ended.

    Attributes:
        status: "pass", "fail", or "n/a" where the check does not apply.
        detail: What failed, or why the check does not apply.
    """

    status: Literal["pass", "fail", "n/a"]
    detail: str = ""


def run_check(name: str, case: Case) -> Outcome:
    """One check of one case; whatever it raises is a failure. The global generator is left as it was."""
    try:
        with torch.random.fork_rng(devices=[]):
            reason = CHECKS[name](case)
    except AssertionError as error:
        return Outcome("fail", str(error))
    except Exception as error:  # noqa: BLE001, RUF100 - a layer may fail in any way
        return Outcome("fail", f"{type(error).__name__}: {error}")
    return Outcome("pass") if reason is None else Outcome("n/a", reason)


def run_checks(case: Case) -> dict[str, Outcome]:
    """Every check of one case, by name."""
    return {name: run_check(name, case) for name in CHECKS}


def check_layer(
    factory: Callable[[], nn.Module],
    input: Tensor,  # noqa: A002 - PyTorch's name
    *,
    claim: Claim | None = None,
    backend: str | None = "aot_eager",
    **declared: Any,
) -> None:
    """Run the conformance suite on a noise layer, of this package or of any other.

    A layer is a `torch.nn.Module` that is noisy iff `training`; what is none becomes one by five lines, a subclass
    whose `forward` calls it. Form: shape, dtype, device, memory format; copies; an unchanged input; odd inputs and
    errors. Noise: off in eval, anew at every call in training, the same for the same seed or key, under activation
    checkpointing, autocast and `torch.compile`; gradients against finite differences. What is declared is checked as
    well: the distribution and the axes that share a draw, by bounds that a conforming layer exceeds with probability
    `torchdropout.testing.ERROR_RATE` each; exact expectations; divergences; extreme parameters; the noiseless twin.

    Args:
        factory: Makes the layer, with noise neither off nor total.
        input: A tensor of a shape the layer takes, batch first.
        claim: What the noise is: a `TwoPointClaim`, a `GaussianNoiseClaim` or a `QuantileClaim`; None leaves the
            distribution unchecked.
        backend: The `torch.compile` backend; None leaves compilation unchecked.
        declared: Other fields of `torchdropout.testing.Case`; `elementwise=False` where the output is no product of
            the input and noise.

    Raises:
        AssertionError: A check failed; the message begins with the check's name.

    Example:
        >>> import torch, torchdropout as td
        >>> from torchdropout.testing import TwoPointClaim, check_layer
        >>> claim = TwoPointClaim(keep=0.75, dropped=0.0, kept=4 / 3)
        >>> check_layer(lambda: td.Dropout(0.25), torch.randn(8, 16), claim=claim, backend=None)
    """
    case = Case(factory, input, claim, backend, **declared)
    for name in CHECKS:
        status, detail = run_check(name, case)
        if status == "fail":
            raise AssertionError(f"{name}: {detail}")


def check_method(name: str, checks: list[str] | None = None) -> dict[str, Outcome]:
    """Run the suite on a method of the catalogue.

    Args:
        name: A name of `torchdropout methods`.
        checks: Some of `CHECKS`; None: all.

    Raises:
        ValueError: There is no such method.

    Example:
        >>> from torchdropout.testing import check_method
        >>> check_method("dropout", ["eval"])
        {'eval': Outcome(status='pass', detail='')}
    """
    from torchdropout.testing.declared import declared  # noqa: PLC0415 - declarations are not needed for `check_layer`

    case = declared(name)
    return {check: run_check(check, case) for check in (CHECKS if checks is None else checks)}
