"""Mixins for Hugging Face's `Trainer`: R-Drop, and the divergences of a model's noise."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.integrations._missing import missing
from torchdropout.layers._checks import check_number
from torchdropout.losses import _sources
from torchdropout.losses.kl import kl_loss, kl_scale
from torchdropout.losses.r_drop import RDropLoss

try:
    from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
except ImportError as error:
    raise missing("transformers") from error

__all__ = ["KLLossMixin", "RDropMixin"]

_IGNORED = -100
_NOT_CLASSES = ("regression", "multi_label_classification")


class KLLossMixin:
    """Adds `torchdropout.kl_loss` to a trainer's training loss: `class MyTrainer(KLLossMixin, Trainer)`.

    It is added once for each step of the optimizer, however many batches that accumulates; with several processes, by
    each to the mean of its own. The evaluation loss is without it. With `RDropMixin`, this one comes first.

    Args:
        arguments: Of the trainer.
        num_data: How many terms the likelihood of the training set has: examples, or tokens where the loss is a mean
            over tokens. Beside R-Drop, whose loss holds each of them twice, the divergence is doubled too.
        kl_warmup: The share of training in which the divergence's weight grows from 0 to 1, in a straight line.
        options: Of the trainer.

    Raises:
        ValueError: `num_data` is not positive, or `kl_warmup` outside [0, 1].

    Example:
        >>> from transformers import Trainer
        >>> from torchdropout.integrations.transformers import KLLossMixin
        >>> class MyTrainer(KLLossMixin, Trainer):
        ...     pass
    """

    def __init__(self, *arguments: Any, num_data: float, kl_warmup: float = 0.0, **options: Any) -> None:
        kl_scale("KLLossMixin", num_data, 1.0)
        check_number("KLLossMixin", "kl_warmup", kl_warmup, "in [0, 1]", lambda v: 0 <= v <= 1)
        self.num_data, self.kl_warmup = num_data, kl_warmup
        super().__init__(*arguments, **options)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The trainer's own loss; in training, with the divergence."""
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        if not model.training:
            return found
        loss, outputs = found if return_outputs else (found, None)
        kl = kl_loss(model, self.num_data, self._kl_weight()).to(loss.device)
        if _is_whole(self, num_items_in_batch):
            kl = kl / _accumulated(self)
        loss = loss + (2 * kl if isinstance(self, RDropMixin) else kl)
        return (loss, outputs) if return_outputs else loss

    def _kl_weight(self) -> float:
        state: Any = self.state  # type: ignore[attr-defined]
        steps = self.kl_warmup * state.max_steps
        return 1.0 if steps <= 0 else min(1.0, state.global_step / steps)


class RDropMixin:
    """Trains by R-Drop: `class MyTrainer(RDropMixin, Trainer)`, for models that return logits over classes.

    Each batch goes through the model twice, as one batch of twice the size, and the loss is `torchdropout.RDropLoss`:
    both cross-entropies and `alpha` times the divergence, as means over labels that are not -100. So it is about twice
    a plain one. Where a layer draws once for a batch, there are two passes. A causal language model's labels are
    shifted as the model itself does it. Labels are counted over all batches that a step accumulates where the trainer
    counts them; else each batch has equal weight. `label_smoothing_factor` is obeyed. Evaluation is the trainer's own.

    Args:
        arguments: Of the trainer.
        alpha: The divergence's weight.
        options: Of the trainer.

    Raises:
        ValueError: `alpha` is negative or not finite; a loss of the user's own is given; in training: there are no
            labels, the model's targets are no classes, its output has no `logits` or has an auxiliary loss, or one
            process drives several GPUs.
        TypeError: `KLLossMixin` comes after this one in the class, whose loss would be lost.

    Example:
        >>> from transformers import Trainer
        >>> from torchdropout.integrations.transformers import RDropMixin
        >>> class MyTrainer(RDropMixin, Trainer):
        ...     pass

    Reference:
        X. Liang, L. Wu, J. Li, Y. Wang, Q. Meng, T. Qin, W. Chen, M. Zhang, T.-Y. Liu. R-Drop: Regularized Dropout for
        Neural Networks. NeurIPS 2021, arXiv:2106.14448, section 2.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        order = [c for c in cls.__mro__ if c in (KLLossMixin, RDropMixin)]
        if order == [RDropMixin, KLLossMixin]:
            raise TypeError(f"{cls.__name__}: KLLossMixin must come before RDropMixin, got it after.")

    def __init__(self, *arguments: Any, alpha: float = 1.0, **options: Any) -> None:
        check_number("RDropMixin", "alpha", alpha, "finite and not negative", lambda v: 0 <= v < math.inf)
        self.alpha = alpha
        super().__init__(*arguments, **options)
        if getattr(self, "compute_loss_func", None) is not None:
            raise ValueError("RDropMixin: `compute_loss_func` must be None, since R-Drop is the loss; got a function.")

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of two passes in training, and their outputs, the second pass's behind the first's."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        args: Any = self.args  # type: ignore[attr-defined]
        if args.n_gpu > 1:
            raise ValueError(f"RDropMixin: a process must drive one GPU, as by torchrun, got {args.n_gpu}.")
        plain = self.accelerator.unwrap_model(model)  # type: ignore[attr-defined]
        labels = _labels(inputs)
        outputs, first, second = _two_passes(model, plain, inputs, len(labels))
        if _shifts(plain) and "shift_labels" not in inputs:
            first, second, labels = first[:, :-1], second[:, :-1], labels[:, 1:]
        _check_classes(plain, first, labels)
        loss = RDropLoss(self.alpha, label_smoothing=args.label_smoothing_factor)(first, second, labels)
        if _is_whole(self, num_items_in_batch):
            loss = loss * _share(self, labels, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def _is_whole(trainer: Any, num_items_in_batch: Any) -> bool:
    """Whether the trainer takes a loss for one of the whole step, and does not divide it by the batches of a step."""
    told = getattr(trainer, "loss_is_scaled_for_ga", None)
    return bool(trainer.model_accepts_loss_kwargs and num_items_in_batch is not None) if told is None else bool(told)


def _accumulated(trainer: Any) -> int:
    return int(trainer.current_gradient_accumulation_steps)


def _share(trainer: Any, labels: Tensor, num_items_in_batch: Any) -> Any:
    """A batch's part of all labels that a step of the optimizer counts; of equal size where they are not counted."""
    if num_items_in_batch is None:
        return 1 / _accumulated(trainer)
    share = (labels != _IGNORED).sum() / num_items_in_batch
    averaged = trainer.args.average_tokens_across_devices and trainer.model_accepts_loss_kwargs
    return share * trainer.accelerator.num_processes if averaged else share


def _labels(inputs: dict[str, Any]) -> Tensor:
    labels = inputs.get("shift_labels", inputs.get("labels"))
    if not isinstance(labels, Tensor):
        raise ValueError(f"RDropMixin: the inputs must have `labels`, got {', '.join(inputs)}.")
    if labels.is_floating_point():
        raise ValueError(f"RDropMixin: `labels` must be class numbers, got {labels.dtype}.")
    return labels


def _two_passes(
    model: nn.Module, plain: nn.Module, inputs: dict[str, Any], size: int
) -> tuple[Any, Tensor, Tensor]:  # fmt: skip
    """The outputs of both, and the logits of each; labels are for models that make their decoder's inputs of them."""
    is_decoding = getattr(getattr(plain, "config", None), "is_encoder_decoder", False)
    given = {k: v for k, v in inputs.items() if is_decoding or k not in ("labels", "shift_labels")}
    if _sources.draws_for_batch(plain):
        pair = [model(**given), model(**given)]
        return pair[0], *(_logits(outputs) for outputs in pair)
    doubled = {
        k: torch.cat([v, v]) if isinstance(v, Tensor) and v.shape[:1] == (size,) else v for k, v in given.items()
    }
    outputs = model(**doubled)
    first, second = _logits(outputs).chunk(2)
    return outputs, first, second


def _logits(outputs: Any) -> Tensor:
    if getattr(outputs, "aux_loss", None) is not None:
        raise ValueError("RDropMixin: the model must have no auxiliary loss, which would be lost; got `aux_loss`.")
    if not isinstance(outputs, dict):
        raise ValueError(f"RDropMixin: the model's output must have `logits`, got {type(outputs).__name__}.")
    if not isinstance(outputs.get("logits"), Tensor):
        raise ValueError(f"RDropMixin: the model's output must have `logits`, got {', '.join(outputs)}.")
    logits: Tensor = outputs["logits"]
    return logits


def _shifts(plain: Any) -> bool:
    """Whether the logits of a position are for the label of the next."""
    if getattr(getattr(plain, "config", None), "is_encoder_decoder", False):
        return False
    inner = plain.get_base_model() if hasattr(plain, "get_base_model") else plain  # of an adapter of PEFT
    named = type(inner).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return named or LOSS_MAPPING.get(str(getattr(inner, "loss_type", None))) is ForCausalLMLoss


def _check_classes(plain: Any, logits: Tensor, labels: Tensor) -> None:
    kind = getattr(getattr(plain, "config", None), "problem_type", None)
    if kind in _NOT_CLASSES or logits.shape[-1] == 1:
        raise ValueError(
            f"RDropMixin: the model must tell classes apart, got {kind if kind in _NOT_CLASSES else 'one logit'}."
        )
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"RDropMixin: the logits must be of the labels' shape and classes, got {tuple(logits.shape)} for labels "
            f"{tuple(labels.shape)}."
        )
