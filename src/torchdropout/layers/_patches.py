"""Patches of an image as ranges of its rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor


def outside(centres: Tensor, reach: Tensor | float, size: int) -> Tensor:
    """Which pixels of an axis a patch leaves alone: 1 there, and 0 within `reach` of the centre.

    Args:
        centres: `(..., 1)`, where pixel `i` spans `[i, i + 1)`.
        reach: Half of the patch's side.
        size: The axis's length.

    Returns:
        `(..., size)`, in the dtype of `centres`.
    """
    middles = torch.arange(0.5, size, dtype=centres.dtype, device=centres.device)
    return ((middles - centres).abs_() >= reach).to(centres.dtype)
