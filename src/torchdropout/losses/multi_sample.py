"""Multi-sample dropout: several masks over the same features, and the mean of their losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout.layers._checks import check_number
from torchdropout.layers._noise import keys
from torchdropout.layers._rate import RateModule
from torchdropout.layers.dropout import apply
from torchdropout.losses import _sources
from torchdropout.losses._passes import Select, passes, run

Loss = Callable[[Tensor, Tensor], Tensor]


class MultiSampleDropout(RateModule):
    """A head behind several dropout masks at once; in training its output has an axis of samples in front.

    `y[m] = head(x * mask[m] / k)` with independent masks of probability `k = 1 - p` for `m = 1 ... num_samples`, in one
    call of the head. The loss is the mean of the samples' losses (`multi_sample_loss`), not the loss of mean logits. In
    eval `y = head(x)`.

    Args:
        head: What follows the features: a classifier.
        num_samples: How many masks; 8 in the paper's figures.
        p: The probability of dropping a feature.

    Shape:
        The head's; in training `(num_samples, *)`.

    Raises:
        ValueError: `num_samples` is less than 1, or `p` outside [0, 1].
        TypeError: `head` is no module.

    Example:
        >>> import torch, torchdropout as td
        >>> head = td.MultiSampleDropout(torch.nn.Linear(16, 3), num_samples=8, p=0.5)
        >>> head(torch.ones(4, 16), key=td.key(0)).shape
        torch.Size([8, 4, 3])
        >>> head.eval()(torch.ones(4, 16)).shape
        torch.Size([4, 3])

    Reference:
        H. Inoue. Multi-Sample Dropout for Accelerated Training and Better Generalization. 2019, arXiv:1905.09788,
        section 3.

    Deviation: none.
    """

    one_sample = False  # in sampling mode, where the passes are the samples

    def __init__(self, head: nn.Module, num_samples: int = 8, p: float = 0.5) -> None:
        if not isinstance(head, nn.Module):
            raise TypeError(f"MultiSampleDropout: `head` must be a torch.nn.Module, got {type(head).__name__}.")
        check_samples("MultiSampleDropout", num_samples)
        super().__init__(p)
        self.head, self.num_samples = head, num_samples

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """All samples' outputs in training, one output in eval."""
        if not self.training:
            return self.head(input)  # type: ignore[no-any-return]
        rate = self._rate()
        if self.one_sample:
            return self.head(apply(input, rate, True, False, key, "inverted"))  # type: ignore[no-any-return]
        samples = [apply(input, rate, True, False, each, "inverted") for each in keys(key, self.num_samples)]
        if input.dim() < 2 or _sources.draws_for_batch(self.head):
            return torch.stack([self.head(sample) for sample in samples])
        y: Tensor = self.head(torch.cat(samples))
        return y.view(self.num_samples, len(input), *y.shape[1:])

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"num_samples={self.num_samples}, p={self.p}"


def multi_sample_loss(
    model: nn.Module,
    x: Tensor | tuple[Any, ...],
    targets: Tensor,
    num_samples: int | None = None,
    *,
    loss: Loss = F.cross_entropy,
    select: Select = None,
    share: bool = True,
    batch_dim: int = 0,
) -> Tensor:
    """The mean of the losses of several passes with different noise: multi-sample dropout for any model.

    `(loss(y[1], targets) + ... + loss(y[M], targets)) / M`. What the model computes before its first live noise is
    computed once, as for `torchdropout.r_drop`. A model that has a `MultiSampleDropout` is run once: its samples are
    those. With no noise live, as in eval, all passes are equal.

    Args:
        model: In training mode, as it is.
        x: Its input, or a tuple of them.
        targets: What `loss` takes.
        num_samples: How many passes; None: 8, or as many as the model's `MultiSampleDropout` has.
        loss: Of a pass's output and the targets: a 0-d tensor.
        select: Which tensor of the model's output the loss is of, where it is no tensor: a key, a number, or a function
            of the output.
        share: Whether to look for work that the passes share.
        batch_dim: The axis of the batch in inputs and output.

    Returns:
        A 0-d tensor.

    Raises:
        ValueError: `num_samples` is less than 1 or not that of the model's `MultiSampleDropout`; the loss is not 0-d;
            or the batch is at another axis.
        TypeError: The model's output is no tensor and `select` names none.

    Example:
        >>> import torch, torchdropout as td
        >>> trunk = [torch.nn.Linear(4, 8), torch.nn.ReLU()]
        >>> x, y = torch.randn(16, 4), torch.randint(3, (16,))
        >>> model = torch.nn.Sequential(*trunk, td.Dropout(0.5), torch.nn.Linear(8, 3))
        >>> loss = td.multi_sample_loss(model, x, y, num_samples=8)
        >>> model = torch.nn.Sequential(*trunk, td.MultiSampleDropout(torch.nn.Linear(8, 3), 8, 0.5))
        >>> loss = td.multi_sample_loss(model, x, y)

    Reference:
        H. Inoue. Multi-Sample Dropout for Accelerated Training and Better Generalization. 2019, arXiv:1905.09788,
        section 3.
    """
    heads = [m for m in model.modules() if isinstance(m, MultiSampleDropout)] if isinstance(model, nn.Module) else []
    own = heads[0].num_samples if heads else None
    if num_samples is not None:
        check_samples("multi_sample_loss", num_samples)
        if own not in (None, num_samples):
            raise ValueError(
                "multi_sample_loss: `num_samples` must be that of the model's MultiSampleDropout, "
                f"{own}, got {num_samples}."
            )
    if heads and heads[0].training:
        outputs = _samples(run("multi_sample_loss", model, x, select), heads[0].num_samples)
    elif heads:
        outputs = [run("multi_sample_loss", model, x, select)]
    else:
        outputs = passes("multi_sample_loss", model, x, num_samples or 8, share, batch_dim, select)
    return torch.stack([_checked(loss(output, targets)) for output in outputs]).mean()


def check_samples(owner: str, num_samples: int) -> None:
    """A whole number from 1."""
    check_number(owner, "num_samples", num_samples, "an integer of at least 1", lambda n: n >= 1 and n == int(n))


def _samples(output: Tensor, count: int) -> list[Tensor]:
    if output.dim() < 1 or len(output) != count:
        raise ValueError(
            f"multi_sample_loss: the model's output must have its {count} samples in front, got {tuple(output.shape)}."
        )
    return list(output)


def _checked(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"multi_sample_loss: `loss` must return a mean, a 0-d tensor, got {got}.")
    return value
