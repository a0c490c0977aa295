"""Numbers as readers see them: as many digits as they are worth, a dash where there is none."""

from __future__ import annotations

import math

MISSING = "–"


def fixed(value: float, decimals: int, *, sign: bool = False) -> str:
    """A number with so many decimals, and a true minus sign."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("+-")


def decimals(*widths: float) -> int:
    """So many that the smallest of these widths shows two digits, three where there is none to go by."""
    known = [abs(width) for width in widths if math.isfinite(width) and width]
    return min(6, max(0, 1 - math.floor(math.log10(min(known))))) if known else 3


def p_value(value: float) -> str:
    """A p-value, never as zero."""
    if math.isnan(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
