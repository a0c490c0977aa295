"""R-Drop: two passes with different noise must agree."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout import rng
from torchdropout.layers._checks import check_choice, check_floating, check_number
from torchdropout.losses._passes import Select, passes

Reduction = Literal["mean", "translation", "bert", "roberta", "readme", "vit"]
Task = Literal["classification", "regression"]


class _Form(NamedTuple):
    """How the two terms are weighted, and whether each is summed over items instead of averaged."""

    likelihood: float
    divergence: float
    sums_likelihood: bool
    sums_divergence: bool


FORMS = {
    "mean": _Form(1.0, 1.0, False, False),
    "translation": _Form(1.0, 1.0, True, True),
    "bert": _Form(1.0, 1.0, False, True),
    "roberta": _Form(0.5, 1.0, False, True),
    "readme": _Form(0.5, 1.0, False, True),
    "vit": _Form(1.0, 2.0, False, True),
}


class RDropLoss(nn.Module):
    """The losses of two passes, and how far their distributions are apart: `l1 + l2 + alpha * (KL12 + KL21) / 2`.

    For classes, `l` is the cross-entropy of a pass and `KL12` the divergence in nats of the second pass's distribution
    from the first's; gradients flow through both. For regression, `l` is the squared error of a pass and
    `(KL12 + KL21) / 2` stands for the squared difference of the passes. By default both terms are means over items:
    examples, or the tokens that are real. The authors' programs weight the terms in other ways, each here by its name;
    `docs/objectives.md` converts `alpha` between them.

    Args:
        alpha: The strength; 1 to 5 in the paper.
        reduction: `"mean"`, the paper's; or as a program of the authors has it: `"translation"` (summarisation and the
            language model, too), `"bert"`, `"roberta"`, `"readme"`, `"vit"`.
        task: `"classification"` or `"regression"`.
        label_smoothing: As in `torch.nn.functional.cross_entropy`.
        ignore_index: A class number that marks targets which are not real.
        validate: Whether to look for targets out of range, and for NaN in one pass alone; on a GPU that waits for it.

    Shape:
        Two outputs `(..., C)`, targets `(...)` of class numbers or `(..., C)` of probabilities, mask `(...)`. For
        regression all four are alike. The result is 0-d, in at least float32.

    Raises:
        ValueError: An argument is out of range, a shape does not fit, or one pass alone has NaN.
        TypeError: An argument or tensor has another type.

    Example:
        >>> import torch, torchdropout as td
        >>> first = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
        >>> second = torch.tensor([[1.5, 0.5, -1.0], [0.0, 1.0, 0.2]])
        >>> td.RDropLoss(alpha=1.0)(first, second, torch.tensor([0, 1]))
        tensor(1.1293)

    Reference:
        X. Liang, L. Wu, J. Li, Y. Wang, Q. Meng, T. Qin, W. Chen, M. Zhang, T.-Y. Liu. R-Drop: Regularized Dropout for
        Neural Networks. NeurIPS 2021, arXiv:2106.14448, equations 1 to 4.

    Deviation: none by default. For regression, the authors' program leaves the second pass's own error out; here both
    count.
    """

    def __init__(
        self,
        alpha: float,
        reduction: Reduction = "mean",
        *,
        task: Task = "classification",
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        validate: bool = True,
    ) -> None:
        super().__init__()
        check_number("RDropLoss", "alpha", alpha, "finite and not negative", lambda v: 0 <= v < math.inf)
        check_choice("RDropLoss", "reduction", reduction, tuple(FORMS))
        check_choice("RDropLoss", "task", task, ("classification", "regression"))
        check_number("RDropLoss", "label_smoothing", label_smoothing, "in [0, 1]", lambda v: 0 <= v <= 1)
        self.alpha, self.reduction, self.task = alpha, reduction, task
        self.label_smoothing, self.ignore_index, self.validate = label_smoothing, ignore_index, validate

    def forward(self, first: Tensor, second: Tensor, targets: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """The loss of two passes; `mask` is true where an item is real."""
        _check_outputs(first, second)
        a, b = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (first, second))
        by_class = self.task == "classification"
        _check_shapes(a, targets, mask, by_class)
        real = self._real(targets, mask, by_class)
        if real is not None:
            keeps = real.unsqueeze(-1) if by_class else real
            a, b = torch.where(keeps, a, 0.0), torch.where(keeps, b, 0.0)
            targets = torch.where(keeps if targets.dim() == a.dim() else real, targets, 0)
        if self.validate and rng.is_plain(a) and rng.is_plain(targets):
            _check_values(a, b, targets, classes=a.shape[-1] if by_class else 0)
        with torch.autocast(a.device.type, enabled=False):
            likelihood, divergence = self._by_class(a, b, targets) if by_class else _squares(a, b, targets)
            return self._combined(likelihood, divergence, real)

    def _real(self, targets: Tensor, mask: Tensor | None, by_class: bool) -> Tensor | None:
        """Which items count; None where all do."""
        if by_class and not targets.is_floating_point():
            known = targets != self.ignore_index
            return known if mask is None else known & mask.to(torch.bool)
        return None if mask is None else mask.to(torch.bool)

    def _by_class(self, a: Tensor, b: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        classes = a.shape[-1]
        flat = targets.reshape(-1, classes) if targets.is_floating_point() else targets.reshape(-1).long()
        losses = [
            F.cross_entropy(x.reshape(-1, classes), flat, reduction="none", label_smoothing=self.label_smoothing)
            for x in (a, b)
        ]
        return (losses[0] + losses[1]).view(a.shape[:-1]), symmetric_kl(a, b)

    def _combined(self, likelihood: Tensor, divergence: Tensor, real: Tensor | None) -> Tensor:
        """The terms in the form of `reduction`; a mean over nothing is 0."""
        form = FORMS[self.reduction]
        count: Any = max(likelihood.numel(), 1)
        if real is not None:
            likelihood, divergence = (torch.where(real, x, 0.0) for x in (likelihood, divergence))
            count = real.sum().clamp(min=1)
        of_likelihood = likelihood.sum() if form.sums_likelihood else likelihood.sum() / count
        of_divergence = divergence.sum() if form.sums_divergence else divergence.sum() / count
        return form.likelihood * of_likelihood + self.alpha * form.divergence * of_divergence

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"alpha={self.alpha}, reduction={self.reduction!r}, task={self.task!r}"


def r_drop(
    model: nn.Module,
    x: Tensor | tuple[Any, ...],
    targets: Tensor,
    alpha: float | RDropLoss = 1.0,
    *,
    mask: Tensor | None = None,
    select: Select = None,
    share: bool = True,
    batch_dim: int = 0,
) -> Tensor:
    """The R-Drop loss of a model: two passes with different noise over the same inputs.

    What the model computes before its first live noise is computed once (`shared_prefix`); where nothing is to be
    shared, the two passes are one batch of twice the size; where a layer draws once for a batch, they are run one
    after the other. `docs/objectives.md` says what that means for batch norm. With no noise live, as in eval, the
    passes are equal.

    Args:
        model: In training mode, as it is.
        x: Its input, or a tuple of them.
        targets: As for `torchdropout.RDropLoss`.
        alpha: The strength, or an `RDropLoss` with settings of its own.
        mask: True where an item is real, of the targets' shape.
        select: Which tensor of the model's output the loss is of, where it is no tensor: a key, a number, or a function
            of the output.
        share: Whether to look for work that the passes share.
        batch_dim: The axis of the batch in inputs and output.

    Returns:
        A 0-d tensor.

    Raises:
        ValueError: As `RDropLoss`; the batch is at another axis; or `select` names nothing.
        TypeError: The model's output is no tensor and `select` names none.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), td.Dropout(0.5), torch.nn.Linear(8, 3))
        >>> loss = td.r_drop(model, torch.randn(16, 4), torch.randint(3, (16,)), alpha=5.0)
        >>> loss.backward()

    Reference:
        X. Liang, L. Wu, J. Li, Y. Wang, Q. Meng, T. Qin, W. Chen, M. Zhang, T.-Y. Liu. R-Drop: Regularized Dropout for
        Neural Networks. NeurIPS 2021, arXiv:2106.14448, section 2.
    """
    loss = alpha if isinstance(alpha, RDropLoss) else RDropLoss(alpha)
    first, second = passes("r_drop", model, x, 2, share, batch_dim, select)
    result: Tensor = loss(first, second, targets, mask=mask)
    return result


def symmetric_kl(a: Tensor, b: Tensor) -> Tensor:
    """`(KL12 + KL21) / 2` of the distributions of logits `(..., C)`, in nats, one number an item.

    It is `sum (p - q) (log p - log q) / 2`, in which nothing large cancels; a class that both exclude adds 0.
    """
    log_p, log_q = a.log_softmax(-1), b.log_softmax(-1)
    apart = torch.where(torch.isneginf(log_p) & torch.isneginf(log_q), 0.0, log_p - log_q)
    return 0.5 * ((log_p.exp() - log_q.exp()) * apart).sum(-1)


def _squares(a: Tensor, b: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return (a - targets).square() + (b - targets).square(), (a - b).square()


def _check_outputs(first: Tensor, second: Tensor) -> None:
    check_floating("RDropLoss", first)
    check_floating("RDropLoss", second)
    if first.shape != second.shape or first.dim() == 0:
        raise ValueError(
            f"RDropLoss: the outputs must have one shape and at least one axis, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )


def _check_shapes(outputs: Tensor, targets: Tensor, mask: Tensor | None, by_class: bool) -> None:
    soft = targets.is_floating_point()
    items = outputs.shape[:-1] if by_class else outputs.shape
    expected = outputs.shape if soft or not by_class else items
    if targets.shape != expected:
        kind = "probabilities" if soft else "class numbers"
        words = f"`targets` of {kind} must have shape" if by_class else "`targets` must have the outputs' shape"
        raise ValueError(f"RDropLoss: {words} {tuple(expected)}, got {tuple(targets.shape)}.")
    if mask is not None and mask.shape != items:
        raise ValueError(f"RDropLoss: `mask` must have shape {tuple(items)}, got {tuple(mask.shape)}.")


def _check_values(a: Tensor, b: Tensor, targets: Tensor, classes: int) -> None:
    """Look at everything at once, since on a GPU each look waits for it."""
    found = [a.isnan().any(), b.isnan().any()]
    numbered = classes > 0 and targets.numel() > 0 and not targets.is_floating_point()
    if numbered:
        found += [*torch.aminmax(targets)]
    in_first, in_second, *ends = torch.stack([each.to(torch.int64) for each in found]).tolist()
    if in_first != in_second:
        raise ValueError(
            f"RDropLoss: NaN must not be in one pass alone, got it in the {'first' if in_first else 'second'}."
        )
    if numbered and not (ends[0] >= 0 and ends[1] < classes):
        raise ValueError(f"RDropLoss: `targets` must be in [0, {classes}), got {ends[0]} to {ends[1]}.")
