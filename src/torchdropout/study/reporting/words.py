"""What a study's metric, its judged part and its units of resampling are called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchdropout.study.reporting import numbers

if TYPE_CHECKING:
    from torchdropout.study.statistics import Judge, Metric


@dataclass(frozen=True, slots=True)
class Words:
    """How a study is spoken of.

    Attributes:
        metric: `accuracy` or `rmse`.
        judge: `val` or `test`.
        target: What a regression predicts, in whose units its errors are.
    """

    metric: Metric
    judge: Judge
    target: str

    @property
    def percent(self) -> bool:
        """Whether figures are shown in percent."""
        return self.metric == "accuracy"

    @property
    def score(self) -> str:
        """The metric's name."""
        return "accuracy" if self.percent else "RMSE"

    @property
    def part(self) -> str:
        """The part that judges."""
        return "validation" if self.judge == "val" else "test"

    @property
    def unit(self) -> str:
        """What is resampled."""
        return "fold" if self.judge == "val" else "seed"

    @property
    def measured_in(self) -> str:
        """The unit of the metric, as it follows the metric's name."""
        return "%" if self.percent else f"units of {self.target}"

    @property
    def differs_in(self) -> str:
        """The unit of a difference of the metric."""
        return "points" if self.percent else f"units of {self.target}"

    @property
    def better(self) -> str:
        """Which way is better."""
        return f"{'higher' if self.percent else 'lower'} is better"

    def value(self, value: float, width: float) -> str:
        """A value of the metric, its digits those that a width is worth."""
        return numbers.fixed(self.scale * value, self._decimals(width))

    def interval(self, values: tuple[float, float, float], *, sign: bool = False) -> str:
        """A mean and its interval."""
        mean, low, high = (self.scale * value for value in values)
        digits = self._decimals((high - low) / 2 / self.scale)
        ends = f" [{numbers.fixed(low, digits, sign=sign)}, {numbers.fixed(high, digits, sign=sign)}]"
        return numbers.fixed(mean, digits, sign=sign) + ("" if math.isnan(low) else ends)

    @property
    def scale(self) -> float:
        """What a figure is multiplied with to be shown."""
        return 100.0 if self.percent else 1.0

    def _decimals(self, width: float) -> int:
        return 2 if self.percent else numbers.decimals(width)


def of(study: dict[str, Any]) -> Words:
    """The words of a study."""
    return Words(study["metric"], study["judge"], study["config"].get("target") or "the target")
