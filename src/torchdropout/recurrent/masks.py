"""All masks of one layer and direction, from one key.

The canonical order, which never depends on how the sequences are laid out:

- the key of layer `l` and direction `d` is `fold_in(key, l * directions + d)`, and that of one kind of mask is
  `fold_in` of that and the kind's number below;
- a mask of whole sequences has the shape `(N, G, features)`, G being 1 or the number of gates, and one of single steps
  `(T, N, features)`; elements count in C order;
- `n` is the sequence's place in the batch as it was given, before packing sorted it;
- `t` is a place in the sequence, counted from its first step in both directions.

So the same key gives the same masks for `batch_first` or not, packed or padded, whatever the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchdropout import laws, rng
from torchdropout.layers._noise import bernoulli
from torchdropout.recurrent.kinds import CellDropout, K, Kind, UpdateDropout, Variational, WeightDrop, Zoneout
from torchdropout.recurrent.sequence import StepMasks

INPUT, HIDDEN, CELL, UPDATE, ZONE_CELL, ZONE_HIDDEN, WEIGHT, OUTPUT = range(8)


class Sizes(NamedTuple):
    """Of one layer and direction: sequences, gates, and units of its inputs, cells and outputs."""

    batch: int
    gates: int
    input: int
    cell: int
    output: int


class LayerMasks(NamedTuple):
    """What one layer and direction drops besides what `StepMasks` says; None where nothing.

    Attributes:
        input: `(N, G, I)`, on the layer's input.
        weight: The multiplier of the recurrent weights.
    """

    input: Tensor | None = None
    weight: Tensor | None = None


def derived(key: Tensor | None, number: int) -> Tensor | None:
    """The key of one part; None, for a fresh draw, stays None."""
    return None if key is None else rng.fold_in(key, number)


def of_layer(kinds: Sequence[Kind], size: Sizes, key: Tensor | None, like: Tensor, training: bool) -> LayerMasks:
    """The masks around the recurrence; they live where `like` does, in its dtype but at least float32."""
    gal, weight, masks = _find(kinds, Variational), _find(kinds, WeightDrop), LayerMasks()
    if not training:
        return masks
    groups = 1 if gal is None or gal.tied else size.gates
    if gal is not None:
        masks = masks._replace(input=scaled((size.batch, groups, size.input), gal.input, derived(key, INPUT), like))
    if weight is not None:
        shape = (size.gates * size.cell, size.output)
        masks = masks._replace(weight=scaled(shape, weight.p, rng.shared(derived(key, WEIGHT)), like))
    return masks


def of_sequence(kinds: Sequence[Kind], size: Sizes, key: Tensor | None, like: Tensor, training: bool) -> StepMasks:
    """The masks that all steps share; when not training, RNNDrop's test rule."""
    gal, cell, update = _find(kinds, Variational), _find(kinds, CellDropout), _find(kinds, UpdateDropout)
    masks = StepMasks()
    if not training:
        kept = None if cell is None else _constant((size.batch, size.cell), float(laws.keep(cell.p)), like)
        return masks._replace(output=kept)
    if gal is not None:
        shape = (size.batch, 1 if gal.tied else size.gates, size.output)
        masks = masks._replace(hidden=scaled(shape, gal.hidden, derived(key, HIDDEN), like))
    if cell is not None and cell.p > 0:
        masks = masks._replace(cell=bernoulli((size.batch, size.cell), cell.p, derived(key, CELL), like))
    if update is not None and update.per == "sequence":
        shape = (1, size.batch, size.cell)
        masks = masks._replace(update=scaled(shape, update.p, derived(key, UPDATE), like, batch_dim=1))
    return masks


def of_steps(
    kinds: Sequence[Kind], size: Sizes, steps: int, key: Tensor | None, like: Tensor, training: bool
) -> StepMasks:
    """The masks of single steps; those of the first steps do not depend on how many there are."""
    update, zone = _find(kinds, UpdateDropout), _find(kinds, Zoneout)
    cells, outputs = (steps, size.batch, size.cell), (steps, size.batch, size.output)
    masks = StepMasks()
    if training and update is not None and update.per == "step":
        masks = masks._replace(update=scaled(cells, update.p, derived(key, UPDATE), like, batch_dim=1))
    if zone is not None:
        masks = masks._replace(
            zone_cell=_zones(cells, zone.cell, derived(key, ZONE_CELL), like, training),
            zone_hidden=_zones(outputs, zone.hidden, derived(key, ZONE_HIDDEN), like, training),
        )
    return masks


def joined(first: StepMasks, second: StepMasks) -> StepMasks:
    """The masks of both."""
    return StepMasks(*(a if b is None else b for a, b in zip(first, second, strict=True)))


def scaled(shape: Sequence[int], p: float, key: Tensor | None, like: Tensor, *, batch_dim: int = 0) -> Tensor | None:
    """Masks over the keep probability; None where nothing is dropped."""
    if p == 0:
        return None
    mask = bernoulli(shape, p, key, like, batch_dim=batch_dim)
    return mask if p == 1 else mask * (1.0 / laws.keep(p))


def _zones(shape: Sequence[int], p: float, key: Tensor | None, like: Tensor, training: bool) -> Tensor | None:
    """1 where the old value stays: where a mask of the new one would be 0. Its expectation when not training."""
    if p == 0:
        return None
    if training:
        return 1.0 - bernoulli(shape, p, key, like, batch_dim=1)
    return _constant(shape, 1.0 - float(laws.keep(p)), like)


def _constant(shape: Sequence[int], value: float, like: Tensor) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.full((), value, dtype=dtype, device=like.device).expand(shape)


def backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """The steps of each sequence in the opposite order; what lies beyond its length stays there."""
    if len(x) == 1:
        return x
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(len(x), device=x.device).unsqueeze(1)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, source.unsqueeze(-1).expand(x.shape))


def steps_backwards(masks: StepMasks) -> StepMasks:
    """The masks of a layer that reads its sequences from their ends."""
    names = ("update", "zone_cell", "zone_hidden")
    given = {name: mask for name in names if (mask := getattr(masks, name)) is not None}
    return masks._replace(**{name: backwards(mask, masks.lengths) for name, mask in given.items()})


def _find(kinds: Sequence[Kind], of: type[K]) -> K | None:
    return next((kind for kind in kinds if isinstance(kind, of)), None)
