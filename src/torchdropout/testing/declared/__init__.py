"""What each row of the catalogue declares of itself, for the suite to check."""

from __future__ import annotations

from collections.abc import Callable

import torch

from torchdropout import catalog
from torchdropout.testing.case import Case
from torchdropout.testing.declared import bayesian, elementwise, gates, maps, recurrent, tokens, weights

DECLARATIONS: dict[str, Callable[[], Case]] = {
    **elementwise.DECLARATIONS,
    **weights.DECLARATIONS,
    **maps.DECLARATIONS,
    **tokens.DECLARATIONS,
    **bayesian.DECLARATIONS,
    **gates.DECLARATIONS,
    **recurrent.DECLARATIONS,
}


def declared(name: str) -> Case:
    """The declaration of a row, always the same.

    Raises:
        ValueError: No method is called `name`, or it declares nothing.
    """
    catalog.get(name)
    if name not in DECLARATIONS:
        raise ValueError(f"{name} declares nothing to check.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DECLARATIONS[name]()
