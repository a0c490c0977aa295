"""Whether a model's probabilities, rankings and intervals can be believed: functions of its predictions and targets.

Arrays of NumPy, tensors and lists are taken; plain numbers and small dataclasses come back. All is computed in float64.
"""

from torchdropout.calibration.detection import Detection, detection
from torchdropout.calibration.intervals import (
    IntervalCoverage,
    interval_coverage,
    normal_coverage,
    sample_coverage,
)
from torchdropout.calibration.reliability import ReliabilityBin, expected_calibration_error, reliability
from torchdropout.calibration.scores import brier_score, negative_log_likelihood
from torchdropout.calibration.selection import RiskCoverage, aurc, risk_coverage
from torchdropout.calibration.temperature import apply_temperature, fit_temperature

__all__ = [
    "Detection",
    "IntervalCoverage",
    "ReliabilityBin",
    "RiskCoverage",
    "apply_temperature",
    "aurc",
    "brier_score",
    "detection",
    "expected_calibration_error",
    "fit_temperature",
    "interval_coverage",
    "negative_log_likelihood",
    "normal_coverage",
    "reliability",
    "risk_coverage",
    "sample_coverage",
]
