"""Callbacks for Lightning: schedules of drop probabilities, constraints on weights, and a monitor of both noise and KL.

Losses need no callback, since a `training_step` returns its loss itself: `loss + td.kl_loss(self, num_data)`, or
`td.r_drop(self.net, x, y, alpha)` in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import nn
from torch.utils.hooks import RemovableHandle

from torchdropout.constraints import Constraint, constrain_
from torchdropout.integrations._missing import missing
from torchdropout.layers._checks import check_choice
from torchdropout.losses.kl import divergence
from torchdropout.scheduler import DropoutScheduler
from torchdropout.scheduler import Filter as LayerFilter
from torchdropout.schedules import Schedule
from torchdropout.surgery import noise_sources

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise missing("lightning") from error

__all__ = ["Constrain", "DropoutMonitor", "DropoutSchedule"]

_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


class DropoutSchedule(Callback):
    """Sets the drop probabilities of a model by a schedule, after every step or epoch; checkpoints resume it.

    What the layers have when training begins is the full strength, which the schedule multiplies; see
    `torchdropout.DropoutScheduler`. With gradient accumulation a step is that of the optimizer. A second `fit` of a
    model by the same trainer goes on; by another trainer it begins anew, from the same full strengths.

    Args:
        schedule: One of `torchdropout.schedules`, or a function of the step and the total.
        total: How many steps or epochs the schedule takes; None: as many as the trainer will make.
        per: `"step"` or `"epoch"`.
        filter_fn: Called with a layer and its qualified name: whether it is scheduled; None for all.

    Raises:
        ValueError: `per` is unknown; at the start of training, the trainer has no end and `total` is None, or as
            `torchdropout.DropoutScheduler`.

    Example:
        >>> from torchdropout import schedules
        >>> from torchdropout.integrations.lightning import DropoutSchedule
        >>> callbacks = [DropoutSchedule(schedules.Curriculum())]
    """

    def __init__(
        self, schedule: Schedule, total: int | None = None, per: Literal["step", "epoch"] = "step",
        filter_fn: LayerFilter | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_choice("DropoutSchedule", "per", per, ("step", "epoch"))
        self.schedule, self.total, self.per, self.filter_fn = schedule, total, per, filter_fn
        self.scheduler: DropoutScheduler | None = None
        self._stored: dict[str, Any] | None = None
        self._module: nn.Module | None = None
        self._seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the probabilities of the first step, or of the one where a checkpoint stopped."""
        earlier = self.state_dict() if self._module is pl_module else {}
        stored = earlier if self._stored is None else self._stored
        self.scheduler = DropoutScheduler(pl_module, self.schedule, self._total(trainer), self.filter_fn)
        if stored and trainer.global_step == 0:
            stored = stored | {"taken": 0, "total": self.scheduler.total}
        if stored:
            self.scheduler.load_state_dict(stored)
        self._stored, self._module, self._seen = None, pl_module, trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Go to the next step, if the optimizer has made one."""
        if trainer.global_step != self._seen and self.per == "step":
            self._next()
        self._seen = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the next epoch."""
        if self.per == "epoch":
            self._next()

    def state_dict(self) -> dict[str, Any]:
        """Where it is, and the full strengths."""
        return {} if self.scheduler is None else self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there when training begins."""
        self._stored = state_dict or None

    @property
    def state_key(self) -> str:
        """Tells two schedules of one trainer apart."""
        return self._generate_state_key(schedule=repr(self.schedule), per=self.per)

    def _next(self) -> None:
        if self.scheduler is None:
            raise RuntimeError("DropoutSchedule: training must begin by `Trainer.fit`, it has not.")
        self.scheduler.step()

    def _total(self, trainer: Trainer) -> int:
        if self.total is not None:
            return self.total
        found = trainer.estimated_stepping_batches if self.per == "step" else trainer.max_epochs
        if found is None or not 1 <= found < float("inf"):
            raise ValueError(f"DropoutSchedule: `total` must be given where the trainer has no end, it has {found}.")
        return int(found)


class Constrain(Callback):
    """Applies a constraint to a model's weights when training begins, and after every step an optimizer really takes.

    Steps that only accumulate gradients, or that a gradient scaler skips, change nothing; see
    `torchdropout.constrain_`. With several optimizers each must have weights that may be constrained. A process must
    hold whole weights, as with one device or DDP.

    Args:
        constraint: `MaxNorm(c)`, `UnitNorm()`, `NonNegative()`, or a function of a weight and its axes.
        filter_fn: Called with a weight and its qualified name: whether to constrain it; None for all.

    Raises:
        ValueError: At the start of training: weights are sharded, or as `torchdropout.constrain_`.

    Example:
        >>> import torchdropout as td
        >>> from torchdropout.integrations.lightning import Constrain
        >>> callbacks = [Constrain(td.MaxNorm(3.0), lambda weight, name: name != "net.2.weight")]
    """

    def __init__(self, constraint: Constraint, filter_fn: Callable[[nn.Parameter, str], bool] | None = None) -> None:
        super().__init__()
        self.constraint, self.filter_fn = constraint, filter_fn
        self._handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Constrain the weights, now and from now on."""
        strategy = type(trainer.strategy).__name__
        if strategy in _SHARDED:
            raise ValueError(f"Constrain: each process must hold whole weights, got the strategy {strategy}.")
        self._end()
        self._handles = [constrain_(each, pl_module, self.constraint, self.filter_fn) for each in trainer.optimizers]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the optimizers as they were."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """As at the end."""
        self._end()

    def _end(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


class DropoutMonitor(Callback):
    """Logs, after every training epoch, each drop probability as `dropout/NAME` and the divergence as `kl`, in nats.

    `NAME` is the layer's; two probabilities of one layer are numbered. `kl` is the sum over layers, of which
    `torchdropout.kl_loss` adds the part of an example; it is left out where no layer has a prior. Both are logged as a
    module logs, so that checkpoints and early stopping may watch them. Put it behind a `DropoutSchedule`.

    Example:
        >>> from torchdropout.integrations.lightning import DropoutMonitor
        >>> callbacks = [DropoutMonitor()]
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log them."""
        found: dict[str, float] = {}
        for source in noise_sources(pl_module):
            if source.rate is not None:
                found[_free(f"dropout/{source.name}", found)] = source.rate
        kl = divergence(pl_module)
        pl_module.log_dict(found if kl is None else found | {"kl": float(kl.detach())})


def _free(name: str, taken: dict[str, float]) -> str:
    numbered = (f"{name}.{number}" for number in range(1, len(taken) + 2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
