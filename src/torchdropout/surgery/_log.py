"""What was done to a model, kept in the model, so that a copy of it can undo it too."""

from __future__ import annotations

from typing import Protocol

from torch import nn

CHANGES = "_torchdropout_changes"  # the attribute's name


class Change(Protocol):
    """One thing done."""

    def undo(self) -> None:
        """Leave everything as it was before."""


def add(model: nn.Module, changes: list[Change]) -> None:
    """Remember what was done, last thing last."""
    model.__dict__.setdefault(CHANGES, []).extend(changes)


def revert_(model: nn.Module) -> nn.Module:
    """Undo every insertion and replacement that was made through this very model, the last one first.

    Modules that were replaced come back as they are now: where parameters were shared with what took their place, with
    what these have learned since.

    Args:
        model: The model that was given to `insert_after_`, `insert_before_` or `replace_`, or a copy of it.

    Returns:
        The model.

    Raises:
        ValueError: Nothing was done to it.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        >>> td.insert_after_(model, torch.nn.ReLU, lambda module, name: td.Dropout(0.5))
        ['1']
        >>> len(list(td.revert_(model).modules()))
        3
    """
    changes = model.__dict__.pop(CHANGES, [])
    if not changes:
        raise ValueError("revert_: `model` must have been changed, nothing was inserted or replaced through it.")
    for change in reversed(changes):
        change.undo()
    return model
