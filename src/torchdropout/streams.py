"""Keys for several noisy passes at once, each example's own: whatever else is in the batch, its noise stays the same.

The rows of a pass are samples times examples, samples first. Draw number `n` of a pass has, for the row of sample `s`
and example `e`, the key `fold_in(fold_in(key, s), e)` with `n` added to its offset; a draw that covers a whole batch
has `fold_in(key, s)` with `n` added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torchdropout import ops

Note = Callable[[bool, bool], None]


class SharedAcrossSamplesError(RuntimeError):
    """A draw would be the same for several samples: they have to be run one at a time."""


class Samples:
    """The keys of a pass over some samples of some examples.

    Args:
        key: `(2,)`.
        samples: Their numbers.
        first: The number of the first example.
        examples: How many there are; None where it is not known which rows are whose, so that a draw covers all.
        consistent: Whether all examples have the noise of example 0.
        note: Called at each draw with whether it was for each example, and whether its layer, or `examples`, says so.
    """

    def __init__(
        self,
        key: Tensor,
        samples: range,
        first: int = 0,
        examples: int | None = None,
        *,
        consistent: bool = False,
        note: Note | None = None,
    ) -> None:
        self.of_samples = ops.fold_in_all(key.unsqueeze(0), torch.arange(samples.start, samples.stop))[0]
        self.examples, self.note, self.drawn = examples, note, 0
        self.rows = self._rows(first, examples, consistent) if examples else None

    def _rows(self, first: int, examples: int, consistent: bool) -> Tensor:
        numbers = torch.zeros(examples, dtype=torch.int64) if consistent else torch.arange(first, first + examples)
        return ops.fold_in_all(self.of_samples, numbers).flatten(0, 1)

    def draw(self, shape: Sequence[int] | None, batch_dim: int = 0) -> tuple[Tensor, int, int]:
        """The keys of the next draw, the axis of their rows in its shape, and how many neighbours there share one."""
        found = None if self.rows is None or shape is None else _place(shape, len(self.rows), batch_dim)
        if found is None:
            return self._one(self.examples is None), 0, 1
        self._noted(True, True)
        return self._next(self.rows), *found  # type: ignore[arg-type]

    def shared(self) -> Tensor:
        """The key of the next draw, which covers a whole batch."""
        return self._one(True)

    def _one(self, meant: bool) -> Tensor:
        if len(self.of_samples) != 1:
            raise SharedAcrossSamplesError("A draw covers the whole batch.")
        self._noted(False, meant)
        return self._next(self.of_samples[0])

    def _next(self, keys: Tensor) -> Tensor:
        number, self.drawn = self.drawn, self.drawn + 1
        return keys + torch.tensor([0, number])

    def _noted(self, by_example: bool, meant: bool) -> None:
        if self.note is not None:
            self.note(by_example, meant)


def _place(shape: Sequence[int], rows: int, batch_dim: int) -> tuple[int, int] | None:
    """The axis of the rows, and how many neighbours there belong to each; None if there is no such axis."""
    if batch_dim < len(shape) and shape[batch_dim] == rows:
        return batch_dim, 1
    fits = [axis for axis, size in enumerate(shape) if size == rows]
    if len(fits) == 1:
        return fits[0], 1
    if len(shape) and shape[0] and shape[0] % rows == 0:
        return 0, shape[0] // rows
    return None
