"""Callbacks and a mixin for skorch: schedules of drop probabilities, constraints, divergences and penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchdropout.constraints import Constraint, constrain_
from torchdropout.integrations._missing import missing
from torchdropout.layers._checks import check_choice
from torchdropout.losses._names import Filter
from torchdropout.losses.regularization import regularization_loss
from torchdropout.scheduler import DropoutScheduler
from torchdropout.scheduler import Filter as LayerFilter
from torchdropout.schedules import Schedule

try:
    from skorch.callbacks import Callback
except ImportError as error:
    raise missing("skorch") from error

__all__ = ["Constrain", "DropoutSchedule", "RegularizationMixin"]

_TAKEN = "dropout_batch_count"  # names with this end are not printed


class DropoutSchedule(Callback):  # type: ignore[misc]
    """Sets the drop probabilities of a net's module by a schedule, after every training batch or epoch.

    What the layers have when the net is initialized is the full strength, which the schedule multiplies; see
    `torchdropout.DropoutScheduler`. `partial_fit`, and nets that were pickled, go on where they stopped. So do
    checkpoints: where it is stands in the history, which `Checkpoint` saves and `LoadInitState` loads, as
    `dropout_batch_count`; the factor at the end of each epoch stands there as `dropout_factor`.

    Args:
        schedule: One of `torchdropout.schedules`, or a function of the step and the total.
        total: How many batches or epochs the schedule takes; None: as many as `max_epochs` has.
        per: `"step"`, after each training batch, or `"epoch"`.
        filter_fn: Called with a layer and its qualified name: whether it is scheduled; None for all.

    Raises:
        ValueError: At the start of training: `per` is unknown, or as `torchdropout.DropoutScheduler`.

    Example:
        >>> from torchdropout import schedules
        >>> from torchdropout.integrations.skorch import DropoutSchedule
        >>> callbacks = [DropoutSchedule(schedules.Curriculum())]
    """

    def __init__(
        self, schedule: Schedule, total: int | None = None, per: Literal["step", "epoch"] = "step",
        filter_fn: LayerFilter | None = None,
    ) -> None:  # fmt: skip
        self.schedule, self.total, self.per, self.filter_fn = schedule, total, per, filter_fn

    def initialize(self) -> DropoutSchedule:
        """Begin anew, as the net does."""
        self.scheduler_: DropoutScheduler | None = None
        self.module_: nn.Module | None = None
        self.stored_: dict[str, Any] | None = None
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:  # noqa: N803 - skorch's name
        """Refuse what cannot be scheduled."""
        check_choice("DropoutSchedule", "per", self.per, ("step", "epoch"))

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """At the first epoch: set the probabilities of the first step, or of the one where it stopped."""
        if self.scheduler_ is not None and self.module_ is net.module_:
            return
        self.scheduler_ = DropoutScheduler(
            net.module_, self.schedule, self._total(net, dataset_train), self.filter_fn
        )  # fmt: skip
        self.module_ = net.module_
        stored = self.stored_ or _in_history(net, self.scheduler_)
        if stored:
            self.scheduler_.load_state_dict(stored)

    def on_batch_end(self, net: Any, training: bool | None = None, **_: Any) -> None:
        """Go to the next step."""
        if training and self.per == "step" and self.scheduler_ is not None:
            self.scheduler_.step()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Go to the next epoch, and note where it is."""
        if self.scheduler_ is None:
            return
        if self.per == "epoch":
            self.scheduler_.step()
        self.stored_ = self.scheduler_.state_dict()
        net.history.record(_TAKEN, self.scheduler_.taken)
        net.history.record("dropout_factor", float(self.schedule(self.scheduler_.taken, self.scheduler_.total)))

    def __getstate__(self) -> dict[str, Any]:
        """Without the net's module, which the net stores itself."""
        return vars(self) | {name: None for name in ("scheduler_", "module_") if name in vars(self)}

    def _total(self, net: Any, dataset: Any) -> int:
        if self.total is not None:
            return self.total
        batches = len(net.get_iterator(dataset, training=True)) if self.per == "step" else 1
        return int(net.max_epochs * batches)


def _in_history(net: Any, scheduler: DropoutScheduler) -> dict[str, Any]:
    """Where an earlier net of the same history stopped; the present full strengths."""
    found = [row[_TAKEN] for row in net.history if _TAKEN in row]
    return scheduler.state_dict() | {"taken": found[-1]} if found else {}


class Constrain(Callback):  # type: ignore[misc]
    """Applies a constraint to a net's weights when training begins, and after every step of its optimizer.

    See `torchdropout.constrain_`.

    Args:
        constraint: `MaxNorm(c)`, `UnitNorm()`, `NonNegative()`, or a function of a weight and its axes.
        filter_fn: Called with a weight and its qualified name: whether to constrain it; None for all.

    Raises:
        ValueError: At the start of training, as `torchdropout.constrain_`.

    Example:
        >>> import torchdropout as td
        >>> from torchdropout.integrations.skorch import Constrain
        >>> callbacks = [Constrain(td.MaxNorm(3.0))]
    """

    def __init__(self, constraint: Constraint, filter_fn: Callable[[nn.Parameter, str], bool] | None = None) -> None:
        self.constraint, self.filter_fn = constraint, filter_fn

    def initialize(self) -> Constrain:
        """Begin anew, as the net does."""
        self.handle_: RemovableHandle | None = None
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:  # noqa: N803 - skorch's name
        """Constrain the weights, now and from now on."""
        self._end()
        self.handle_ = constrain_(net.optimizer_, net.module_, self.constraint, self.filter_fn)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:  # noqa: N803 - as above
        """Leave the optimizer as it was."""
        self._end()

    def _end(self) -> None:
        if self.handle_ is not None:
            self.handle_.remove()
        self.handle_ = None


class RegularizationMixin:
    """Adds `torchdropout.regularization_loss` to a net's training loss: `class Net(RegularizationMixin, NeuralNet)`.

    The divergences are divided by the number of training examples, which are counted in every fit: in a search with
    folds, those of the fold. The validation loss is without both.

    Args:
        arguments: Of the net.
        num_data: How many terms the likelihood of the training set has; None: its examples.
        warmup: The divergence's weight, in [0, 1].
        l1: As for `torchdropout.penalty`, as all below.
        l2: The strength of half the squared L2 norm.
        elastic: The strength of the elastic net, and its L1 part.
        group: The strength of the group lasso.
        filter_fn: Which weights the penalties are for.
        options: Of the net.

    Raises:
        ValueError: At the first batch, as `torchdropout.regularization_loss`.

    Example:
        >>> from skorch import NeuralNetClassifier
        >>> from torchdropout.integrations.skorch import RegularizationMixin
        >>> class Net(RegularizationMixin, NeuralNetClassifier):
        ...     pass
    """

    def __init__(
        self, *arguments: Any, num_data: float | None = None, warmup: float = 1.0, l1: float | None = None,
        l2: float | None = None, elastic: tuple[float, float] | None = None, group: float | None = None,
        filter_fn: Filter = None, **options: Any,
    ) -> None:  # fmt: skip
        self.num_data, self.warmup, self.filter_fn = num_data, warmup, filter_fn
        self.l1, self.l2, self.elastic, self.group = l1, l2, elastic, group
        super().__init__(*arguments, **options)

    def get_split_datasets(self, X: Any, y: Any = None, **options: Any) -> Any:  # noqa: N803 - skorch's name
        """The training and the validation set; the former's examples are counted."""
        training, validation = super().get_split_datasets(X, y, **options)  # type: ignore[misc]
        self.num_examples_ = len(training)
        return training, validation

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Tensor:  # noqa: N803
        """The net's own loss; in training, with what is added to it."""
        loss: Tensor = super().get_loss(y_pred, y_true, X=X, training=training)  # type: ignore[misc]
        if not training:
            return loss
        module: nn.Module = self.module_  # type: ignore[attr-defined]
        count = self.num_examples_ if self.num_data is None else self.num_data
        return loss + regularization_loss(
            module, count, warmup=self.warmup, l1=self.l1, l2=self.l2, elastic=self.elastic, group=self.group,
            filter_fn=self.filter_fn,
        )  # fmt: skip
